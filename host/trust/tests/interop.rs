//! python-tuf, securesystemslib, in-toto and a second reader of proofs against ours, both ways.
//!
//! `cargo xtask test` gives the Python with the pinned packages in `AIMASS_PYTHON`; without it these
//! tests say that they did nothing.

mod market;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use aimass_trust::publishing::drafts::{
    ReleaseContent, draft_publisher, draft_root, draft_targets, sign_metadata,
};
use aimass_trust::publishing::repository::{Changes, OnlineKeys, ReleaseEvidence, Repository};
use aimass_trust::publishing::storage::Folder;
use aimass_trust::{
    ChunkList, MarketState, MetadataSource, ModelRelease, NoteKey, NoteKeyKind, PublicKey, Purpose,
    Refusal, RefusalCode, Revocations, SigningKey, Timestamp, TrustPolicy, Update, read_model,
    read_plugin, sign_model,
};
use market::{Scene, keys, root_content, targets_content};
use sha2::{Digest, Sha256};

/// Runs the script; `None` without a Python.
fn script(arguments: &[&str]) -> Option<String> {
    let Some(python) = std::env::var_os("AIMASS_PYTHON") else {
        println!("not run: AIMASS_PYTHON is not set; `cargo xtask test` sets it");
        return None;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/interop.py");
    let output = Command::new(python).arg(path).args(arguments).output().expect("python runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(text(&output.stdout))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path that is text")
}

fn changes_of_opening(now: Timestamp) -> Changes {
    let list = Revocations::default().to_json().expect("json");
    let root = draft_root(&root_content(), 1, now.plus_days(30)).expect("drafted");
    let targets = draft_targets(&targets_content(&list), 1, now.plus_days(30)).expect("drafted");
    Changes {
        root: Some(sign_metadata(&root, &keys().root[..3]).expect("signed")),
        targets: Some(sign_metadata(&targets, &keys().targets[..2]).expect("signed")),
        files: [("revocations.json".to_owned(), list)].into(),
        ..Changes::default()
    }
}

fn changes_of_release(wasm: &[u8], version: u64, now: Timestamp) -> Changes {
    let content = ReleaseContent {
        name: "acme/resize-norm".parse().expect("a name"),
        version: "1.4.2".parse().expect("a version"),
        sequence: 17,
        world: "aimass:plugin/processor@0.1.0".parse().expect("a world"),
        length: wasm.len() as u64,
        sha256: Sha256::digest(wasm).into(),
    };
    let path = content.path();
    let file = draft_publisher(&[content], version, now.plus_days(30)).expect("drafted");
    let evidence = ReleaseEvidence {
        name: "acme/resize-norm".parse().expect("a name"),
        version: "1.4.2".parse().expect("a version"),
        dsse: b"{}".to_vec(),
        proof: b"proof".to_vec(),
    };
    Changes {
        publishers: [("acme".to_owned(), sign_metadata(&file, &keys().acme[..1]).expect("signed"))]
            .into(),
        files: [(path, wasm.to_vec())].into(),
        releases: vec![evidence],
        ..Changes::default()
    }
}

#[test]
fn the_client_of_python_tuf_reads_our_repository() {
    let folder = tempfile::tempdir().expect("a folder");
    let (served, cache) = (folder.path().join("served"), folder.path().join("cache"));
    let mut storage = Folder::new(&served);
    let now = Timestamp::from_system(SystemTime::now());
    let online = OnlineKeys { snapshot: keys().snapshot, timestamp: keys().timestamp };
    let mut repository = Repository::new(&mut storage);
    repository.publish(&changes_of_opening(now), online, now).expect("opened");
    repository.publish(&changes_of_release(b"wasm bytes", 1, now), online, now).expect("published");
    let path = "acme/resize-norm@1.4.2.wasm";
    let read = || script(&["client", text(&served), text(&cache), path, "revocations.json"]);
    let Some(first) = read() else {
        return;
    };
    assert!(first.starts_with(&format!("{path} 10\n")), "{first}");
    // A new root with other keys, and a changed release: the same client goes on.
    let mut content = root_content();
    content.root = market::role(&keys().evil, 3);
    content.timestamp = market::role(&[keys().evil[4]], 1);
    let next = draft_root(&content, 2, now.plus_days(30)).expect("drafted");
    let both: Vec<_> = [&keys().root[2..], &keys().evil[..3]].concat();
    let mut changes = changes_of_release(b"other wasm bytes", 2, now);
    changes.root = Some(sign_metadata(&next, &both).expect("signed"));
    let online = OnlineKeys { timestamp: keys().evil[4], ..online };
    Repository::new(&mut storage).publish(&changes, online, now).expect("rotated");
    let second = read().expect("python");
    assert!(second.starts_with(&format!("{path} 16\n")), "{second}");
}

/// Every file of the steps up to now; the newest of a name counts.
struct Steps {
    folder: PathBuf,
    step: usize,
}

impl MetadataSource for Steps {
    fn metadata(&mut self, path: &str, _bytes_max: usize) -> Result<Option<Vec<u8>>, Refusal> {
        let places =
            (0..=self.step).rev().map(|step| self.folder.join(step.to_string()).join(path));
        Ok(places.into_iter().find_map(|place| std::fs::read(place).ok()))
    }
}

#[test]
fn repositories_of_python_tuf_drive_our_client() {
    let folder = tempfile::tempdir().expect("a folder");
    if script(&["simulate", text(folder.path())]).is_none() {
        return;
    }
    let mut steps = 0;
    for entry in std::fs::read_dir(folder.path()).expect("scenarios") {
        let scenario = entry.expect("a scenario").path();
        let read = |path: &str| std::fs::read(scenario.join(path)).expect(path);
        let expected: Vec<String> = serde_json::from_slice(&read("expected.json")).expect("a list");
        let mut state = MarketState::of_root(&read("0/1.root.json")).expect("a root");
        for (step, expected) in expected.iter().enumerate() {
            let mut source = Steps { folder: scenario.clone(), step };
            let revocations = read(&format!("{step}/revocations.json"));
            let asked = Update {
                publishers: &["acme"],
                revocations: &revocations,
                cosigned: None,
                purpose: Purpose::Admission,
                wall: SystemTime::now(),
            };
            let found = match Scene::new().policy.update(&state, &mut source, &asked) {
                Ok((_, next)) => {
                    state = next;
                    "ok".to_owned()
                }
                Err(refusal) => refusal.code.to_string(),
            };
            assert_eq!(&found, expected, "{}, step {step}", scenario.display());
            steps += 1;
        }
    }
    assert!(steps >= 35, "{steps} steps");
}

/// What in-toto made of a statement.
struct BothWays {
    /// Kind and subjects, as it reads them.
    read: String,
    /// The same statement as it writes it.
    theirs: Vec<u8>,
    /// The key that it signed with.
    key: PublicKey,
}

/// in-toto reads `dsse` with the signatures of `keys`, then states the same anew.
fn both_ways(dsse: &[u8], keys: &[PublicKey]) -> Option<BothWays> {
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, theirs) = (folder.path().join("ours"), folder.path().join("theirs"));
    std::fs::write(&ours, dsse).expect("written");
    let keys: Vec<String> = keys.iter().map(|key| market::hex(&key.to_bytes())).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let read = script(&[&["attest", text(&ours)], &keys[..]].concat())?;
    let restated = |numbers: &str| {
        let key = script(&["restate", text(&ours), text(&theirs), numbers])?;
        let key: PublicKey = key.trim().parse().expect("a key");
        Some((std::fs::read(&theirs).expect("restated"), key))
    };
    // Numbers as protobuf writes them are fractions, which no statement has.
    let (fractions, _) = restated("as-written")?;
    let refusal = read_model(&fractions, &BTreeMap::new()).expect_err("17.0");
    assert_eq!(refusal.code, RefusalCode::Format, "{refusal}");
    assert!(refusal.got.contains("64-bit integer"), "{refusal}");
    let (theirs, key) = restated("whole")?;
    Some(BothWays { read: read.trim().to_owned(), theirs, key })
}

#[test]
fn in_toto_reads_our_statement_of_a_plugin_and_we_read_its() {
    let (bytes, _) = Scene::new().stage();
    let bundle = aimass_trust::Bundle::parse(&bytes).expect("a bundle");
    let dsse = bundle.get("release.dsse.json").expect("a statement");
    let signers = [keys().acme[0], keys().reviewers[0], keys().reviewers[1]];
    let Some(both) = both_ways(dsse, &signers.map(SigningKey::public)) else { return };
    assert_eq!(both.read, "urn:aimass:plugin-release:v1 acme/resize-norm@1.4.2");
    let wasm = bundle.get("plugin.wasm").expect("a component");
    let stated = read_plugin(wasm, &both.theirs).expect("theirs is read");
    assert_eq!((stated.signers, stated.version.as_str()), (vec![both.key], "1.4.2"));
    let other = String::from_utf8(both.theirs).expect("text");
    let other = other.replacen("\"payload\": \"e", "\"payload\": \"f", 1);
    assert!(read_plugin(wasm, other.as_bytes()).is_err(), "{other}");
}

#[test]
fn in_toto_reads_our_statement_of_a_model_and_we_read_its() {
    let files: BTreeMap<_, _> = [("model.toml", &b"a"[..]), ("weights.bin", b"bc")]
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), ChunkList::of_bytes(bytes).digest()))
        .collect();
    let now = Timestamp::from_system(SystemTime::now());
    let release = ModelRelease {
        name: "acme/minilm".parse().expect("a name"),
        version: "1.0.0".parse().expect("a version"),
        sequence: 1_795_168_800_123,
        not_before: now,
        expires: now.plus_days(30),
    };
    let dsse = sign_model(&release, &files, keys().acme[0]).expect("signed");
    let Some(both) = both_ways(&dsse, &[keys().acme[0].public()]) else { return };
    assert_eq!(both.read, "urn:aimass:model-release:v1 model.toml weights.bin");
    let policy = TrustPolicy::parse(&format!(
        "[[publisher]]\nname = \"acme\"\nkeys = [\"{}\"]\nallow = {{ names = [\"acme/*\"] }}\n",
        both.key
    ));
    let policy = policy.expect("a policy");
    let later = SystemTime::now();
    let verified = policy.verify_model(&both.theirs, &files, None, later).expect("accepted");
    assert_eq!((verified.signer(), verified.sequence()), (both.key, release.sequence));
}

#[test]
fn securesystemslib_and_a_second_reader_accept_statement_and_proof() {
    let folder = tempfile::tempdir().expect("a folder");
    let (bytes, _) = Scene::new().stage();
    let bundle = aimass_trust::Bundle::parse(&bytes).expect("a bundle");
    let files: BTreeMap<&str, PathBuf> = ["release.dsse.json", "release.tlog-proof"]
        .into_iter()
        .map(|name| {
            let path = folder.path().join(name);
            std::fs::write(&path, bundle.get(name).expect(name)).expect("written");
            (name, path)
        })
        .collect();
    let (dsse, proof) = (text(&files["release.dsse.json"]), text(&files["release.tlog-proof"]));
    let hex = |key: market::Key| market::hex(&key.public().to_bytes());
    let signers = [keys().acme[0], keys().reviewers[0], keys().reviewers[1]].map(hex);
    let Some(found) = script(&["dsse", dsse, &signers[0], &signers[1], &signers[2]]) else {
        return;
    };
    assert_eq!(found.trim(), "3 signatures");
    let witness = |index: usize| {
        let name = format!("w{index}.example");
        let key = keys().witnesses[index].public();
        NoteKey::new(&name, NoteKeyKind::Witness, key).expect("a name").to_string()
    };
    let log = market::log_key().to_string();
    let found = script(&["proof", dsse, proof, &log, &witness(0), &witness(1)]).expect("python");
    assert_eq!(found.trim(), "entry 2 of 3");
}
