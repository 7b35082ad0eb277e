//! The single checks that [`crate::TrustPolicy`] runs in order; each answers with its own code.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

use crate::component::COMPONENT_BYTES_MAX;
use crate::grants::Capabilities;
use crate::hex;
use crate::manifest::Manifest;
use crate::merkle::FileDigest;
use crate::names::{PackageName, Version, is_file_name};
use crate::policy::Publisher;
use crate::refusal::{Refusal, RefusalCode, excerpt};
use crate::statement::{ModelSubject, PluginPredicate, PluginStatement, Predicate, Statement};
use crate::timestamp::Timestamp;

/// Seconds since 1970 of 2025-01-01: a clock before it was never set.
pub(crate) const CLOCK_FLOOR: u64 = 1_735_689_600;

pub(crate) fn check_size(wasm: &[u8]) -> Result<(), Refusal> {
    match wasm.len() <= COMPONENT_BYTES_MAX {
        true => Ok(()),
        false => {
            let got = format!("{} bytes", wasm.len());
            let remedy = "ship data as files of a model package, not inside the plugin";
            Err(Refusal::new(RefusalCode::Size, "a component of at most 64 MiB", got, remedy))
        }
    }
}

pub(crate) fn check_clock(now: SystemTime) -> Result<Timestamp, Refusal> {
    let now = Timestamp::from_system(now);
    match now.as_unix() >= CLOCK_FLOOR {
        true => Ok(now),
        false => {
            let remedy = "set the clock of this machine: no validity can be judged by it";
            Err(Refusal::new(
                RefusalCode::Clock,
                "a time after 2025-01-01",
                now.to_string(),
                remedy,
            ))
        }
    }
}

pub(crate) fn check_name(name: &str) -> Result<PackageName, Refusal> {
    name.parse::<PackageName>().map_err(|error| {
        Refusal::new(
            RefusalCode::Name,
            error.expected,
            error.got,
            "ask for a package by such a name",
        )
    })
}

pub(crate) fn check_digest(statement: &PluginStatement, digest: [u8; 32]) -> Result<(), Refusal> {
    match &statement.subject[..] {
        [subject] if subject.digest.sha256.0 == digest => Ok(()),
        [subject] => Err(Refusal::new(
            RefusalCode::Digest,
            format!("a component with SHA-256 {}", hex::encode(&subject.digest.sha256.0)),
            hex::encode(&digest),
            "take component and statement from the same release",
        )),
        other => Err(Refusal::format("a statement with one subject", format!("{}", other.len()))),
    }
}

pub(crate) fn check_binding(
    statement: &PluginStatement,
    manifest: &Manifest,
    manifest_text: &[u8],
) -> Result<(), Refusal> {
    let said = &statement.predicate;
    if said.name().ok().as_ref() != Some(&manifest.name) {
        return Err(bind(manifest.name.as_str(), &format!("{}/{}", said.publisher, said.name)));
    }
    if said.version != manifest.version {
        return Err(bind(&format!("version {}", manifest.version), said.version.as_str()));
    }
    let subject = format!("{}@{}", manifest.name, manifest.version);
    if statement.subject.iter().any(|one| one.name != subject) {
        return Err(bind(&subject, "another subject"));
    }
    if said.world != manifest.world {
        return Err(bind(manifest.world.as_str(), said.world.as_str()));
    }
    let digest: [u8; 32] = Sha256::digest(manifest_text).into();
    if said.manifest_sha256.0 != digest {
        return Err(bind("the digest of the manifest in the component", "another"));
    }
    if said.capabilities != manifest.capabilities || said.limits != manifest.limits {
        return Err(bind("the manifest's capabilities and limits", "others"));
    }
    check_host(said)
}

pub(crate) fn check_host(said: &PluginPredicate) -> Result<(), Refusal> {
    let host = env!("CARGO_PKG_VERSION")
        .parse::<Version>()
        .map(|version| version.numbers())
        .unwrap_or_default();
    match said.min_host.numbers() <= host {
        true => Ok(()),
        false => {
            let expected = format!("a plugin for AI Mass {} or older", env!("CARGO_PKG_VERSION"));
            let remedy = "update this host, or use an older release of the plugin";
            Err(Refusal::new(
                RefusalCode::Bind,
                expected,
                format!("one for {} or newer", said.min_host),
                remedy,
            ))
        }
    }
}

pub(crate) fn bind(expected: &str, got: &str) -> Refusal {
    let remedy = "sign the package again: its statement and its content contradict one another";
    Refusal::new(RefusalCode::Bind, format!("a statement about {expected}"), excerpt(got), remedy)
}

pub(crate) fn check_name_use(
    publisher: &Publisher,
    name: &PackageName,
    expected: Option<&PackageName>,
    stated_publisher: &str,
) -> Result<(), Refusal> {
    if stated_publisher != publisher.name {
        return Err(Refusal::new(
            RefusalCode::Key,
            format!(
                "a statement of publisher {stated_publisher} signed by a key of {stated_publisher}"
            ),
            format!("one signed by a key of {}", publisher.name),
            format!(
                "add the key to publisher {stated_publisher} in trust.toml only if it really is theirs"
            ),
        ));
    }
    if let Some(expected) = expected
        && expected != name
    {
        let remedy = "ask for the package by its own name, or get the one that you meant";
        return Err(Refusal::new(RefusalCode::Name, expected.as_str(), name.as_str(), remedy));
    }
    match publisher.may_use(name.as_str()) {
        true => Ok(()),
        false => Err(Refusal::new(
            RefusalCode::Name,
            format!(
                "a name among {:?}, which trust.toml allows to {}",
                publisher.names, publisher.name
            ),
            name.as_str(),
            "extend allow.names of the publisher in trust.toml if it may use this name",
        )),
    }
}

pub(crate) fn check_validity<S, P: Predicate>(
    publisher: &Publisher,
    statement: &Statement<S, P>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let refused = |expected: String, remedy: &str| {
        Err(Refusal::new(RefusalCode::Expired, expected, format!("the time {now}"), remedy))
    };
    let (not_before, expires) = statement.predicate.validity();
    if now < not_before {
        return refused(
            format!("a time from {not_before} on"),
            "wait, or correct the clock of this machine",
        );
    }
    if now >= expires {
        return refused(
            format!("a time before {expires}"),
            "get a newer release from the publisher",
        );
    }
    match publisher.expires {
        Some(expires) if now >= expires => refused(
            format!("a time before {expires}, when trust in {} ends", publisher.name),
            "renew `expires` of the publisher in trust.toml",
        ),
        Some(_) | None => Ok(()),
    }
}

pub(crate) fn check_imports<'a>(
    capabilities: &Capabilities,
    imports: impl IntoIterator<Item = &'a str>,
) -> Result<(), Refusal> {
    for import in imports {
        let interface = import.strip_prefix("aimass:plugin/").and_then(|rest| rest.split_once('@'));
        let granted = interface.is_some_and(|(name, _)| {
            name == "types" || name.parse().is_ok_and(|capability| capabilities.allows(capability))
        });
        if !granted {
            return Err(Refusal::new(
                RefusalCode::Cap,
                format!(
                    "imports among the capabilities that its manifest asks for ({capabilities})"
                ),
                format!("import `{}`", excerpt(import)),
                "add the interface to `capabilities` in the plugin's manifest and sign it again, or drop the import",
            ));
        }
    }
    Ok(())
}

pub(crate) fn check_files(
    subjects: &[ModelSubject],
    files: &BTreeMap<String, FileDigest>,
) -> Result<(), Refusal> {
    let remedy = "restore the model's files from their publisher, or sign the package again";
    let refused = |expected: String, got: String| {
        Err(Refusal::new(RefusalCode::Digest, expected, got, remedy))
    };
    let mut stated = BTreeSet::new();
    for subject in subjects {
        if !is_file_name(&subject.name) || !stated.insert(subject.name.as_str()) {
            return Err(Refusal::format("every file once, by a flat name", excerpt(&subject.name)));
        }
        let digest =
            FileDigest { bytes: subject.annotations.bytes, root: subject.digest.merkle_sha256.0 };
        match files.get(&subject.name) {
            Some(file) if *file == digest => {}
            Some(file) => {
                let text = |one: &FileDigest| {
                    format!("{} bytes with root {}", one.bytes, hex::encode(&one.root))
                };
                return refused(format!("`{}` of {}", subject.name, text(&digest)), text(file));
            }
            None => return refused(format!("a file `{}`", subject.name), "none".to_owned()),
        }
    }
    match files.keys().find(|name| !stated.contains(name.as_str())) {
        Some(extra) => refused(
            "only files that the statement names".to_owned(),
            format!("`{}`", excerpt(extra)),
        ),
        None if stated.is_empty() => {
            Err(Refusal::format("a statement about at least one file", "none"))
        }
        None => Ok(()),
    }
}

pub(crate) fn check_sequence(
    name: &PackageName,
    sequence: u64,
    last_seen: Option<u64>,
) -> Result<(), Refusal> {
    match last_seen {
        Some(last) if sequence <= last => Err(Refusal::new(
            RefusalCode::Rollback,
            format!("a release of {name} with a sequence above {last}"),
            format!("{sequence}"),
            "publish a newer release; to return to an older one that is here already, move the label",
        )),
        Some(_) | None => Ok(()),
    }
}
