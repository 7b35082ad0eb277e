//! What the tests of this crate share: a registry in a temporary folder and small packages.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    InitialState, Limits, ModelRelease, PluginRelease, Registry, RegistryError, SignedRelease,
};

/// A registry whose folder goes with it.
pub(crate) struct Fixture {
    pub(crate) registry: Registry,
    pub(crate) dir: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { registry: Registry::open(dir.path(), limits).unwrap(), dir }
    }

    /// A second handle, as another process would have it.
    pub(crate) fn other(&self) -> Registry {
        Registry::open(self.dir.path(), Limits::default()).unwrap()
    }

    /// Publishes a version of `model` with one small file.
    pub(crate) fn publish(&self, state: InitialState) -> Result<u64, RegistryError> {
        publish(&self.registry, "minilm", state)
    }

    /// Publishes `count` ready versions.
    pub(crate) fn ready(&self, count: u64) {
        for _ in 0..count {
            self.publish(InitialState::Ready).unwrap();
        }
    }
}

/// Publishes a version of `model` with one small file.
pub(crate) fn publish(
    registry: &Registry,
    model: &str,
    state: InitialState,
) -> Result<u64, RegistryError> {
    let mut staged = registry.stage_model(model)?;
    staged.add_bytes("config.json", b"{}")?;
    staged.commit(release(state), at(1))
}

pub(crate) fn release(state: InitialState) -> ModelRelease<'static> {
    ModelRelease {
        model_toml: "name = 1",
        statement: b"{}",
        signed: SignedRelease { name: "acme/minilm", sequence: 1, digest: [1; 32] },
        locks: BTreeMap::new(),
        state,
        fixture_report: None,
    }
}

/// A release of `acme/upper` whose bytes are `wasm`.
pub(crate) fn plugin<'a>(wasm: &'a [u8], version: &'a str, sequence: u64) -> PluginRelease<'a> {
    PluginRelease {
        wasm,
        dsse: b"{}",
        name: "acme/upper",
        version,
        digest: Sha256::digest(wasm).into(),
        world: "aimass:plugin/processor@0.1.0",
        publisher: "acme",
        sequence,
    }
}

/// A moment, in seconds after 1970.
pub(crate) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
