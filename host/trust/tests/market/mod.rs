//! A marketplace in memory, and scenes: a release with its whole chain, to be bent at any point.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aimass_trust::publishing::drafts::{
    PublisherContent, ReleaseContent, RoleKeys, RootContent, TargetsContent, draft_publisher,
    draft_root, draft_targets, sign_metadata,
};
use aimass_trust::publishing::log_writer::LogWriter;
use aimass_trust::publishing::storage::Storage;
use aimass_trust::publishing::witness::{Cosigner, Witness};
use aimass_trust::{
    Admission, Admitted, Capability, Checkpoint, LogPolicy, Manifest, MarketBounds, MarketPolicy,
    MarketState, NameRules, NoteKey, NoteKeyKind, PackageName, PluginRelease, Purpose, Refusal,
    Revocations, SignedPlugin, SigningKey, Timestamp, Update, VerifiedPackage, add_signature,
    bundle_bytes, embed_manifest, entry_of, sign_plugin,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// 2026-11-20T10:00:00Z.
pub(crate) const NOW: u64 = 1_795_168_800;
pub(crate) const ORIGIN: &str = "market.example/log";

pub(crate) type Key = &'static SigningKey;
pub(crate) type Members = BTreeMap<String, Vec<u8>>;

/// Every key of the marketplace; made once a process.
pub(crate) struct Keys {
    pub(crate) root: [Key; 5],
    pub(crate) targets: [Key; 3],
    pub(crate) snapshot: Key,
    pub(crate) timestamp: Key,
    pub(crate) acme: [Key; 3],
    pub(crate) reviewers: [Key; 3],
    pub(crate) log: Key,
    pub(crate) witnesses: [Key; 3],
    pub(crate) evil: [Key; 5],
}

fn key() -> Key {
    Box::leak(Box::new(SigningKey::generate().expect("randomness")))
}

fn some<const N: usize>() -> [Key; N] {
    std::array::from_fn(|_| key())
}

pub(crate) fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        root: some(),
        targets: some(),
        snapshot: key(),
        timestamp: key(),
        acme: some(),
        reviewers: some(),
        log: key(),
        witnesses: some(),
        evil: some(),
    })
}

pub(crate) fn role(keys: &[Key], threshold: u64) -> RoleKeys {
    RoleKeys { keys: keys.iter().map(|key| key.public()).collect(), threshold }
}

pub(crate) fn bounds() -> MarketBounds {
    MarketBounds {
        capabilities: vec![Capability::Tensor, Capability::Log],
        limits: aimass_trust::Limits { wall_ms_max: Some(2000), ..Default::default() },
        models: Vec::new(),
    }
}

pub(crate) fn root_content() -> RootContent {
    let keys = keys();
    RootContent {
        root: role(&keys.root, 3),
        targets: role(&keys.targets, 2),
        snapshot: role(&[keys.snapshot], 1),
        timestamp: role(&[keys.timestamp], 1),
        rules: NameRules { protected: vec!["aimass".to_owned()], permitted: Vec::new() },
    }
}

pub(crate) fn targets_content(revocations: &[u8]) -> TargetsContent {
    let keys = keys();
    TargetsContent {
        revocations: (revocations.len() as u64, Sha256::digest(revocations).into()),
        review: role(&keys.reviewers, 2),
        publishers: vec![PublisherContent {
            name: "acme".to_owned(),
            keys: role(&keys.acme[..2], 1),
            bounds: bounds(),
        }],
    }
}

/// Files in memory, of which writing can be made to fail after a count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) writes: usize,
    pub(crate) writes_max: Option<usize>,
}

impl Storage for Memory {
    fn read(&self, path: &str, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        assert!(self.files.get(path).is_none_or(|bytes| bytes.len() <= bytes_max), "{path}");
        Ok(self.files.get(path).cloned())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        if self.writes_max == Some(self.writes) {
            return Err(io::Error::other("killed"));
        }
        self.writes += 1;
        self.files.insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }
}

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn log_key() -> NoteKey {
    NoteKey::new(ORIGIN, NoteKeyKind::Log, keys().log.public()).expect("a name")
}

/// The policy text: this log, and two of three witnesses.
pub(crate) fn log_policy_text() -> String {
    let mut text = format!("log {}\n", log_key());
    for (index, key) in keys().witnesses.iter().enumerate() {
        let name = format!("w{index}.example");
        let vkey = NoteKey::new(&name, NoteKeyKind::Witness, key.public()).expect("a name");
        text.push_str(&format!("witness w{index} {vkey}\n"));
    }
    text + "group quorum-of-two 2 w0 w1 w2\nquorum quorum-of-two\n"
}

pub(crate) fn log_policy() -> LogPolicy {
    LogPolicy::parse(&log_policy_text()).expect("a log policy")
}

pub(crate) fn policy() -> MarketPolicy {
    MarketPolicy::new(log_policy(), vec!["acme/*".to_owned()], bounds())
}

/// Appends entries to a log of its own, cosigned by the named witnesses at `seconds`; the last proof.
pub(crate) fn logged(entries: &[[u8; 32]], witnesses: &[usize], seconds: u64) -> String {
    let (mut storage, mut proof) = (Memory::default(), String::new());
    for entry in entries {
        proof = log_in(&mut storage, keys().log, entry, witnesses, seconds);
    }
    proof
}

pub(crate) fn log_in(
    storage: &mut Memory,
    key: Key,
    entry: &[u8],
    witnesses: &[usize],
    seconds: u64,
) -> String {
    // Below the quorum on purpose in some attacks: so the log itself asks for none.
    let log = NoteKey::new(ORIGIN, NoteKeyKind::Log, key.public()).expect("a name");
    let lenient = LogPolicy::parse(&format!("log {log}\nquorum none\n")).expect("policy");
    let mut memories: Vec<Memory> = (0..3)
        .map(|index| {
            let own =
                storage.files.iter().filter(|(path, _)| path.starts_with(&format!("w{index}/")));
            let files = own.map(|(path, bytes)| (path[3..].to_owned(), bytes.clone())).collect();
            Memory { files, ..Memory::default() }
        })
        .collect();
    let proof = {
        let mut own: Vec<Witness<'_, Memory>> = memories
            .iter_mut()
            .enumerate()
            .filter(|(index, _)| witnesses.contains(index))
            .map(|(index, memory)| {
                let name = format!("w{index}.example");
                let now = Timestamp::from_unix(seconds);
                Witness::new(memory, log.clone(), &name, keys().witnesses[index], now)
                    .expect("a name")
            })
            .collect();
        let mut cosigners: Vec<&mut dyn Cosigner> =
            own.iter_mut().map(|one| one as &mut dyn Cosigner).collect();
        let mut writer = LogWriter::new(storage, ORIGIN, key, &lenient).expect("a name");
        writer.append(entry, &mut cosigners).expect("appended").proof
    };
    for (index, memory) in memories.into_iter().enumerate() {
        for (path, bytes) in memory.files {
            storage.files.insert(format!("w{index}/{path}"), bytes);
        }
    }
    proof
}

/// A file of metadata and who signs it.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) file: Value,
    pub(crate) signers: Vec<Key>,
}

impl Draft {
    fn of(text: Vec<u8>, signers: &[Key]) -> Self {
        let file = serde_json::from_slice(&text).expect("json");
        Draft { file, signers: signers.to_vec() }
    }

    pub(crate) fn signed(&mut self) -> &mut Value {
        &mut self.file["signed"]
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        sign_metadata(&serde_json::to_vec(&self.file).expect("json"), &self.signers)
            .expect("signed")
    }
}

/// The metadata around a release, with links that can be left as they are.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) roots: Vec<Draft>,
    pub(crate) timestamp: Draft,
    pub(crate) snapshot: Draft,
    pub(crate) targets: Draft,
    pub(crate) publisher: Draft,
    pub(crate) revocations: Vec<u8>,
    /// Whether a changed file is named by the file above it: revocations, publisher and targets, snapshot.
    pub(crate) link: [bool; 3],
}

impl Chain {
    pub(crate) fn new(wasm: &[u8], manifest: &Manifest, sequence: u64) -> Self {
        let keys = keys();
        let revocations = Revocations::default().to_json().expect("json");
        let release = ReleaseContent {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            sequence,
            world: manifest.world.clone(),
            length: wasm.len() as u64,
            sha256: Sha256::digest(wasm).into(),
        };
        let later = |days| Timestamp::from_unix(NOW).plus_days(days);
        let publisher = draft_publisher(&[release], 5, later(90)).expect("drafted");
        let targets = draft_targets(&targets_content(&revocations), 3, later(90)).expect("drafted");
        let meta = |kind: &str, version: u64, expires: Timestamp, meta: Value| {
            let signed = json!({ "_type": kind, "spec_version": "1.0.31", "version": version,
                                 "expires": expires, "meta": meta });
            serde_json::to_vec(&json!({ "signatures": [], "signed": signed })).expect("json")
        };
        let versions = json!({ "targets.json": { "version": 3 }, "acme.json": { "version": 5 } });
        Chain {
            roots: vec![root(1, &root_content(), &keys.root[..3])],
            timestamp: Draft::of(
                meta("timestamp", 11, later(1), json!({ "snapshot.json": { "version": 7 } })),
                &[keys.timestamp],
            ),
            snapshot: Draft::of(meta("snapshot", 7, later(7), versions), &[keys.snapshot]),
            targets: Draft::of(targets, &keys.targets[..2]),
            publisher: Draft::of(publisher, &keys.acme[..1]),
            revocations,
            link: [true; 3],
        }
    }

    /// Every file of the chain under its name in a bundle.
    pub(crate) fn files(&mut self) -> Members {
        if self.link[0] {
            let target = &mut self.targets.signed()["targets"]["revocations.json"];
            *target = json!({ "length": self.revocations.len(), "hashes": { "sha256": sha(&self.revocations) } });
        }
        let (targets, publisher) = (self.targets.bytes(), self.publisher.bytes());
        if self.link[1] {
            let meta = &mut self.snapshot.signed()["meta"];
            link(&mut meta["targets.json"], &self.targets.file, &targets);
            link(&mut meta["acme.json"], &self.publisher.file, &publisher);
        }
        let snapshot = self.snapshot.bytes();
        if self.link[2] {
            let meta = &mut self.timestamp.signed()["meta"]["snapshot.json"];
            link(meta, &self.snapshot.file, &snapshot);
        }
        let mut members = Members::new();
        for (name, bytes) in [
            ("timestamp.json", self.timestamp.bytes()),
            ("snapshot.json", snapshot),
            ("targets.json", targets),
            ("publisher.json", publisher),
            ("revocations.json", self.revocations.clone()),
        ] {
            members.insert(name.to_owned(), bytes);
        }
        for (index, root) in self.roots.iter().enumerate().skip(1) {
            members.insert(format!("root.{:010}.json", index + 1), root.bytes());
        }
        members
    }
}

pub(crate) fn root(version: u64, content: &RootContent, signers: &[Key]) -> Draft {
    let expires = Timestamp::from_unix(NOW).plus_days(365);
    Draft::of(draft_root(content, version, expires).expect("drafted"), signers)
}

fn link(entry: &mut Value, file: &Value, bytes: &[u8]) {
    let version = &file["signed"]["version"];
    *entry =
        json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": sha(bytes) } });
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The checkpoint that a proof ends with.
pub(crate) fn checkpoint_of(proof: &str) -> Checkpoint {
    let note = proof.split_once("\n\n").expect("a note").1;
    log_policy().check(note).expect("a checkpoint").checkpoint
}

/// The proof `one` with the times of `other`'s cosignatures, but the signatures of its own.
pub(crate) fn splice_time(one: &str, other: &str) -> String {
    // 4 bytes of key id and 8 of time are 16 characters of base64.
    let mixed = |(one, other): (&str, &str)| match one.split_once(".example ") {
        Some((name, line)) if name.starts_with("— w") => {
            let time = other.split_once(".example ").expect("a line").1;
            format!("{name}.example {}{}\n", &time[..16], &line[16..])
        }
        _ => format!("{one}\n"),
    };
    one.lines().zip(other.lines()).map(mixed).collect()
}

pub(crate) fn sha(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn manifest() -> Manifest {
    Manifest {
        name: "acme/resize-norm".parse().expect("a name"),
        version: "1.4.2".parse().expect("a version"),
        world: "aimass:plugin/processor@0.1.0".parse().expect("a world"),
        capabilities: [Capability::Tensor].into_iter().collect(),
        limits: aimass_trust::Limits { wall_ms_max: Some(1000), ..Default::default() },
        description: None,
        license: None,
        config_schema: None,
    }
}

pub(crate) fn component() -> Vec<u8> {
    let text =
        "(component (import \"aimass:plugin/tensor@0.1.0\" (instance)) (core module (memory 1)))";
    wat::parse_str(text).expect("a component")
}

/// An update with acme's targets and without a note.
pub(crate) fn asked(revocations: &[u8], purpose: Purpose, wall: SystemTime) -> Update<'_> {
    Update { publishers: &["acme"], revocations, cosigned: None, purpose, wall }
}

/// The first admission of a package.
pub(crate) fn admission(name: &PackageName) -> Admission<'_> {
    Admission { name, last_sequence: None, running: None, approved: false, admitted_at: None }
}

/// Changes one stage of a scene.
pub(crate) type Hook<T> = Option<Box<dyn FnOnce(&mut T)>>;

/// A release, everything around it, and the host that is asked to admit it.
pub(crate) struct Scene {
    pub(crate) manifest: Manifest,
    pub(crate) release: PluginRelease,
    pub(crate) component: Vec<u8>,
    pub(crate) signer: Key,
    pub(crate) reviewers: Vec<Key>,
    /// After signing and review, before the log.
    pub(crate) plugin: Hook<SignedPlugin>,
    pub(crate) log: Box<dyn FnOnce(&SignedPlugin) -> String>,
    pub(crate) chain: Hook<Chain>,
    pub(crate) members: Hook<Members>,
    pub(crate) bytes: Hook<Vec<u8>>,
    pub(crate) policy: MarketPolicy,
    pub(crate) state: MarketState,
    pub(crate) name: String,
    pub(crate) last_sequence: Option<u64>,
    pub(crate) running: Option<VerifiedPackage>,
    pub(crate) wall: SystemTime,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let first = root(1, &root_content(), &keys().root[..3]).bytes();
        Scene {
            manifest: manifest(),
            release: PluginRelease {
                sequence: 17,
                not_before: Timestamp::from_unix(NOW - 60),
                expires: Timestamp::from_unix(NOW).plus_days(365),
                min_host: "0.1.0".parse().expect("a version"),
                dependencies: Vec::new(),
            },
            component: component(),
            signer: keys().acme[0],
            reviewers: keys().reviewers[..2].to_vec(),
            plugin: None,
            log: Box::new(|plugin| {
                let entry = entry_of(&plugin.dsse).expect("an entry");
                logged(&[[1; 32], [2; 32], entry], &[0, 1], NOW - 30)
            }),
            chain: None,
            members: None,
            bytes: None,
            policy: policy(),
            state: MarketState::of_root(&first).expect("a root"),
            name: "acme/resize-norm".to_owned(),
            last_sequence: None,
            running: None,
            wall: at(NOW),
        }
    }

    /// The bundle of the scene, and the host's side.
    pub(crate) fn stage(self) -> (Vec<u8>, Host) {
        let embedded = embed_manifest(&self.component, &self.manifest).expect("embedded");
        let mut plugin = sign_plugin(&embedded, &self.release, self.signer).expect("signed");
        for reviewer in &self.reviewers {
            plugin.dsse = add_signature(&plugin.dsse, reviewer).expect("reviewed");
        }
        let mut chain = Chain::new(&plugin.wasm, &self.manifest, self.release.sequence);
        if let Some(hook) = self.plugin {
            hook(&mut plugin);
        }
        let proof = (self.log)(&plugin);
        if let Some(hook) = self.chain {
            hook(&mut chain);
        }
        let mut members = chain.files();
        members.insert("plugin.wasm".to_owned(), plugin.wasm);
        members.insert("release.dsse.json".to_owned(), plugin.dsse);
        members.insert("release.tlog-proof".to_owned(), proof.into_bytes());
        if let Some(hook) = self.members {
            hook(&mut members);
        }
        let mut bytes = bundle_bytes(&members).expect("a bundle");
        if let Some(hook) = self.bytes {
            hook(&mut bytes);
        }
        let host = Host {
            policy: self.policy,
            state: self.state,
            name: self.name,
            last_sequence: self.last_sequence,
            running: self.running,
            wall: self.wall,
        };
        (bytes, host)
    }

    pub(crate) fn verify(self) -> Result<(Admitted, MarketState), Refusal> {
        let (bytes, host) = self.stage();
        host.verify(&bytes)
    }
}

/// Who is asked to admit a bundle.
pub(crate) struct Host {
    pub(crate) policy: MarketPolicy,
    pub(crate) state: MarketState,
    pub(crate) name: String,
    pub(crate) last_sequence: Option<u64>,
    pub(crate) running: Option<VerifiedPackage>,
    pub(crate) wall: SystemTime,
}

impl Host {
    pub(crate) fn verify(&self, bundle: &[u8]) -> Result<(Admitted, MarketState), Refusal> {
        let name = self.name.parse().map_err(|_| {
            Refusal::new(
                aimass_trust::RefusalCode::Name,
                "a name",
                &*self.name,
                "ask for a package by name",
            )
        })?;
        let admission = Admission {
            name: &name,
            last_sequence: self.last_sequence,
            running: self.running.as_ref().map(VerifiedPackage::manifest),
            approved: false,
            admitted_at: None,
        };
        self.policy.verify_bundle(&self.state, bundle, &admission, self.wall)
    }
}
