//! Publishing model versions, their states, and removing them.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rusqlite::Transaction;
use sha2::{Digest, Sha256};

use crate::database::database;
use crate::error::RegistryError;
use crate::limits::{Limits, check_limit, cut};
use crate::mapped_file::MappedFile;
use crate::model_version::{FILES, MODEL_TOML, STATEMENT, version_dir};
use crate::names::{check_file_name, check_model_name, check_step};
use crate::record::{FileRecord, Sha256Digest, VersionRecord, VersionState, digest_hex};
use crate::registry::{Inner, Registry, unix_ms};
use crate::releases::{SignedRelease, check_order, record_release};
use crate::rows::{self, signed};
use crate::staging::Staging;

/// A model version under way: files are added, then [`StagedModel::commit`] publishes all of it at
/// once. Dropping it leaves nothing behind.
pub struct StagedModel {
    inner: Arc<Inner>,
    staging: Staging,
    name: String,
    files: BTreeMap<String, FileRecord>,
    folders: HashSet<String>,
    bytes: u64,
}

/// What [`StagedModel::commit`] publishes beside the files.
#[derive(Clone, Debug)]
pub struct ModelRelease<'a> {
    /// Text of `model.toml`.
    pub model_toml: &'a str,
    /// The signed statement (DSSE JSON), already verified by the caller.
    pub statement: &'a [u8],
    /// What the statement says of the release.
    pub signed: SignedRelease<'a>,
    /// Plugin digest that each step is locked to; every plugin must be in the registry.
    pub locks: BTreeMap<String, Sha256Digest>,
    /// State that the version begins with.
    pub state: InitialState,
    /// What its fixtures did, for a version that begins ready (cut to [`Limits::report_bytes_max`]).
    pub fixture_report: Option<&'a str>,
}

/// State that a version is published in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialState {
    /// Its fixtures still have to pass.
    Pending,
    /// It may serve at once (its fixtures passed before, or it has none).
    Ready,
}

impl Registry {
    /// Begins a new version of the model `name`.
    ///
    /// ```
    /// # use std::time::SystemTime;
    /// # use aimass_registry::*;
    /// # let dir = tempfile::tempdir().unwrap();
    /// let registry = Registry::open(dir.path(), Limits::default())?;
    /// let mut staged = registry.stage_model("minilm")?;
    /// staged.add_bytes("config.json", b"{}")?;
    /// let release = ModelRelease {
    ///     model_toml: "",
    ///     statement: b"{}",
    ///     signed: SignedRelease { name: "acme/minilm", sequence: 1, digest: [1; 32] },
    ///     locks: Default::default(),
    ///     state: InitialState::Ready,
    ///     fixture_report: Some("none"),
    /// };
    /// let version = staged.commit(release, SystemTime::now())?;
    /// registry.set_label("minilm", "stable", version, SystemTime::now())?;
    /// let serving = registry.resolve("minilm", &Selector::Default)?;
    /// assert_eq!(&serving.open("config.json")?[..], b"{}");
    /// # Ok::<(), RegistryError>(())
    /// ```
    ///
    /// # Errors
    /// [`RegistryError::InvalidName`], [`RegistryError::Busy`], [`RegistryError::Io`].
    pub fn stage_model(&self, name: &str) -> Result<StagedModel, RegistryError> {
        check_model_name(name)?;
        Ok(StagedModel {
            inner: self.inner.clone(),
            staging: Staging::create(&self.inner)?,
            name: name.to_owned(),
            files: BTreeMap::new(),
            folders: HashSet::new(),
            bytes: 0,
        })
    }

    /// Makes a pending version ready, with the result of its fixtures (cut to
    /// [`Limits::report_bytes_max`]). A ready version stays as it is.
    ///
    /// # Errors
    /// [`RegistryError::VersionNotFound`], [`RegistryError::ModelNotFound`], and
    /// [`RegistryError::WrongState`] for a failed version.
    pub fn mark_ready(&self, name: &str, version: u64, report: &str) -> Result<(), RegistryError> {
        let report = cut(report, self.inner.limits.report_bytes_max);
        self.settle(name, version, "ready", |tx| {
            tx.execute(
                "UPDATE model_version SET state = 'ready', fixture_report = ?3
                 WHERE model = ?1 AND version = ?2",
                (name, signed(version)?, report),
            )
        })
    }

    /// Makes a pending version failed, with the reason (cut to [`Limits::report_bytes_max`]). A
    /// failed version stays as it is.
    ///
    /// # Errors
    /// [`RegistryError::VersionNotFound`], [`RegistryError::ModelNotFound`], and
    /// [`RegistryError::WrongState`] for a ready version.
    pub fn mark_failed(&self, name: &str, version: u64, reason: &str) -> Result<(), RegistryError> {
        let reason = cut(reason, self.inner.limits.report_bytes_max);
        self.settle(name, version, "failed", |tx| {
            tx.execute(
                "UPDATE model_version SET state = 'failed', reason = ?3
                 WHERE model = ?1 AND version = ?2",
                (name, signed(version)?, reason),
            )
        })
    }

    /// Removes a version at once for everybody who asks for it from now on.
    ///
    /// Its files stay until a [`Registry::sweep`] finds that nobody holds it as a
    /// [`ModelVersion`](crate::ModelVersion). Its number is never used again.
    ///
    /// # Errors
    /// [`RegistryError::Labelled`], [`RegistryError::VersionNotFound`],
    /// [`RegistryError::ModelNotFound`].
    pub fn remove(&self, name: &str, version: u64) -> Result<(), RegistryError> {
        self.inner.write("remove a version", |tx| {
            find_version(tx, name, version)?;
            let failed = database("remove a version");
            let labels = rows::labels(tx, name).map_err(&failed)?;
            let on_it: Vec<String> =
                labels.into_iter().filter(|(_, v)| *v == version).map(|(label, _)| label).collect();
            if !on_it.is_empty() {
                let labels = on_it.join(", ");
                return Err(RegistryError::Labelled { name: name.to_owned(), version, labels });
            }
            let number = signed(version).map_err(&failed)?;
            for sql in [
                "UPDATE model_version SET state = 'removed' WHERE model = ?1 AND version = ?2",
                "DELETE FROM model_lock WHERE model = ?1 AND version = ?2",
            ] {
                tx.execute(sql, (name, number)).map_err(&failed)?;
            }
            Ok(())
        })
    }

    fn settle(
        &self,
        name: &str,
        version: u64,
        wanted: &'static str,
        update: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<usize>,
    ) -> Result<(), RegistryError> {
        self.inner.write("set a version's state", |tx| {
            let state = find_version(tx, name, version)?.state;
            match (&state, wanted) {
                (VersionState::Pending, _) => {
                    update(tx).map(|_| ()).map_err(database("set a version's state"))
                }
                (VersionState::Ready, "ready") | (VersionState::Failed { .. }, "failed") => Ok(()),
                (VersionState::Ready | VersionState::Failed { .. }, _) => {
                    Err(RegistryError::WrongState {
                        name: name.to_owned(),
                        version,
                        state: state.to_string(),
                        wanted,
                    })
                }
            }
        })
    }
}

impl StagedModel {
    /// The staging directory, to look at; files are added through this value only.
    pub fn path(&self) -> &Path {
        self.staging.dir()
    }

    /// Files added so far, by name.
    pub fn files(&self) -> impl Iterator<Item = &FileRecord> {
        self.files.values()
    }

    /// Adds a file from a reader, and makes it durable.
    ///
    /// # Errors
    /// [`RegistryError::InvalidName`], [`RegistryError::FileCollision`],
    /// [`RegistryError::LimitExceeded`], [`RegistryError::Io`]. After an error the file is not
    /// part of the version.
    pub fn add_file(
        &mut self,
        name: &str,
        source: &mut dyn Read,
    ) -> Result<FileRecord, RegistryError> {
        let limits = &self.inner.limits;
        check_file_name(name)?;
        check_limit(
            "files of a model version",
            limits.files_per_version_max,
            self.files.len() as u64 + 1,
            "pack small files together, or raise `files_per_version_max`",
        )?;
        self.check_collision(name)?;
        let left = limits.version_bytes_max.saturating_sub(self.bytes);
        let record = self.staging.write(&format!("{FILES}/{name}"), source, left)?;
        let record = FileRecord { name: name.to_owned(), ..record };
        self.bytes = self.bytes.saturating_add(record.bytes);
        self.folders.extend(folders(name).map(str::to_owned));
        self.files.insert(name.to_owned(), record.clone());
        Ok(record)
    }

    /// Adds a file from memory.
    ///
    /// # Errors
    /// As [`StagedModel::add_file`].
    pub fn add_bytes(&mut self, name: &str, mut bytes: &[u8]) -> Result<FileRecord, RegistryError> {
        self.add_file(name, &mut bytes)
    }

    /// Adds a copy of the file at `path`.
    ///
    /// # Errors
    /// As [`StagedModel::add_file`].
    pub fn add_path(&mut self, name: &str, path: &Path) -> Result<FileRecord, RegistryError> {
        let mut file = File::open(path).map_err(RegistryError::io("open", path))?;
        self.add_file(name, &mut file)
    }

    /// Maps a file that was added, such as to compare it with a signed statement.
    ///
    /// # Errors
    /// [`RegistryError::FileNotFound`], [`RegistryError::Io`].
    pub fn open(&self, name: &str) -> Result<Arc<MappedFile>, RegistryError> {
        let record = self.files.get(name).ok_or_else(|| RegistryError::FileNotFound {
            package: format!("the staged version of model `{}`", self.name),
            file: name.to_owned(),
        })?;
        let path = self.staging.dir().join(FILES).join(name);
        MappedFile::open(&path, record.bytes).map(Arc::new)
    }

    /// Publishes the version and returns its number. When this returns, the version is durable and
    /// every process sees it; when it fails, or the process dies before, nobody ever sees it.
    ///
    /// (If the machine fails *while* the last commit is on its way to the disk, the version may
    /// exist although no number was returned; it is then complete.)
    ///
    /// # Errors
    /// [`RegistryError::PluginNotFound`] for a lock on a plugin that is not in the registry,
    /// [`RegistryError::SequenceTooOld`] (`AMT-ROLLBACK`) for a release before the newest that was
    /// admitted, [`RegistryError::InvalidName`] for a step id, [`RegistryError::LimitExceeded`],
    /// [`RegistryError::Busy`], [`RegistryError::Io`], [`RegistryError::Database`].
    pub fn commit(self, release: ModelRelease<'_>, now: SystemTime) -> Result<u64, RegistryError> {
        check_release(&release, &self.inner.limits)?;
        let digest = self.write_release(&release)?;
        self.staging.sync()?;
        let committed = self.inner.write("publish a model", |tx| {
            check_locks(tx, &release.locks)?;
            check_order(tx, &release.signed)?;
            let version = next_version(tx, &self.name, &self.inner.limits)?;
            self.staging.install(&version_dir(&self.inner.dir, &self.name, version))?;
            self.insert(tx, version, &digest, &release, unix_ms(now))
                .map_err(database("publish a model"))?;
            Ok(version)
        });
        if committed.is_err() {
            // Whether the commit reached the disk is for the rows to say, so the sweep decides.
            let _ = Registry { inner: self.inner.clone() }.sweep();
        }
        committed
    }

    fn write_release(&self, release: &ModelRelease<'_>) -> Result<Sha256Digest, RegistryError> {
        let limits = &self.inner.limits;
        std::fs::create_dir_all(self.staging.dir().join(FILES))
            .map_err(RegistryError::io("create", self.staging.dir()))?;
        let mut toml = release.model_toml.as_bytes();
        let mut statement = release.statement;
        let toml = self.staging.write(MODEL_TOML, &mut toml, limits.model_toml_bytes_max)?;
        self.staging.write(STATEMENT, &mut statement, limits.statement_bytes_max)?;
        let mut hash = Sha256::new();
        hash.update(b"aimass model version 1\n");
        for file in std::iter::once(&toml).chain(self.files.values()) {
            hash.update((file.name.len() as u64).to_le_bytes());
            hash.update(&file.name);
            hash.update(file.bytes.to_le_bytes());
            hash.update(file.sha256);
        }
        hash.update((release.locks.len() as u64).to_le_bytes());
        for (step, plugin) in &release.locks {
            hash.update((step.len() as u64).to_le_bytes());
            hash.update(step);
            hash.update(plugin);
        }
        Ok(hash.finalize().into())
    }

    fn insert(
        &self,
        tx: &Transaction<'_>,
        version: u64,
        digest: &Sha256Digest,
        release: &ModelRelease<'_>,
        now_ms: i64,
    ) -> rusqlite::Result<()> {
        let (name, number) = (self.name.as_str(), signed(version)?);
        let report_bytes_max = self.inner.limits.report_bytes_max;
        let (state, report) = match release.state {
            InitialState::Pending => ("pending", None),
            InitialState::Ready => {
                ("ready", release.fixture_report.map(|report| cut(report, report_bytes_max)))
            }
        };
        tx.execute(
            "INSERT INTO model(name, version_last) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET version_last = excluded.version_last",
            (name, number),
        )?;
        tx.execute(
            "INSERT INTO model_version(model, version, state, digest, bytes, published_ms, fixture_report)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            (name, number, state, digest, signed(self.bytes)?, now_ms, report),
        )?;
        record_release(tx, &release.signed)?;
        let mut file_row =
            tx.prepare_cached("INSERT INTO model_file VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for file in self.files.values() {
            file_row.execute((name, number, &file.name, signed(file.bytes)?, file.sha256))?;
        }
        let mut lock_row = tx.prepare_cached("INSERT INTO model_lock VALUES (?1, ?2, ?3, ?4)")?;
        for (step, plugin) in &release.locks {
            lock_row.execute((name, number, step, plugin))?;
        }
        Ok(())
    }

    fn check_collision(&self, name: &str) -> Result<(), RegistryError> {
        let same = self.files.contains_key(name) || self.folders.contains(name);
        let other =
            if same { Some(name) } else { folders(name).find(|f| self.files.contains_key(*f)) };
        match other {
            None => Ok(()),
            Some(other) => {
                Err(RegistryError::FileCollision { name: name.to_owned(), other: other.to_owned() })
            }
        }
    }
}

/// The version with this number, or an error that says what there is.
pub(crate) fn find_version(
    tx: &Transaction<'_>,
    name: &str,
    version: u64,
) -> Result<VersionRecord, RegistryError> {
    let failed = database("find a version");
    if let Some(record) = rows::version(tx, name, version).map_err(&failed)? {
        return Ok(record);
    }
    let versions = rows::versions(tx, name).map_err(&failed)?;
    Err(version_not_found(name, version, &versions))
}

/// The error for a version that `versions` lacks.
pub(crate) fn version_not_found(
    name: &str,
    version: u64,
    versions: &[VersionRecord],
) -> RegistryError {
    let name = name.to_owned();
    if versions.is_empty() {
        return RegistryError::ModelNotFound { name };
    }
    let newest = versions.iter().rev().take(10).map(|v| v.version.to_string());
    let mut have = newest.collect::<Vec<_>>().join(", ");
    if versions.len() > 10 {
        have.push_str(", …");
    }
    RegistryError::VersionNotFound { name, version, have }
}

fn check_release(release: &ModelRelease<'_>, limits: &Limits) -> Result<(), RegistryError> {
    check_limit(
        "locked steps of a model version",
        limits.locks_per_version_max,
        release.locks.len() as u64,
        "use fewer steps, or raise `locks_per_version_max`",
    )?;
    release.locks.keys().try_for_each(|step| check_step(step))
}

fn check_locks(
    tx: &Transaction<'_>,
    locks: &BTreeMap<String, Sha256Digest>,
) -> Result<(), RegistryError> {
    for plugin in locks.values() {
        if rows::plugin(tx, plugin).map_err(database("find a plugin"))?.is_none() {
            return Err(RegistryError::PluginNotFound { plugin: digest_hex(plugin) });
        }
    }
    Ok(())
}

fn next_version(tx: &Transaction<'_>, name: &str, limits: &Limits) -> Result<u64, RegistryError> {
    let count = |sql: &str| rows::count(tx, sql, [name]).map_err(database("count versions"));
    let known = count("SELECT count(*) FROM model WHERE name = ?1")?;
    if known == 0 {
        let models =
            rows::count(tx, "SELECT count(*) FROM model", []).map_err(database("count models"))?;
        let remedy = "publish under a name that was used before, or raise `models_max`";
        check_limit("models of the registry", limits.models_max, models + 1, remedy)?;
    }
    let versions =
        count("SELECT count(*) FROM model_version WHERE model = ?1 AND state <> 'removed'")?;
    check_limit(
        "versions of a model",
        limits.versions_per_model_max,
        versions + 1,
        "remove old versions, or raise `versions_per_model_max`",
    )?;
    Ok(count("SELECT coalesce(max(version_last), 0) FROM model WHERE name = ?1")? + 1)
}

/// Every folder that a relative file name lies in: `a/b/c` gives `a` and `a/b`.
fn folders(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('/').map(|(at, _)| &name[..at])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, at, plugin, publish, release};
    use crate::{ModelVersion, Selector};

    fn newest(fixture: &Fixture) -> ModelVersion {
        fixture.registry.resolve("minilm", &Selector::Newest).unwrap()
    }

    #[test]
    fn a_published_version_has_exactly_what_was_staged() {
        let fixture = Fixture::new();
        let upper = fixture.registry.publish_plugin(plugin(b"wasm", "1.0.0", 1), at(1)).unwrap();
        let mut staged = fixture.registry.stage_model("minilm").unwrap();
        staged.add_bytes("tokenizer.json", b"tokens").unwrap();
        staged.add_bytes("1_Pooling/config.json", b"").unwrap();
        let source = fixture.dir.path().join("source");
        std::fs::write(&source, vec![7; 3_000_000]).unwrap();
        staged.add_path("model.safetensors", &source).unwrap();
        assert_eq!(&staged.open("tokenizer.json").unwrap()[..], b"tokens");
        let locks = BTreeMap::from([("tokens".to_owned(), upper.digest)]);
        let release = ModelRelease { locks: locks.clone(), ..release(InitialState::Ready) };
        assert_eq!(staged.commit(release, at(5)).unwrap(), 1);

        let version = fixture.other().resolve("minilm", &Selector::Version(1)).unwrap();
        let names: Vec<&str> = version.files().iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["1_Pooling/config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(version.open("model.safetensors").unwrap()[..], vec![7; 3_000_000][..]);
        assert_eq!(version.model_toml().unwrap(), "name = 1");
        assert_eq!(version.statement().unwrap(), b"{}");
        assert_eq!(version.record().bytes, 3_000_006);
        assert_eq!(version.record().published_ms, 5_000);
        assert_eq!(version.record().locks, locks);
        version.verify().unwrap();
        let error = version.open("model.toml").unwrap_err();
        assert!(matches!(error, RegistryError::FileNotFound { .. }), "{error}");
    }

    #[test]
    fn nothing_is_visible_before_the_commit_and_nothing_left_after_a_drop() {
        let fixture = Fixture::new();
        let mut staged = fixture.registry.stage_model("minilm").unwrap();
        staged.add_bytes("a", b"a").unwrap();
        let path = staged.path().to_owned();
        assert!(fixture.registry.models().unwrap().is_empty());
        fixture.other().sweep().unwrap();
        assert!(path.join("files/a").exists(), "the sweep took a publish under way");
        drop(staged);
        assert_eq!(std::fs::read_dir(fixture.dir.path().join("staging")).unwrap().count(), 0);
    }

    #[test]
    fn version_numbers_rise_and_are_never_used_again() {
        let fixture = Fixture::new();
        fixture.ready(3);
        for version in [3, 2, 1] {
            fixture.registry.remove("minilm", version).unwrap();
            fixture.registry.sweep().unwrap();
        }
        assert!(fixture.registry.models().unwrap().is_empty());
        assert_eq!(fixture.other().dir(), fixture.dir.path());
        assert_eq!(fixture.publish(InitialState::Ready).unwrap(), 4);
        assert_eq!(publish(&fixture.registry, "other", InitialState::Ready).unwrap(), 1);
    }

    #[test]
    fn a_version_leaves_pending_once() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        for _ in 0..3 {
            fixture.publish(InitialState::Pending).unwrap();
        }
        registry.mark_ready("minilm", 1, "3 of 3").unwrap();
        registry.mark_ready("minilm", 1, "again").unwrap();
        registry.mark_failed("minilm", 2, "off by 1e-3").unwrap();
        let states: Vec<String> =
            registry.versions("minilm").unwrap().iter().map(|v| v.state.to_string()).collect();
        assert_eq!(states, ["ready", "failed (off by 1e-3)", "pending"]);
        let reports = || {
            let versions = registry.versions("minilm").unwrap().into_iter();
            versions.map(|version| version.fixture_report).collect::<Vec<_>>()
        };
        assert_eq!(reports(), [Some("3 of 3".to_owned()), None, None]);
        let mut staged = registry.stage_model("minilm").unwrap();
        staged.add_bytes("config.json", b"{}").unwrap();
        let report = "2 passed ".repeat(1 << 20);
        let release =
            ModelRelease { fixture_report: Some(&report), ..release(InitialState::Ready) };
        staged.commit(release, at(1)).unwrap();
        let kept = reports().pop().flatten().unwrap();
        assert_eq!(kept.len() as u64, Limits::default().report_bytes_max as u64);
        for error in [
            registry.mark_failed("minilm", 1, "no").unwrap_err(),
            registry.mark_ready("minilm", 2, "yes").unwrap_err(),
        ] {
            assert!(matches!(error, RegistryError::WrongState { .. }), "{error}");
        }
        let error = registry.mark_ready("minilm", 5, "").unwrap_err();
        assert!(error.to_string().contains("it has 4, 3, 2, 1"), "{error}");
    }

    #[test]
    fn the_newest_is_the_newest_ready_one_and_stable_comes_first() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        let default = |selector| registry.resolve("minilm", &selector).map(|v| v.version());
        fixture.publish(InitialState::Pending).unwrap();
        let error = default(Selector::Newest).unwrap_err();
        assert!(matches!(error, RegistryError::NoReadyVersion { .. }), "{error}");
        fixture.ready(2);
        let failed = fixture.publish(InitialState::Pending).unwrap();
        registry.mark_failed("minilm", failed, "no").unwrap();
        assert_eq!(default(Selector::Newest).unwrap(), 3);
        assert_eq!(default(Selector::Default).unwrap(), 3);
        assert_eq!(registry.models().unwrap()[0].newest_ready().unwrap().version, 3);
        registry.set_label("minilm", "stable", 2, at(1)).unwrap();
        assert_eq!(default(Selector::Default).unwrap(), 2);
        assert_eq!(default(Selector::Newest).unwrap(), 3);
        assert_eq!(default(Selector::Version(1)).unwrap(), 1);
        assert_eq!(default(Selector::Label("stable".into())).unwrap(), 2);
        let error = default(Selector::Label("beta".into())).unwrap_err();
        assert!(error.to_string().contains("it has stable"), "{error}");
        let error = registry.resolve("nothing", &Selector::Default).unwrap_err();
        assert!(matches!(error, RegistryError::ModelNotFound { .. }), "{error}");
    }

    #[test]
    fn a_removed_version_keeps_its_files_while_somebody_reads_it() {
        let fixture = Fixture::new();
        fixture.ready(1);
        let reader = newest(&fixture);
        let other = fixture.other();
        other.remove("minilm", 1).unwrap();
        assert!(fixture.registry.resolve("minilm", &Selector::Version(1)).is_err());
        assert_eq!(other.sweep().unwrap().versions_in_use, 1);
        reader.verify().unwrap();
        let mapped = reader.open("config.json").unwrap();
        let clone = reader.clone();
        drop(reader);
        assert_eq!(other.sweep().unwrap().versions_in_use, 1);
        let dir = clone.dir().to_owned();
        drop(clone);
        assert_eq!(other.sweep().unwrap().versions_removed, 1);
        assert!(!dir.exists());
        assert_eq!(&mapped[..], b"{}");
    }

    #[test]
    fn a_leftover_where_the_next_version_goes_is_in_nobodys_way() {
        let fixture = Fixture::new();
        fixture.ready(1);
        let leftover = version_dir(fixture.dir.path(), "minilm", 2).join(FILES);
        std::fs::create_dir_all(&leftover).unwrap();
        std::fs::write(leftover.join("half"), b"x").unwrap();
        assert_eq!(fixture.publish(InitialState::Ready).unwrap(), 2);
        assert!(!leftover.join("half").exists());
        newest(&fixture).verify().unwrap();
    }

    #[test]
    fn a_labelled_version_is_not_removed() {
        let fixture = Fixture::new();
        fixture.ready(1);
        fixture.registry.set_label("minilm", "stable", 1, at(1)).unwrap();
        let error = fixture.registry.remove("minilm", 1).unwrap_err();
        assert!(matches!(&error, RegistryError::Labelled { labels, .. } if labels == "stable"));
        fixture.registry.remove_label("minilm", "stable", at(2)).unwrap();
        fixture.registry.remove("minilm", 1).unwrap();
    }

    #[test]
    fn files_that_collide_are_refused() {
        let fixture = Fixture::new();
        let mut staged = fixture.registry.stage_model("minilm").unwrap();
        staged.add_bytes("a", b"1").unwrap();
        staged.add_bytes("b/c", b"2").unwrap();
        for name in ["a", "a/b", "a/b/c", "b", "b/c", "b/c/d"] {
            let error = staged.add_bytes(name, b"x").unwrap_err();
            assert!(matches!(error, RegistryError::FileCollision { .. }), "{name}: {error}");
        }
        assert_eq!(&staged.open("a").unwrap()[..], b"1");
        assert!(staged.add_bytes("../../escape", b"x").is_err());
    }

    #[test]
    fn limits_hold_and_a_refused_file_is_not_part_of_the_version() {
        let limits = Limits {
            files_per_version_max: 2,
            version_bytes_max: 10,
            versions_per_model_max: 2,
            models_max: 1,
            model_toml_bytes_max: 8,
            locks_per_version_max: 0,
            ..Limits::default()
        };
        let fixture = Fixture::with(limits);
        let limit = |result: Result<u64, RegistryError>| {
            let error = result.unwrap_err();
            assert!(matches!(error, RegistryError::LimitExceeded { .. }), "{error}");
        };
        let mut staged = fixture.registry.stage_model("minilm").unwrap();
        limit(staged.add_bytes("a", b"12345678901").map(|f| f.bytes));
        staged.add_bytes("a", b"123456").unwrap();
        limit(staged.add_bytes("b", b"12345").map(|f| f.bytes));
        staged.add_bytes("b", b"1234").unwrap();
        limit(staged.add_bytes("c", b"").map(|f| f.bytes));
        staged.commit(release(InitialState::Ready), at(1)).unwrap();
        assert_eq!(newest(&fixture).files().len(), 2);

        let commit =
            |release| fixture.registry.stage_model("minilm").unwrap().commit(release, at(1));
        limit(commit(ModelRelease { model_toml: "123456789", ..release(InitialState::Ready) }));
        let locks = BTreeMap::from([("a".to_owned(), [0; 32])]);
        limit(commit(ModelRelease { locks, ..release(InitialState::Ready) }));
        limit(publish(&fixture.registry, "second", InitialState::Ready));
        fixture.ready(1);
        limit(fixture.publish(InitialState::Ready));
        fixture.registry.remove("minilm", 1).unwrap();
        assert_eq!(fixture.publish(InitialState::Ready).unwrap(), 3);
    }

    #[test]
    fn a_lock_needs_its_plugin_and_keeps_it() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        let commit = |digest| {
            let locks = BTreeMap::from([("tokens".to_owned(), digest)]);
            let release = ModelRelease { locks, ..release(InitialState::Ready) };
            registry.stage_model("minilm").unwrap().commit(release, at(1))
        };
        let error = commit([1; 32]).unwrap_err();
        assert!(matches!(error, RegistryError::PluginNotFound { .. }), "{error}");
        let upper = registry.publish_plugin(plugin(b"wasm", "1.0.0", 1), at(1)).unwrap();
        commit(upper.digest).unwrap();
        let error = registry.remove_plugin(&upper.digest).unwrap_err();
        assert!(
            matches!(&error, RegistryError::PluginInUse { models, .. } if models == "minilm@1")
        );
        registry.remove("minilm", 1).unwrap();
        registry.remove_plugin(&upper.digest).unwrap();
    }

    #[test]
    fn a_changed_file_is_found() {
        let fixture = Fixture::new();
        fixture.ready(2);
        let version = newest(&fixture);
        let path = version.dir().join("files/config.json");
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, b"[]").unwrap();
        let error = version.verify().unwrap_err();
        assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
        std::fs::write(&path, b"[").unwrap();
        let error = version.open("config.json").unwrap_err();
        assert!(matches!(error, RegistryError::Corrupt { .. }), "{error}");
        std::fs::remove_dir_all(version.dir()).unwrap();
        let error = fixture.registry.resolve("minilm", &Selector::Newest).unwrap_err();
        assert!(matches!(error, RegistryError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn the_digest_covers_the_description_the_files_and_the_locks() {
        let fixture = Fixture::new();
        let upper = fixture.registry.publish_plugin(plugin(b"wasm", "1.0.0", 1), at(1)).unwrap();
        let digest = |toml: &str, name: &str, bytes: &[u8], locks: &[&str]| {
            let mut staged = fixture.registry.stage_model("minilm").unwrap();
            staged.add_bytes(name, bytes).unwrap();
            let release = ModelRelease {
                model_toml: toml,
                locks: locks.iter().map(|step| ((*step).to_owned(), upper.digest)).collect(),
                ..release(InitialState::Ready)
            };
            staged.commit(release, at(1)).unwrap();
            newest(&fixture).record().digest
        };
        let first = digest("t", "a", b"1", &[]);
        assert_eq!(digest("t", "a", b"1", &[]), first);
        for other in [
            digest("u", "a", b"1", &[]),
            digest("t", "b", b"1", &[]),
            digest("t", "a", b"2", &[]),
            digest("t", "a", b"1", &["pre"]),
        ] {
            assert_ne!(other, first);
        }
    }
}
