//! What a stranger can make longer has an end: as much as may be is read, and one more is refused.

mod acme;

use std::collections::BTreeMap;
use std::fmt::Debug;

use acme::{Acme, manifest, now};
use aimass_trust::publishing::drafts::{RoleKeys, RootContent, draft_root, sign_metadata};
use aimass_trust::{
    Bundle, Checkpoint, ChunkList, LogPolicy, MarketState, ModelRelease, NameRules, NoteKey,
    NoteKeyKind, Refusal, Revocations, SigningKey, Timestamp, TrustPolicy, add_signature,
    embed_manifest, sign_model,
};

fn key() -> SigningKey {
    SigningKey::generate().expect("randomness")
}

fn note_key(kind: NoteKeyKind) -> NoteKey {
    NoteKey::new("example.com/log", kind, key().public()).expect("a name")
}

/// `most` is accepted, and one more refused with words that name the limit.
fn edge<T, E: Debug + ToString>(most: usize, words: &str, read: impl Fn(usize) -> Result<T, E>) {
    read(most).map(drop).unwrap_or_else(|error| panic!("{most}: {error:?}"));
    let error = read(most + 1).map(drop).expect_err("one more").to_string();
    assert!(error.contains(words), "{words}: {error}");
}

#[test]
fn trust_toml() {
    let acme = Acme::new();
    let market = |locations: &[String]| {
        let text = format!(
            "{}[[market]]\nname = \"shop\"\nlocations = {locations:?}\nfingerprint = \"{}\"\n",
            acme.policy_text(),
            "0a".repeat(32)
        );
        TrustPolicy::parse(&text)
    };
    let location = |bytes: usize| "x".repeat(bytes);
    edge(8, "1 to 8 locations", |count| market(&vec![location(9); count]));
    edge(1024, "at most 1,024 bytes", |bytes| market(&[location(bytes)]));
    let days = |days: usize| {
        let text = format!(
            "[[market]]\nname = \"shop\"\nlocations = [\"x\"]\nfingerprint = \"{}\"\n\
             metadata_days_max = {days}\n",
            "0a".repeat(32)
        );
        TrustPolicy::parse(&text)
    };
    edge(365, "1 to 365 days", days);
}

#[test]
fn log_policies() {
    let logs: Vec<String> = (0..33).map(|_| note_key(NoteKeyKind::Log).to_string()).collect();
    edge(32, "line 33", |count| {
        let lines: String = logs[..count].iter().map(|key| format!("log {key}\n")).collect();
        LogPolicy::parse(&format!("{lines}quorum none\n"))
    });
    let witness = |at| format!("witness w{at} {}\n", note_key(NoteKeyKind::Witness));
    let witnesses: Vec<String> = (0..65).map(witness).collect();
    edge(64, "line 65", |count| {
        let lines = witnesses[..count].concat();
        LogPolicy::parse(&format!("{lines}log {}\nquorum none\n", logs[0]))
    });
    edge(64 << 10, "64 KiB", |bytes| {
        let policy = format!("log {}\nquorum none\n", logs[0]);
        let comment = "#".repeat(bytes - policy.len());
        LogPolicy::parse(&format!("{policy}{comment}"))
    });
}

/// A root whose own role has so many keys, of which the first signs.
fn root_of(keys: &[SigningKey]) -> Vec<u8> {
    let role = |keys: &[SigningKey]| RoleKeys {
        keys: keys.iter().map(SigningKey::public).collect(),
        threshold: 1,
    };
    let online = || role(&keys[..1]);
    let content = RootContent {
        root: role(keys),
        targets: online(),
        snapshot: online(),
        timestamp: online(),
        rules: NameRules { protected: Vec::new(), permitted: Vec::new() },
    };
    let root = draft_root(&content, 1, Timestamp::from_unix(1)).expect("drafted");
    sign_metadata(&root, &[&keys[0]]).expect("signed")
}

#[test]
fn keys_of_a_role() {
    let keys: Vec<SigningKey> = (0..65).map(|_| key()).collect();
    edge(64, "at most 64 keys", |count| MarketState::of_root(&root_of(&keys[..count])));
}

#[test]
fn checkpoints_that_wait_for_the_log() {
    let mut state = MarketState::of_root(&root_of(&[key()])).expect("a state");
    let mut kept = Vec::new();
    for size in 1..=17 {
        let checkpoint = Checkpoint { origin: "example.com/log".into(), size, root: [7; 32] };
        state.saw(&checkpoint);
        state.saw(&checkpoint);
        let text = state.to_bytes().expect("json");
        kept.push(String::from_utf8(text).expect("text").matches("example.com/log").count());
    }
    assert_eq!(kept[..16], (1..=16).collect::<Vec<_>>()[..], "each once");
    assert_eq!(kept[16], 16, "the first are kept");
}

#[test]
fn notes() {
    let secret = key();
    let origin = "example.com/log".to_owned();
    let log = NoteKey::new(&origin, NoteKeyKind::Log, secret.public()).expect("a name");
    let policy = LogPolicy::parse(&format!("log {log}\nquorum none\n")).expect("a policy");
    let checkpoint = Checkpoint { origin, size: 1, root: [1; 32] };
    let signed = log.sign(&checkpoint, &secret).expect("signed");
    // Lines of strangers are not looked at, but they are read.
    let stranger = |at: usize| {
        let secret = key();
        let name = format!("example.com/stranger{at}");
        let key = NoteKey::new(&name, NoteKeyKind::Log, secret.public()).expect("a name");
        let note = key.sign(&checkpoint, &secret).expect("signed");
        note.lines().last().map(|line| format!("{line}\n")).unwrap_or_default()
    };
    let lines: Vec<String> = (0..64).map(stranger).collect();
    edge(64, "more than 64 signatures", |count| {
        policy.check(&format!("{signed}{}", lines[..count - 1].concat()))
    });
}

#[test]
fn manifests() {
    let text = |manifest: &aimass_trust::Manifest| serde_json::to_vec(manifest).expect("json");
    let parse = |bytes: &[u8]| aimass_trust::Manifest::parse(bytes);
    edge(2_000, "2,000 bytes", |bytes| {
        let description = Some("x".repeat(bytes));
        parse(&text(&aimass_trust::Manifest { description, ..manifest() }))
    });
    edge(200, "200 bytes", |bytes| {
        let license = Some("x".repeat(bytes));
        parse(&text(&aimass_trust::Manifest { license, ..manifest() }))
    });
    edge(64 << 10, "64 KiB", |bytes| {
        let mut json = text(&manifest());
        json.resize(bytes, b' ');
        parse(&json)
    });
}

#[test]
fn statements() {
    let acme = Acme::new();
    let files = BTreeMap::from([("weights".to_owned(), ChunkList::of_bytes(b"b").digest())]);
    let release = ModelRelease {
        name: "acme/minilm".parse().expect("a name"),
        version: "1.0.0".parse().expect("a version"),
        sequence: 1,
        not_before: Timestamp::from_unix(acme::NOW - 60),
        expires: Timestamp::from_unix(acme::NOW).plus_days(1),
    };
    let dsse = sign_model(&release, &files, &acme.key).expect("signed");
    let strangers: Vec<SigningKey> = (0..16).map(|_| key()).collect();
    edge(16, "1 to 16 signatures", |count| {
        strangers[..count - 1].iter().try_fold(dsse.clone(), |dsse, key| add_signature(&dsse, key))
    });
    // JSON may have spaces, but not more of them than a statement's bytes.
    edge(256 << 10, "at most 256 KiB", |bytes| {
        let mut text = dsse.clone();
        text.resize(bytes, b' ');
        acme.policy().verify_model(&text, &files, None, now())
    });
}

#[test]
fn revocations_and_bundles() {
    edge(1 << 20, "at most 1 MiB", |bytes| {
        let mut text = Revocations::default().to_json().expect("json");
        text.resize(bytes, b' ');
        Revocations::parse(&text)
    });
    // What is as long as may be is refused for what it is, and not for its length.
    let refused = |bytes: usize| -> Refusal { Bundle::parse(&vec![0; bytes]).expect_err("zeros") };
    let most = aimass_trust::BUNDLE_BYTES_MAX;
    assert_ne!(refused(most).code.as_str(), "AMT-SIZE");
    assert_eq!(refused(most + 1).code.as_str(), "AMT-SIZE");
}

#[test]
fn components() {
    let acme = Acme::new();
    let imports = |count: usize| {
        let one = |at: usize| format!("(import \"aimass:plugin/x{at}@0.1.0\" (instance))");
        let text = format!("(component {})", (0..count).map(one).collect::<String>());
        let component = wat::parse_str(text).expect("a component");
        embed_manifest(&component, &manifest()).map_err(|error| error.to_string())
    };
    edge(1_000, "at most 1,000 imports", imports);
    let padded = |bytes: usize| {
        let mut plugin = acme.sign(&manifest());
        plugin.wasm.resize(bytes, 0);
        acme.policy().verify_plugin(plugin.wasm, &plugin.dsse, None, now()).expect_err("padded")
    };
    let most = aimass_trust::COMPONENT_BYTES_MAX;
    assert_ne!(padded(most).code.as_str(), "AMT-SIZE");
    assert_eq!(padded(most + 1).code.as_str(), "AMT-SIZE");
}
