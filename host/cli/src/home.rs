//! The data folder: where the registry, the trust policy, keys and caches are.

use crate::passphrase::Passphrases;
use aimass_engine::{Engine, EngineConfig};
use aimass_registry::Registry;
use aimass_trust::SigningKey;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The data folder of one installation.
pub(crate) struct Home {
    dir: PathBuf,
    passphrases: Passphrases,
}

impl Home {
    /// Opens the folder, making it if it is new.
    pub(crate) fn open(
        dir: Option<PathBuf>,
        passphrase_file: Option<PathBuf>,
    ) -> anyhow::Result<Home> {
        let dir = match dir {
            Some(dir) => dir,
            None => default_dir()?,
        };
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("the data folder {} cannot be made", dir.display()))?;
        let home = Home { dir, passphrases: Passphrases::new(passphrase_file) };
        if !home.trust_policy().exists() {
            std::fs::write(home.trust_policy(), EMPTY_POLICY)
                .with_context(|| home.trust_policy().display().to_string())?;
        }
        Ok(home)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The operator's trust policy.
    pub(crate) fn trust_policy(&self) -> PathBuf {
        self.dir.join("trust.toml")
    }

    /// The journal of usage records.
    pub(crate) fn usage(&self) -> PathBuf {
        self.dir.join("usage")
    }

    /// Jobs of batch inference.
    pub(crate) fn jobs(&self) -> PathBuf {
        self.dir.join("jobs")
    }

    /// Hashed API keys.
    pub(crate) fn api_keys(&self) -> PathBuf {
        self.dir.join("api_keys.toml")
    }

    /// A publisher's signing key.
    pub(crate) fn signing_key(&self, publisher: &str) -> PathBuf {
        self.dir.join("keys").join(format!("{publisher}.key"))
    }

    /// Publishers whose signing keys are here, by name.
    ///
    /// # Errors
    /// The folder of keys cannot be read.
    pub(crate) fn publishers(&self) -> anyhow::Result<Vec<String>> {
        let dir = self.dir.join("keys");
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).context(dir.display().to_string()),
        };
        let mut publishers = Vec::new();
        for entry in entries {
            let name = entry.with_context(|| dir.display().to_string())?.file_name();
            if let Some(publisher) = name.to_string_lossy().strip_suffix(".key") {
                publishers.push(publisher.to_owned());
            }
        }
        publishers.sort();
        Ok(publishers)
    }

    /// The signing key at `path`, or the publisher's own if none is given.
    pub(crate) fn load_signing_key(
        &self,
        path: Option<&Path>,
        publisher: &str,
    ) -> anyhow::Result<SigningKey> {
        let own = self.signing_key(publisher);
        let path = path.unwrap_or(&own);
        if !path.exists() {
            bail!(
                "there is no signing key {}; make one with `aimass key new publisher {publisher}`, \
                 or name one with --key",
                path.display()
            );
        }
        self.load_key(path)
    }

    /// The signing key in `path`; asks for the passphrase if it is sealed.
    pub(crate) fn load_key(&self, path: &Path) -> anyhow::Result<SigningKey> {
        if !path.exists() {
            bail!(
                "{}: expected a key file, got no such file. Remedy: name one that is there; `aimass key new signing \
                 FILE` makes one",
                path.display()
            );
        }
        Ok(SigningKey::load_with(path, || self.passphrases.ask(path))?)
    }

    /// Writes a new key file, sealed if there is a passphrase or somebody to ask for one; whether it is.
    pub(crate) fn create_key(
        &self,
        key: &SigningKey,
        path: &Path,
        plain: bool,
    ) -> anyhow::Result<bool> {
        if path.exists() {
            bail!("{} exists already; a key is never overwritten", path.display());
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let passphrase = if plain { None } else { self.passphrases.choose(path)? };
        match &passphrase {
            Some(passphrase) => key.create_sealed_file(path, passphrase)?,
            None => key.create_file(path)?,
        }
        Ok(passphrase.is_some())
    }

    /// The trust policy, read now.
    pub(crate) fn read_trust(&self) -> anyhow::Result<aimass_trust::TrustPolicy> {
        Ok(aimass_trust::TrustPolicy::load(&self.trust_policy())?)
    }

    /// The marketplaces that this host follows.
    pub(crate) fn markets(&self) -> aimass_market::host::MarketHost {
        let limits = aimass_market::mirror::FetchLimits::default();
        aimass_market::host::MarketHost::open(&self.dir, limits)
    }

    /// The registry alone, for commands that move labels.
    pub(crate) fn registry(&self) -> anyhow::Result<Registry> {
        Ok(Registry::open(&self.dir.join("registry"), aimass_registry::Limits::default())?)
    }

    /// Configuration of an engine on this folder.
    pub(crate) fn engine_config(&self) -> EngineConfig {
        let mut config = EngineConfig::new(&self.dir);
        config.sandbox.child_program = Some(CHILD_PROGRAM.into());
        config
    }

    /// An engine that publishes, but does not serve.
    pub(crate) async fn publishing_engine(&self) -> anyhow::Result<Arc<Engine>> {
        let config = EngineConfig { serve_registry: false, ..self.engine_config() };
        Ok(Engine::open(config).await?)
    }
}

/// This program, as children are started from it: what runs now, even if its file was replaced since.
pub(crate) const CHILD_PROGRAM: &str = "/proc/self/exe";

/// A runtime for one command.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the operating system refused to start threads")
}

const EMPTY_POLICY: &str = "\
# Whom this host trusts. It refuses everything that no [[publisher]] below may publish.
# `aimass key new publisher NAME` adds a publisher of your own.
";

fn default_dir() -> anyhow::Result<PathBuf> {
    if let Some(dir) = std::env::var_os("XDG_DATA_HOME") {
        return Ok(PathBuf::from(dir).join("aimass"));
    }
    match std::env::var_os("HOME") {
        Some(home) => Ok(PathBuf::from(home).join(".local/share/aimass")),
        None => bail!("neither XDG_DATA_HOME nor HOME is set; name a data folder with --data DIR"),
    }
}
