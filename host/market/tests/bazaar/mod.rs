//! A marketplace on a disk with one publisher, and a host that follows it.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aimass_market::MarketError;
use aimass_market::desk::{Delegate, Desk, DeskConfig, DeskKeys, Published, Roles, sign_draft};
use aimass_market::host::{Asked, Evidence, FirstTrust, MarketHost, Standing};
use aimass_market::mirror::{self, FetchLimits};
use aimass_market::submit::prepare_submission;
use aimass_trust::publishing::drafts::RoleKeys;
use aimass_trust::{
    Capability, Limits, Manifest, MarketBounds, NameRules, PackageName, PluginRelease, Revocation,
    SignedPlugin, SigningKey, Timestamp, TrustPolicy, embed_manifest, sign_plugin,
};

/// 2026-11-20T10:00:00Z.
pub(crate) const NOW: u64 = 1_795_168_800;
pub(crate) const DAY: u64 = 86_400;

pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The offline keys of everybody.
pub(crate) struct People {
    pub(crate) root: Vec<SigningKey>,
    pub(crate) targets: Vec<SigningKey>,
    pub(crate) reviewers: Vec<SigningKey>,
    pub(crate) acme: SigningKey,
}

pub(crate) struct Bazaar {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) desk: Desk,
    pub(crate) keys: DeskKeys,
    pub(crate) people: People,
}

fn key() -> SigningKey {
    SigningKey::generate().expect("randomness")
}

fn keys(count: usize) -> Vec<SigningKey> {
    (0..count).map(|_| key()).collect()
}

pub(crate) fn role(keys: &[SigningKey], threshold: u64) -> RoleKeys {
    RoleKeys { keys: keys.iter().map(SigningKey::public).collect(), threshold }
}

pub(crate) fn bounds() -> MarketBounds {
    MarketBounds {
        capabilities: vec![Capability::Tensor, Capability::Log],
        limits: Limits { wall_ms_max: Some(2000), ..Limits::default() },
        models: Vec::new(),
    }
}

impl Bazaar {
    /// A marketplace after its ceremony, which delegates to acme.
    pub(crate) fn open() -> Bazaar {
        let folder = tempfile::tempdir().expect("a folder");
        let people = People { root: keys(3), targets: keys(2), reviewers: keys(2), acme: key() };
        let keys = DeskKeys { snapshot: key(), timestamp: key(), log: key(), witness: key() };
        let roles = Roles {
            root: role(&people.root, 2),
            targets: role(&people.targets, 2),
            review: role(&people.reviewers, 1),
            rules: NameRules { protected: vec!["aimass".to_owned()], permitted: Vec::new() },
        };
        let (name, title) = ("market.example".to_owned(), "A market".to_owned());
        let config = DeskConfig::new(name, title);
        let online = [&keys.snapshot, &keys.timestamp, &keys.log, &keys.witness];
        let online = online.map(SigningKey::public);
        let now = Timestamp::from_unix(NOW);
        let dir = folder.path().join("desk");
        let desk = Desk::create(&dir, config, &roles, online, now).expect("a desk");
        let bazaar = Bazaar { folder, desk, keys, people };
        assert!(bazaar.publish(NOW).waiting.len() == 2, "nobody signed yet");
        bazaar.sign("root", &bazaar.people.root[..2]);
        bazaar.sign("targets", &bazaar.people.targets);
        let published = bazaar.publish(NOW);
        assert_eq!((published.root, published.targets), (Some(1), Some(1)));
        let delegate = Delegate {
            name: "acme".to_owned(),
            keys: role(std::slice::from_ref(&bazaar.people.acme), 1),
            bounds: bounds(),
        };
        bazaar.desk.draft_delegation(delegate, now).expect("drafted");
        bazaar.sign("targets", &bazaar.people.targets);
        assert_eq!(bazaar.publish(NOW).targets, Some(2));
        bazaar
    }

    pub(crate) fn sign(&self, role: &str, keys: &[SigningKey]) {
        let file = self.desk.dir().join(format!("drafts/{role}.json"));
        for key in keys {
            sign_draft(&file, key).expect("signed");
        }
    }

    pub(crate) fn publish(&self, now: u64) -> Published {
        self.desk.publish(&self.keys, at(now)).expect("published")
    }

    /// The address of what is served, as a folder.
    pub(crate) fn location(&self) -> String {
        self.desk.public_dir().display().to_string()
    }

    /// A submission of `plugin`, in the inbox.
    pub(crate) fn submit(&self, plugin: &SignedPlugin, now: u64) -> Result<String, MarketError> {
        Ok(self.desk.submit(&self.submission(plugin, now)?)?.id)
    }

    /// A submission of `plugin`, as its publisher sends it.
    pub(crate) fn submission(
        &self,
        plugin: &SignedPlugin,
        now: u64,
    ) -> Result<Vec<u8>, MarketError> {
        let mut mirror = mirror::open(&self.location(), FetchLimits::default()).expect("a mirror");
        let now = Timestamp::from_unix(now);
        prepare_submission(&mut *mirror, &plugin.wasm, &plugin.dsse, &[&self.people.acme], now)
    }

    /// Submits, reviews and publishes.
    pub(crate) fn release(&self, plugin: &SignedPlugin, now: u64) {
        let id = self.submit(plugin, now).expect("submitted");
        let reviewer = &self.people.reviewers[0];
        self.desk.accept(&id, reviewer, &self.keys, at(now)).expect("accepted");
        let published = self.publish(now);
        assert_eq!((published.releases.len(), published.waiting.len()), (1, 0), "{published:?}");
    }

    pub(crate) fn revoke(&self, entry: Revocation, now: u64) {
        self.desk.draft_revocation(entry, Timestamp::from_unix(now)).expect("drafted");
        self.sign("targets", &self.people.targets);
        assert!(self.publish(now).targets.is_some());
    }

    /// `trust.toml` of a host that follows the marketplace at `locations`.
    pub(crate) fn policy(&self, locations: &[&str], more: &str) -> TrustPolicy {
        let fingerprint = self.desk.fingerprint().expect("read").expect("published");
        let text = format!(
            "[[market]]\nname = \"bazaar\"\nlocations = {locations:?}\nfingerprint = \"{}\"\n{more}\n\
             [[market.allow]]\nnames = [\"acme/*\"]\ncapabilities = [\"tensor\", \"log\"]\n",
            hex(&fingerprint)
        );
        TrustPolicy::parse(&text).expect("a policy")
    }

    /// A host that trusts the marketplace, in its own folder.
    pub(crate) fn host(&self, limits: FetchLimits) -> (PathBuf, MarketHost) {
        let dir = self.folder.path().join("data");
        let host = MarketHost::open(&dir, limits);
        let mut mirror = mirror::open(&self.location(), limits).expect("a mirror");
        let first = FirstTrust::fetch(&mut *mirror).expect("fetched");
        assert_eq!(Some(first.fingerprint), self.desk.fingerprint().expect("read"));
        host.trust("bazaar", &first, at(NOW)).expect("trusted");
        (dir, host)
    }
}

pub(crate) fn name() -> PackageName {
    "acme/resize".parse().expect("a name")
}

pub(crate) fn plugin(bazaar: &Bazaar, version: &str, sequence: u64) -> SignedPlugin {
    plugin_with(bazaar, version, sequence, Limits::default())
}

pub(crate) fn plugin_with(
    bazaar: &Bazaar,
    version: &str,
    sequence: u64,
    limits: Limits,
) -> SignedPlugin {
    let manifest = Manifest {
        name: name(),
        version: version.parse().expect("a version"),
        world: "aimass:plugin/processor@0.1.0".parse().expect("a world"),
        capabilities: [Capability::Tensor].into_iter().collect(),
        limits,
        description: None,
        license: None,
        config_schema: None,
    };
    let text =
        "(component (import \"aimass:plugin/tensor@0.1.0\" (instance)) (core module (memory 1)))";
    let component = wat::parse_str(text).expect("a component");
    let release = PluginRelease {
        sequence,
        not_before: Timestamp::from_unix(NOW - 60),
        expires: Timestamp::from_unix(NOW).plus_days(365),
        min_host: "0.1.0".parse().expect("a version"),
        dependencies: Vec::new(),
    };
    let embedded = embed_manifest(&component, &manifest).expect("embedded");
    sign_plugin(&embedded, &release, &bazaar.people.acme).expect("signed")
}

/// Refreshes and admits the newest release.
pub(crate) fn install(
    host: &MarketHost,
    policy: &TrustPolicy,
    standing: &Standing,
    now: u64,
) -> Result<Option<Evidence>, MarketError> {
    let market = &policy.subscriptions()[0];
    let refreshed = host.refresh(market, Some(&name()), at(now))?;
    let found = host.admit_newest(policy, market, &refreshed, (&name(), standing), at(now))?;
    if let Some(evidence) = &found {
        host.remember(market, evidence, at(now))?;
    }
    Ok(found)
}

/// What the host has after `evidence` was installed.
pub(crate) fn standing(evidence: &Evidence) -> Standing {
    let package = evidence.admitted.package();
    Standing { last_sequence: Some(package.sequence()), running: Some(package.manifest().clone()) }
}

/// As [`install`], of one version with the operator's approval.
pub(crate) fn approve(
    host: &MarketHost,
    policy: &TrustPolicy,
    standing: &Standing,
    now: u64,
) -> Result<Evidence, MarketError> {
    let market = &policy.subscriptions()[0];
    let refreshed = host.refresh(market, Some(&name()), at(now))?;
    let releases = host.releases(&refreshed, &name())?;
    let asked = Asked { name: &name(), release: &releases[0], standing, approved: true };
    let evidence = host.admit(policy, market, &refreshed, &asked, at(now))?;
    host.remember(market, &evidence, at(now))?;
    Ok(evidence)
}
