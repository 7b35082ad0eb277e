//! A published model version as a reader holds it.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::error::RegistryError;
use crate::mapped_file::MappedFile;
use crate::models::version_not_found;
use crate::names::DEFAULT_LABEL;
use crate::record::{FileRecord, VersionRecord, VersionState};
use crate::registry::Registry;
use crate::rows;
use crate::selector::Selector;
use crate::staging::check_digest;

/// Name of a version's description.
pub(crate) const MODEL_TOML: &str = "model.toml";
/// Name of a version's signed statement.
pub(crate) const STATEMENT: &str = "model.dsse.json";
/// Folder of a version's own files.
pub(crate) const FILES: &str = "files";

/// A published version and the right to read its files.
///
/// While a value lives, in any process, no sweep deletes the version's files, even after it was
/// removed. Clones share that right; it costs one file descriptor.
#[derive(Clone, Debug)]
pub struct ModelVersion {
    model: String,
    record: VersionRecord,
    files: Arc<[FileRecord]>,
    dir: PathBuf,
    _lease: Arc<File>,
}

impl Registry {
    /// The version of a model that a selector means, held for reading.
    ///
    /// [`Selector::Version`] finds a version in any state, so that fixtures can be run on a
    /// pending one; every other selector finds ready versions only.
    ///
    /// # Errors
    /// [`RegistryError::ModelNotFound`], [`RegistryError::VersionNotFound`],
    /// [`RegistryError::LabelNotFound`], [`RegistryError::NoReadyVersion`], and
    /// [`RegistryError::Corrupt`] if the files are gone from the disk.
    pub fn resolve(&self, name: &str, selector: &Selector) -> Result<ModelVersion, RegistryError> {
        loop {
            let version = self.select(name, selector)?;
            let dir = version_dir(&self.inner.dir, name, version);
            let lease = File::open(&dir).and_then(|file| file.lock_shared().map(|()| file));
            // The row is read again below the lease: a removal before it shows, and the sweep of
            // a removal after it meets the lease.
            let (record, files) = self.inner.read("read a version", |tx| {
                Ok((rows::version(tx, name, version)?, rows::files(tx, name, version)?))
            })?;
            match (record, lease) {
                (Some(record), Ok(lease)) => {
                    let (model, files) = (name.to_owned(), files.into());
                    return Ok(ModelVersion { model, record, files, dir, _lease: Arc::new(lease) });
                }
                (Some(_), Err(error)) if error.kind() == ErrorKind::NotFound => {
                    let detail = "expected the files of a published version, got no folder".into();
                    return Err(RegistryError::Corrupt { path: dir, detail });
                }
                (Some(_), Err(error)) => return Err(RegistryError::io("open", &dir)(error)),
                (None, _) => {}
            }
        }
    }

    fn select(&self, name: &str, selector: &Selector) -> Result<u64, RegistryError> {
        let (versions, labels) = self.inner.read("find a version", |tx| {
            Ok((rows::versions(tx, name)?, rows::labels(tx, name)?))
        })?;
        let Some(newest) = versions.last() else {
            return Err(RegistryError::ModelNotFound { name: name.to_owned() });
        };
        let newest_ready = || {
            let ready = versions.iter().rev().find(|v| v.state == VersionState::Ready);
            ready.map(|v| v.version).ok_or_else(|| RegistryError::NoReadyVersion {
                name: name.to_owned(),
                version: newest.version,
                state: newest.state.to_string(),
            })
        };
        match selector {
            Selector::Default => labels.get(DEFAULT_LABEL).copied().map_or_else(newest_ready, Ok),
            Selector::Newest => newest_ready(),
            Selector::Label(label) => labels.get(label).copied().ok_or_else(|| {
                let have: Vec<&str> = labels.keys().map(String::as_str).collect();
                label_not_found(name, label, &have)
            }),
            Selector::Version(version) => {
                let found = versions.iter().any(|v| v.version == *version);
                found
                    .then_some(*version)
                    .ok_or_else(|| version_not_found(name, *version, &versions))
            }
        }
    }
}

impl ModelVersion {
    /// Serving name of the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Number, state, digest, size and locks, as of [`Registry::resolve`].
    pub fn record(&self) -> &VersionRecord {
        &self.record
    }

    /// Version number.
    pub fn version(&self) -> u64 {
        self.record.version
    }

    /// Folder of the version. Its own files lie below `files/`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its files, by name.
    pub fn files(&self) -> &[FileRecord] {
        &self.files
    }

    /// Maps one of its files, read-only.
    ///
    /// # Errors
    /// [`RegistryError::FileNotFound`] for a name that is not in [`ModelVersion::files`],
    /// [`RegistryError::Corrupt`] if it is missing or has another length on the disk,
    /// [`RegistryError::Io`].
    pub fn open(&self, file: &str) -> Result<Arc<MappedFile>, RegistryError> {
        let at = self.files.binary_search_by(|record| record.name.as_str().cmp(file));
        let record = at.map(|at| &self.files[at]).map_err(|_| RegistryError::FileNotFound {
            package: format!("version {} of model `{}`", self.record.version, self.model),
            file: file.to_owned(),
        })?;
        MappedFile::open(&self.dir.join(FILES).join(&record.name), record.bytes).map(Arc::new)
    }

    /// Text of `model.toml`.
    ///
    /// # Errors
    /// [`RegistryError::Corrupt`] if it is not text, [`RegistryError::Io`].
    pub fn model_toml(&self) -> Result<String, RegistryError> {
        let path = self.dir.join(MODEL_TOML);
        String::from_utf8(read(&path)?).map_err(|error| RegistryError::Corrupt {
            path,
            detail: format!("expected UTF-8, got {error}"),
        })
    }

    /// The signed statement (DSSE JSON).
    ///
    /// # Errors
    /// [`RegistryError::Io`].
    pub fn statement(&self) -> Result<Vec<u8>, RegistryError> {
        read(&self.dir.join(STATEMENT))
    }

    /// Reads every file and compares it with its recorded SHA-256.
    ///
    /// # Errors
    /// [`RegistryError::DigestMismatch`], [`RegistryError::Corrupt`], [`RegistryError::Io`].
    pub fn verify(&self) -> Result<(), RegistryError> {
        for file in &*self.files {
            let got = Sha256::digest(self.open(&file.name)?.as_ref()).into();
            let what = || format!("`{}` of model `{}`", file.name, self.model);
            check_digest(what, &file.sha256, &got)?;
        }
        Ok(())
    }
}

/// Folder of one version.
pub(crate) fn version_dir(registry: &Path, name: &str, version: u64) -> PathBuf {
    registry.join("models").join(name).join(version.to_string())
}

/// The error for a label that a model lacks.
pub(crate) fn label_not_found(name: &str, label: &str, have: &[&str]) -> RegistryError {
    let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
    RegistryError::LabelNotFound { name: name.to_owned(), label: label.to_owned(), have }
}

fn read(path: &Path) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(RegistryError::io("read", path))?;
    Ok(bytes)
}
