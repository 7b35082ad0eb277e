//! The OCI registry of Debian's package `docker-registry`, in a folder of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use tempfile::TempDir;

/// A user `me` with the password `secret`, as `htpasswd -nbB` writes it.
const USERS: &str = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";

/// A registry that was started here; it is killed when it goes out of scope.
pub struct OciRegistry {
    process: Child,
    address: String,
    _folder: TempDir,
}

impl Drop for OciRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl OciRegistry {
    /// Serves on a free loopback port, to everybody or, if `guarded`, to `me` with `secret` alone. `None`,
    /// and a line that says why, where `cargo xtask test` found no binary.
    ///
    /// # Errors
    /// It ended before it listened.
    pub fn start(guarded: bool) -> anyhow::Result<Option<OciRegistry>> {
        OciRegistry::start_with(guarded, None)
    }

    /// As [`OciRegistry::start`], over TLS with these files of a certificate and its key (PEM).
    ///
    /// # Errors
    /// It ended before it listened.
    pub fn start_tls(certificate: &Path, key: &Path) -> anyhow::Result<Option<OciRegistry>> {
        OciRegistry::start_with(false, Some((certificate, key)))
    }

    fn start_with(
        guarded: bool,
        tls: Option<(&Path, &Path)>,
    ) -> anyhow::Result<Option<OciRegistry>> {
        let Some(binary) = std::env::var_os("AIMASS_REGISTRY_BIN").map(PathBuf::from) else {
            let why = std::env::var("AIMASS_WITHOUT_REGISTRY");
            println!(
                "left out: {}",
                why.as_deref().unwrap_or("`cargo xtask test` gives a registry")
            );
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        let place = |name: &str| folder.path().join(name);
        let (store, users, config) = (place("store"), place("users"), place("config.yml"));
        std::fs::write(&users, USERS)?;
        let auth = match guarded {
            true => format!("auth:\n  htpasswd:\n    realm: here\n    path: {}\n", users.display()),
            false => String::new(),
        };
        let tls = tls.map_or_else(String::new, |(certificate, key)| {
            let (certificate, key) = (certificate.display(), key.display());
            format!("  tls:\n    certificate: {certificate}\n    key: {key}\n")
        });
        let text = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
             http:\n  addr: 127.0.0.1:0\n{tls}{auth}",
            store.display()
        );
        std::fs::write(&config, text)?;
        let mut process = Command::new(binary)
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("the registry did not start")?;
        let log = process.stderr.take().context("a log")?;
        let mut registry = OciRegistry { process, address: String::new(), _folder: folder };
        let mut lines = BufReader::new(log).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.split(['"', ' ', ',']).next()?.to_owned())
        });
        registry.address = address.context("the registry ended before it listened")?;
        // What it logs must go somewhere, or it stops.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Some(registry))
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }
}
