//! Publishing, revoking and logging, killed at every write: nothing is lost, nothing is half there.

mod market;

use aimass_trust::publishing::bundles::make_bundle;
use aimass_trust::publishing::drafts::{
    ReleaseContent, draft_publisher, draft_root, draft_targets, read_publisher, read_root,
    read_targets, sign_metadata,
};
use aimass_trust::publishing::log_writer::{LogWriter, Logged};
use aimass_trust::publishing::repository::{Changes, OnlineKeys, ReleaseEvidence, Repository};
use aimass_trust::publishing::storage::Storage;
use aimass_trust::publishing::witness::{Cosigner, Witness};
use aimass_trust::{
    Admitted, LogPolicy, MarketState, Refusal, RefusalCode, Revocation, Revocations, Revoked,
    SignedPlugin, Timestamp, TrustError, add_signature, embed_manifest, entry_of, sign_plugin,
};
use market::{
    Memory, NOW, ORIGIN, Scene, at, keys, log_key, log_policy, root_content, targets_content,
};
use sha2::{Digest, Sha256};

fn now() -> Timestamp {
    Timestamp::from_unix(NOW)
}

fn later(days: u64) -> Timestamp {
    now().plus_days(days)
}

fn online() -> OnlineKeys<'static> {
    OnlineKeys { snapshot: keys().snapshot, timestamp: keys().timestamp }
}

fn publish(storage: &mut Memory, changes: &Changes) -> Result<(), TrustError> {
    Repository::new(storage).publish(changes, online(), now())
}

/// A marketplace after its ceremony, with an empty list of revocations and no release.
fn opened() -> Memory {
    let mut storage = Memory::default();
    publish(&mut storage, &opening()).expect("opened");
    storage
}

fn opening() -> Changes {
    let list = Revocations::default().to_json().expect("json");
    let root = draft_root(&root_content(), 1, later(365)).expect("drafted");
    let targets = draft_targets(&targets_content(&list), 1, later(90)).expect("drafted");
    // Each holder signs alone, on the file that the one before handed on.
    let root = keys().root[1..4]
        .iter()
        .fold(root, |file, key| sign_metadata(&file, &[key]).expect("signed"));
    let targets = sign_metadata(&targets, &keys().targets[..2]).expect("signed");
    Changes {
        root: Some(root),
        targets: Some(targets),
        files: [("revocations.json".to_owned(), list)].into(),
        ..Changes::default()
    }
}

fn signed(version: &str, sequence: u64) -> SignedPlugin {
    let scene = Scene::new();
    let mut manifest = scene.manifest;
    manifest.version = version.parse().expect("a version");
    let release = aimass_trust::PluginRelease { sequence, ..scene.release };
    let embedded = embed_manifest(&scene.component, &manifest).expect("embedded");
    let mut plugin = sign_plugin(&embedded, &release, keys().acme[0]).expect("signed");
    for reviewer in &keys().reviewers[..2] {
        plugin.dsse = add_signature(&plugin.dsse, reviewer).expect("reviewed");
    }
    plugin
}

fn log(storage: &mut Memory, entry: &[u8]) -> Result<Logged, TrustError> {
    let policy = log_policy();
    let mut memories = [witness_memory(storage, 0), witness_memory(storage, 1)];
    let [first, second] = &mut memories;
    let witness = |memory, index: usize| {
        let name = format!("w{index}.example");
        Witness::new(memory, log_key(), &name, keys().witnesses[index], now()).expect("a witness")
    };
    let (mut first, mut second) = (witness(first, 0), witness(second, 1));
    let mut cosigners: [&mut dyn Cosigner; 2] = [&mut first, &mut second];
    let result = LogWriter::new(storage, ORIGIN, keys().log, &policy)
        .expect("a log")
        .append(entry, &mut cosigners);
    for (index, memory) in memories.into_iter().enumerate() {
        for (path, bytes) in memory.files {
            storage.files.insert(format!("w{index}/{path}"), bytes);
        }
    }
    result
}

/// A witness is a machine of its own: it does not die with the log.
fn witness_memory(storage: &Memory, index: usize) -> Memory {
    let own = storage.files.iter().filter_map(|(path, bytes)| {
        Some((path.strip_prefix(&format!("w{index}/"))?.to_owned(), bytes.clone()))
    });
    Memory { files: own.collect(), ..Memory::default() }
}

/// Publishes a release beside those that are there.
fn release(storage: &mut Memory, version: &str, sequence: u64) -> Result<(), TrustError> {
    let plugin = signed(version, sequence);
    let proof = log(storage, &entry_of(&plugin.dsse).expect("an entry"))?.proof;
    let before = Repository::new(storage).current("acme")?;
    let (last, mut releases) = match before {
        Some(text) => read_publisher(&text)?,
        None => (0, Vec::new()),
    };
    let content = ReleaseContent {
        name: "acme/resize-norm".parse().expect("a name"),
        version: version.parse().expect("a version"),
        sequence,
        world: "aimass:plugin/processor@0.1.0".parse().expect("a world"),
        length: plugin.wasm.len() as u64,
        sha256: Sha256::digest(&plugin.wasm).into(),
    };
    let path = content.path();
    releases.push(content);
    let file = draft_publisher(&releases, last + 1, later(90))?;
    let file = sign_metadata(&file, &[keys().acme[0]])?;
    let evidence = ReleaseEvidence {
        name: "acme/resize-norm".parse().expect("a name"),
        version: version.parse().expect("a version"),
        dsse: plugin.dsse,
        proof: proof.into_bytes(),
    };
    let changes = Changes {
        publishers: [("acme".to_owned(), file)].into(),
        files: [(path, plugin.wasm)].into(),
        releases: vec![evidence],
        ..Changes::default()
    };
    publish(storage, &changes)
}

fn revoke(storage: &mut Memory, what: Revoked) -> Result<(), TrustError> {
    let text = Repository::new(storage).current("targets")?.expect("targets");
    let (version, mut content) = read_targets(&text)?;
    let mut list = Revocations::default();
    list.push(Revocation { what, reason: "test".to_owned(), at: now() });
    let list = list.to_json()?;
    content.revocations = (list.len() as u64, Sha256::digest(&list).into());
    let targets = draft_targets(&content, version + 1, later(90))?;
    let changes = Changes {
        targets: Some(sign_metadata(&targets, &keys().targets[1..])?),
        files: [("revocations.json".to_owned(), list)].into(),
        ..Changes::default()
    };
    publish(storage, &changes)
}

/// What a client that has seen `state` gets of a version.
fn client(
    storage: &Memory,
    state: &MarketState,
    version: &str,
) -> Result<(Admitted, MarketState), Option<Refusal>> {
    let name = "acme/resize-norm".parse().expect("a name");
    let bundle = make_bundle(storage, &name, &version.parse().expect("a version"), 1);
    let bundle = bundle.map_err(|_| None)?;
    let admission = market::admission(&name);
    Scene::new().policy.verify_bundle(state, &bundle, &admission, at(NOW)).map_err(Some)
}

fn first_state(storage: &Memory) -> MarketState {
    let root = storage.read("metadata/1.root.json", 1 << 20).expect("read").expect("a root");
    MarketState::of_root(&root).expect("a state")
}

/// Runs `action` on a copy of `before`, killed after every possible number of writes. `seen` looks at
/// what a client gets after each, and again after the action was repeated.
fn kill_everywhere(
    before: &Memory,
    action: impl Fn(&mut Memory) -> Result<(), TrustError>,
    seen: impl Fn(&Memory, bool),
) -> usize {
    for kill in 0.. {
        let mut storage = Memory { writes: 0, writes_max: Some(kill), ..before.clone() };
        let done = action(&mut storage).is_ok();
        seen(&storage, done);
        if done {
            return kill;
        }
        storage.writes_max = None;
        action(&mut storage).expect("the second time");
        seen(&storage, true);
    }
    unreachable!("an action ends")
}

#[test]
fn publishing_killed_at_every_write_shows_the_old_or_the_new() {
    let mut before = opened();
    release(&mut before, "1.0.0", 1).expect("published");
    let state = client(&before, &first_state(&before), "1.0.0").expect("admitted").1;
    let writes = kill_everywhere(
        &before,
        |storage| release(storage, "1.1.0", 2),
        |storage, done| {
            let old = client(storage, &state, "1.0.0").expect("the old release stays");
            assert_eq!(old.0.log_index(), 0);
            let new = client(storage, &state, "1.1.0");
            assert_eq!(new.is_ok(), done);
            if let Ok((new, state)) = new {
                assert_eq!((new.log_index(), new.checkpoint().size), (1, 2));
                assert_eq!(state.checkpoints.len(), 2);
            }
        },
    );
    // Pending, entry, hash, checkpoint; component, statement, proof, targets, snapshot, timestamp.
    assert_eq!(writes, 10);
}

#[test]
fn revoking_killed_at_every_write_revokes_wholly_or_not_yet() {
    let mut before = opened();
    release(&mut before, "1.0.0", 1).expect("published");
    let state = first_state(&before);
    let what = || Revoked::Publisher("acme".to_owned());
    let writes = kill_everywhere(
        &before,
        |storage| revoke(storage, what()),
        |storage, done| match client(storage, &state, "1.0.0") {
            Ok(_) => assert!(!done),
            Err(refusal) => {
                assert!(done);
                assert_eq!(refusal.expect("a bundle").code, RefusalCode::Revoked);
            }
        },
    );
    assert_eq!(writes, 4);
}

#[test]
fn opening_and_rotating_killed_at_every_write_can_be_repeated() {
    let open = |storage: &mut Memory| publish(storage, &opening());
    let writes = kill_everywhere(&Memory::default(), open, |storage, done| {
        assert_eq!(storage.files.contains_key("metadata/timestamp.json"), done);
    });
    assert_eq!(writes, 5);
    let mut before = opened();
    release(&mut before, "1.0.0", 1).expect("published");
    let state = first_state(&before);
    let rotate = |storage: &mut Memory| {
        let (version, mut content) = read_root(&storage.files["metadata/1.root.json"])?;
        content.root = market::role(&keys().evil, 3);
        let both: Vec<_> = [&keys().root[..3], &keys().evil[..3]].concat();
        let root = sign_metadata(&draft_root(&content, version + 1, later(365))?, &both)?;
        publish(storage, &Changes { root: Some(root), ..Changes::default() })
    };
    kill_everywhere(&before, rotate, |storage, done| {
        let (_, state) = client(storage, &state, "1.0.0").expect("served throughout");
        let rotated = String::from_utf8(state.root).expect("text").contains("\"version\":2");
        assert!(rotated || !done);
    });
}

#[test]
fn a_log_killed_at_every_write_never_shows_two_histories() {
    let mut before = opened();
    for entry in 0..255u8 {
        log(&mut before, &[entry; 4]).expect("logged");
    }
    // The next entry fills a tile, so that a tile of the level above begins.
    let fill = |storage: &mut Memory| log(storage, &[255; 4]).map(|_| ());
    let other = |storage: &mut Memory| log(storage, b"another").expect("logged");
    let writes = kill_everywhere(&before, fill, |storage, done| {
        let mut storage = Memory { writes_max: None, ..storage.clone() };
        let pending = storage.files.get("log/pending") != before.files.get("log/pending");
        // Whatever was pending comes first: witnesses may have seen it.
        assert_eq!(other(&mut storage).index, if done || pending { 256 } else { 255 });
    });
    assert_eq!(writes, 5);
}

#[test]
fn a_checkpoint_below_the_quorum_is_not_published() {
    let mut storage = Memory::default();
    let policy: LogPolicy = log_policy();
    let mut writer = LogWriter::new(&mut storage, ORIGIN, keys().log, &policy).expect("a log");
    assert!(writer.append(b"entry", &mut []).is_err());
    assert_eq!(writer.size().expect("size"), 0);
    for wrong in [&[][..], &[0; 65_536]] {
        assert!(matches!(writer.append(wrong, &mut []), Err(TrustError::Release { .. })));
    }
    assert_eq!(log(&mut storage, b"entry").expect("logged").index, 0);
}

#[test]
fn what_clients_would_refuse_is_not_published() {
    let good = opened();
    let list = Revocations::default().to_json().expect("json");
    let targets =
        |version| draft_targets(&targets_content(&list), version, later(90)).expect("drafted");
    let publisher = draft_publisher(&[], 1, later(90)).expect("drafted");
    let by = |file: Vec<u8>, keys: &[market::Key]| sign_metadata(&file, keys).expect("signed");
    for (changes, code) in [
        (
            Changes { targets: Some(by(targets(2), &keys().targets[..1])), ..Changes::default() },
            RefusalCode::Threshold,
        ),
        (
            Changes { targets: Some(by(targets(0), &keys().targets)), ..Changes::default() },
            RefusalCode::Rollback,
        ),
        (
            Changes {
                publishers: [("acme".to_owned(), by(publisher.clone(), &keys().evil[..1]))].into(),
                ..Changes::default()
            },
            RefusalCode::Threshold,
        ),
        (
            Changes {
                publishers: [("evil".to_owned(), by(publisher, &keys().evil[..1]))].into(),
                ..Changes::default()
            },
            RefusalCode::Name,
        ),
    ] {
        let mut storage = good.clone();
        match publish(&mut storage, &changes) {
            Err(TrustError::Sign(refusal)) => assert_eq!(refusal.code, code),
            other => panic!("{other:?}"),
        }
        assert_eq!(storage.files, good.files);
    }
    let stray =
        Changes { files: [("stray.json".to_owned(), vec![1])].into(), ..Changes::default() };
    assert!(matches!(publish(&mut good.clone(), &stray), Err(TrustError::Release { .. })));
    publish(&mut good.clone(), &Changes::default()).expect("a refresh");
}
