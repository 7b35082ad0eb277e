//! Makes the committed corpus of the trust parsers: `cargo run -p aimass-trust --example fuzz_corpus`.
//!
//! Keys are new each time, so the files differ from the committed ones; nothing depends on them.

use aimass_trust::publishing::drafts::{
    PublisherContent, ReleaseContent, RoleKeys, RootContent, TargetsContent, draft_publisher,
    draft_root, draft_targets, read_release, sign_metadata,
};
use aimass_trust::{
    Capability, Checkpoint, Limits, Manifest, MarketBounds, MarketState, NameRules, NoteKey,
    NoteKeyKind, PluginRelease, Revocation, Revocations, Revoked, SigningKey, Timestamp,
    bundle_bytes, embed_manifest, sign_plugin,
};
use std::error::Error;
use std::path::Path;

fn role(key: &SigningKey) -> RoleKeys {
    RoleKeys { keys: vec![key.public()], threshold: 1 }
}

fn put(target: &str, name: &str, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(name), bytes)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let key = SigningKey::generate()?;
    let now = Timestamp::from_unix(1_795_168_800);
    let bounds = MarketBounds {
        capabilities: vec![Capability::Tensor, Capability::Models],
        limits: Limits { wall_ms_max: Some(2000), ..Limits::default() },
        models: vec!["minilm".to_owned()],
    };
    let manifest = Manifest {
        name: "acme/resize".parse()?,
        version: "1.4.2".parse()?,
        world: "aimass:plugin/processor@0.1.0".parse()?,
        capabilities: [Capability::Tensor].into_iter().collect(),
        limits: bounds.limits,
        description: Some("Resizes.".to_owned()),
        license: Some("MIT".to_owned()),
        config_schema: None,
    };
    // An empty component with one import, as the binary format has it.
    let component = b"\0asm\x0d\0\x01\0";
    let embedded = embed_manifest(component, &manifest)?;
    let release = PluginRelease {
        sequence: 17,
        not_before: now,
        expires: now.plus_days(365),
        min_host: "0.1.0".parse()?,
        dependencies: Vec::new(),
    };
    let signed = sign_plugin(&embedded, &release, &key)?;
    put("trust-component", "signed.wasm", &signed.wasm)?;
    put("trust-component", "unsigned.wasm", &embedded)?;
    put("trust-statement", "signed.json", &signed.dsse)?;
    let mut list = Revocations::default();
    for what in [
        Revoked::File([7; 32]),
        Revoked::Key { key: key.public(), from_log_index: Some(4) },
        Revoked::Publisher("evil".to_owned()),
        Revoked::Versions { name: manifest.name.clone(), from: None, to: "1.4.1".parse().ok() },
    ] {
        list.push(Revocation { what, reason: "reads too much".to_owned(), at: now });
    }
    put("trust-revocations", "four.json", &list.to_json()?)?;
    metadata(&key, now, bounds, (&signed.wasm, &signed.dsse))?;
    notes(&key)?;
    let members = [
        ("plugin.wasm".to_owned(), signed.wasm.clone()),
        ("release.dsse.json".to_owned(), signed.dsse.clone()),
        ("publisher.json".to_owned(), b"{}".to_vec()),
        ("root.0000000002.json".to_owned(), b"{}".to_vec()),
    ];
    put("trust-bundle", "submission.ampkg", &bundle_bytes(&members.into_iter().collect())?)?;
    let policy = format!(
        "[[publisher]]\nname = \"acme\"\nkeys = [\"{}\"]\nallow = {{ names = [\"acme/*\"], \
         capabilities = [\"tensor\"] }}\n[[market]]\nname = \"shop\"\nlocations = [\"https://m.example\"]\n\
         fingerprint = \"{}\"\n[[market.allow]]\nnames = [\"acme/*\"]\nlimits = {{ wall_ms_max = 5 }}\n",
        key.public(),
        "0a".repeat(32)
    );
    put("trust-policy", "market.toml", policy.as_bytes())?;
    let chunks = aimass_trust::ChunkList::of_bytes(b"weights");
    put("trust-chunks", "one", &[&7u64.to_be_bytes()[..], &chunks.to_bytes()].concat())
}

fn metadata(
    key: &SigningKey,
    now: Timestamp,
    bounds: MarketBounds,
    (wasm, dsse): (&[u8], &[u8]),
) -> Result<(), Box<dyn Error>> {
    let rules = NameRules { protected: vec!["aimass".to_owned()], permitted: Vec::new() };
    let root = RootContent {
        root: role(key),
        targets: role(key),
        snapshot: role(key),
        timestamp: role(key),
        rules,
    };
    let root = sign_metadata(&draft_root(&root, 1, now.plus_days(365))?, &[key])?;
    let publisher = PublisherContent { name: "acme".to_owned(), keys: role(key), bounds };
    let targets = TargetsContent {
        revocations: (2, [9; 32]),
        review: role(key),
        publishers: vec![publisher],
    };
    let targets = sign_metadata(&draft_targets(&targets, 3, now.plus_days(365))?, &[key])?;
    let release: ReleaseContent = read_release(wasm, dsse)?;
    let listed = sign_metadata(&draft_publisher(&[release], 5, now.plus_days(365))?, &[key])?;
    let mut state = MarketState::of_root(&root)?;
    state.saw(&Checkpoint { origin: "market.example".to_owned(), size: 4, root: [3; 32] });
    put("trust-state", "first.json", &state.to_bytes()?)?;
    put("trust-metadata", "root.json", &root)?;
    put("trust-metadata", "targets.json", &targets)?;
    put("trust-metadata", "publisher.json", &listed)
}

fn notes(key: &SigningKey) -> Result<(), Box<dyn Error>> {
    let log = NoteKey::new("market.example", NoteKeyKind::Log, key.public())?;
    let witness = SigningKey::generate()?;
    let witness = NoteKey::new("w.example", NoteKeyKind::Witness, witness.public())?;
    let policy = format!("log {log}\nquorum none\n");
    put("trust-log-policy", "local", policy.as_bytes())?;
    let more = format!("# three\nlog {log}\nwitness w {witness}\ngroup g any w\nquorum g\n");
    put("trust-log-policy", "group", more.as_bytes())?;
    let checkpoint = Checkpoint { origin: "market.example".to_owned(), size: 4, root: [3; 32] };
    put("trust-note", "checkpoint", log.sign(&checkpoint, key)?.as_bytes())
}
