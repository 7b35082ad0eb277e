//! The trust layer's parsers: bytes of strangers are refused with a code, or read to something that
//! writes and reads again as the same.

use crate::form::POLICY_NOTE;
use crate::{digest, magnitude, mix};
use aimass_trust::publishing::drafts::{
    draft_publisher, draft_root, draft_targets, read_publisher, read_release, read_root,
    read_targets,
};
use aimass_trust::{
    Bundle, CHUNK_BYTES, ChunkList, LogPolicy, MarketState, Refusal, Revocations, Timestamp,
    TrustError, TrustPolicy, bundle_bytes, check_signature, entry_of, read_imports, read_manifest,
};

/// A parser that bytes of strangers reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustParser {
    /// Components: sections, signature section, manifest.
    Component,
    /// DSSE envelopes and the statements in them.
    Statement,
    /// Roots, targets and publishers' targets.
    Metadata,
    /// Bundles: canonical tars.
    Bundle,
    /// Lists of revocations.
    Revocations,
    /// Signed notes under a fixed log policy, with whose keys they are signed again.
    Note,
    /// Log policies.
    LogPolicy,
    /// `trust.toml`.
    Policy,
    /// A host's state of a marketplace.
    State,
    /// Chunk lists of model files.
    Chunks,
}

impl TrustParser {
    /// Every parser.
    pub const ALL: [TrustParser; 10] = [
        TrustParser::Component,
        TrustParser::Statement,
        TrustParser::Metadata,
        TrustParser::Bundle,
        TrustParser::Revocations,
        TrustParser::Note,
        TrustParser::LogPolicy,
        TrustParser::Policy,
        TrustParser::State,
        TrustParser::Chunks,
    ];

    /// Name of the target, and of its corpus.
    pub fn name(self) -> &'static str {
        match self {
            TrustParser::Component => "trust-component",
            TrustParser::Statement => "trust-statement",
            TrustParser::Metadata => "trust-metadata",
            TrustParser::Bundle => "trust-bundle",
            TrustParser::Revocations => "trust-revocations",
            TrustParser::Note => "trust-note",
            TrustParser::LogPolicy => "trust-log-policy",
            TrustParser::Policy => "trust-policy",
            TrustParser::State => "trust-state",
            TrustParser::Chunks => "trust-chunks",
        }
    }
}

/// Reads bytes with one parser; answers what happened, as numbers that tell executions apart.
///
/// # Panics
/// If something that was read does not write and read again as the same.
pub fn trust(parser: TrustParser, bytes: &[u8]) -> Vec<u64> {
    match parser {
        TrustParser::Component => component(bytes),
        TrustParser::Statement => statement(bytes),
        TrustParser::Metadata => metadata(bytes),
        TrustParser::Bundle => bundle(bytes),
        TrustParser::Revocations => revocations(bytes),
        TrustParser::Note => with_text(bytes, |text| {
            let policy = LogPolicy::parse(POLICY_NOTE).expect("the committed policy");
            vec![of(policy.check(text).map(|seen| seen.checkpoint.size as usize))]
        }),
        TrustParser::LogPolicy => with_text(bytes, |text| {
            vec![of_tool(LogPolicy::parse(text).map(|policy| policy.logs().len()))]
        }),
        TrustParser::Policy => with_text(bytes, |text| {
            let read = TrustPolicy::parse(text);
            vec![of_tool(read.map(|it| it.publishers().count() * 20 + it.subscriptions().len()))]
        }),
        TrustParser::State => state(bytes),
        TrustParser::Chunks => chunks(bytes),
    }
}

/// Whether the parser takes `bytes`, which its events tell by their size alone.
#[cfg(test)]
pub(crate) fn accepts(parser: TrustParser, bytes: &[u8]) -> bool {
    let sizes = |seed| (0..64).map(move |size| mix(seed, size));
    let taken: Vec<u64> = sizes(1).chain(sizes(2)).collect();
    trust(parser, bytes).iter().all(|event| taken.contains(event))
}

/// An event of a refusal, by its code and what was expected, or of a size.
fn of(outcome: Result<usize, Refusal>) -> u64 {
    match outcome {
        Ok(size) => mix(1, magnitude(size)),
        Err(refusal) => {
            assert!(refusal.to_string().len() < 4096, "errors of strangers' bytes stay short");
            let expected: String =
                refusal.expected.chars().filter(|it| !it.is_ascii_digit()).collect();
            mix(digest(refusal.code.as_str().as_bytes()), digest(expected.as_bytes()))
        }
    }
}

fn of_tool(outcome: Result<usize, TrustError>) -> u64 {
    match outcome {
        Ok(size) => mix(2, magnitude(size)),
        Err(TrustError::Sign(refusal)) => of(Err(refusal)),
        Err(other) => {
            let text = other.to_string();
            let words: String =
                text.chars().filter(|it| it.is_ascii_lowercase()).take(24).collect();
            mix(3, digest(words.as_bytes()))
        }
    }
}

fn with_text(bytes: &[u8], read: impl FnOnce(&str) -> Vec<u64>) -> Vec<u64> {
    match std::str::from_utf8(bytes) {
        Ok(text) => read(text),
        Err(_) => vec![0],
    }
}

fn component(bytes: &[u8]) -> Vec<u64> {
    let manifest = read_manifest(bytes).map(|manifest| {
        let text = manifest.to_json().expect("a manifest that was read");
        let capabilities = manifest.capabilities.iter().count();
        mix(magnitude(text.len()), capabilities as u64) as usize % 4096
    });
    vec![of(manifest), of(read_imports(bytes).map(|imports| imports.len()))]
}

fn statement(bytes: &[u8]) -> Vec<u64> {
    // A component that has a manifest; what it says is compared elsewhere.
    const WASM: &[u8] = include_bytes!("../corpus/trust-component/signed.wasm");
    let release =
        read_release(WASM, bytes).map(|release| magnitude(release.sequence as usize) as usize);
    vec![of(entry_of(bytes).map(|entry| entry.len())), of_tool(release)]
}

fn metadata(bytes: &[u8]) -> Vec<u64> {
    let at = Timestamp::from_unix(1_795_168_800);
    let root = read_root(bytes).map(|(version, content)| {
        // Thresholds that keys cannot reach are read, and refused where they are to be reached.
        if let Ok(again) = draft_root(&content, version, at) {
            assert_eq!(read_root(&again).expect("a draft"), (version, content.clone()));
        }
        content.root.keys.len()
    });
    let targets = read_targets(bytes).map(|(version, content)| {
        if let Ok(again) = draft_targets(&content, version, at) {
            assert_eq!(read_targets(&again).expect("a draft"), (version, content.clone()));
        }
        content.publishers.len()
    });
    let publisher = read_publisher(bytes).map(|(version, releases)| {
        let again = draft_publisher(&releases, version, at).expect("what was read");
        assert_eq!(read_publisher(&again).expect("a draft").1.len(), releases.len());
        releases.len()
    });
    let state = MarketState::of_root(bytes).map(|_| 1);
    vec![of_tool(root), of_tool(targets), of_tool(publisher), of(state)]
}

fn bundle(bytes: &[u8]) -> Vec<u64> {
    vec![of(Bundle::parse(bytes).map(|bundle| {
        let members = bundle.members().filter(|(name, _)| *name != "sha256sums");
        let members = members
            .map(|(name, _)| (name.to_owned(), bundle.get(name).unwrap_or_default().to_vec()));
        let again = bundle_bytes(&members.collect()).expect("members of a bundle");
        assert_eq!(again, bytes, "a bundle has one form");
        bundle.members().count()
    }))]
}

fn revocations(bytes: &[u8]) -> Vec<u64> {
    vec![of(Revocations::parse(bytes).map(|list| {
        if let Ok(text) = list.to_json() {
            assert_eq!(Revocations::parse(&text).expect("a list"), list);
        }
        list.entries().len()
    }))]
}

fn state(bytes: &[u8]) -> Vec<u64> {
    vec![of(MarketState::from_bytes(bytes).map(|state| {
        let again = state.to_bytes().expect("a state that was read");
        assert_eq!(MarketState::from_bytes(&again).expect("a state"), state);
        state.checkpoints.len()
    }))]
}

/// The first 8 bytes are the length that the file is said to have; another is one that fits the list.
fn chunks(bytes: &[u8]) -> Vec<u64> {
    let (length, list) = bytes.split_at(bytes.len().min(8));
    let length = length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let hex: String = list.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    let accepted = check_signature(&hex, "00", &hex.repeat(2));
    assert!(!accepted, "no signature is its own key");
    let fits = (list.len() as u64 / 32 * CHUNK_BYTES).saturating_sub(length % CHUNK_BYTES);
    let read = |length| {
        ChunkList::parse(list, length).map(|chunks| {
            assert_eq!(chunks.to_bytes(), list, "a list of chunks has one form");
            let bytes = (0..chunks.chunks()).filter_map(|at| chunks.chunk_bytes(at)).sum::<u64>();
            assert_eq!((bytes, chunks.digest().bytes), (length, length));
            chunks.chunks()
        })
    };
    vec![of(read(length)), of(read(fits))]
}
