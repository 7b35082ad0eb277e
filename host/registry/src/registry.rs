//! The registry itself: opening it, its two connections, and reading the whole catalog.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::database::{self, database};
use crate::error::RegistryError;
use crate::fail_point::{FailPoint, FailPoints, NoFailPoints};
use crate::limits::Limits;
use crate::record::{ModelRecord, PluginRecord, Snapshot, VersionRecord};
use crate::rows;

/// Models and plugins by name and version.
///
/// Clones share the two connections. Every call blocks on the disk or on another process's write,
/// so an async caller moves it to a blocking thread; [`Registry::change_counter`] takes
/// microseconds.
#[derive(Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) limits: Limits,
    fail_points: Arc<dyn FailPoints>,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl Registry {
    /// Opens the registry in `dir`, creates it if it is missing, and sweeps up what killed
    /// publishes left behind.
    ///
    /// # Errors
    /// [`RegistryError::SchemaTooNew`] and [`RegistryError::NotARegistry`] for a catalog that is
    /// not ours to change, [`RegistryError::Busy`], [`RegistryError::Io`],
    /// [`RegistryError::Database`].
    pub fn open(dir: &Path, limits: Limits) -> Result<Self, RegistryError> {
        Self::open_with(dir, limits, Arc::new(NoFailPoints))
    }

    /// As [`Registry::open`], with points at which a test makes writes fail.
    ///
    /// # Errors
    /// As [`Registry::open`], and what the fail points inject.
    pub fn open_with(
        dir: &Path,
        limits: Limits,
        fail_points: Arc<dyn FailPoints>,
    ) -> Result<Self, RegistryError> {
        for part in ["", "plugins", "models", "staging", "trash"] {
            let path = dir.join(part);
            std::fs::create_dir_all(&path).map_err(RegistryError::io("create", &path))?;
        }
        let waited = |error: RegistryError| error.after_waiting(limits.busy_wait);
        let writer = database::open_writer(dir, limits.busy_wait).map_err(waited)?;
        let reader = database::open_reader(dir, limits.busy_wait).map_err(waited)?;
        let registry = Self {
            inner: Arc::new(Inner {
                dir: dir.to_owned(),
                limits,
                fail_points,
                writer: Mutex::new(writer),
                reader: Mutex::new(reader),
            }),
        };
        match registry.sweep() {
            Ok(_) | Err(RegistryError::Busy { .. }) => Ok(registry),
            Err(error) => Err(error),
        }
    }

    /// The folder that was opened.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// A number that differs after every commit of any process; cheap enough to poll every 20 ms.
    ///
    /// It is SQLite's `data_version` on a connection that never writes, so this process's own
    /// commits count too. Only *different* has a meaning, and only within this [`Registry`].
    ///
    /// # Errors
    /// [`RegistryError::Database`].
    pub fn change_counter(&self) -> Result<u64, RegistryError> {
        let reader = self.inner.reader();
        rows::data_version(&reader).map_err(database("read the change counter"))
    }

    /// The whole catalog at one moment.
    ///
    /// # Errors
    /// [`RegistryError::Database`].
    pub fn snapshot(&self) -> Result<Snapshot, RegistryError> {
        self.inner.read("read the catalog", |tx| {
            let models = rows::models(tx)?;
            let plugins = rows::plugins(tx)?;
            Ok(Snapshot { change_counter: rows::data_version(tx)?, models, plugins })
        })
    }

    /// Models with at least one version, by name.
    ///
    /// # Errors
    /// [`RegistryError::Database`].
    pub fn models(&self) -> Result<Vec<ModelRecord>, RegistryError> {
        self.inner.read("list models", |tx| rows::models(tx))
    }

    /// Versions of one model, rising.
    ///
    /// # Errors
    /// [`RegistryError::ModelNotFound`], [`RegistryError::Database`].
    pub fn versions(&self, name: &str) -> Result<Vec<VersionRecord>, RegistryError> {
        let versions = self.inner.read("list versions", |tx| rows::versions(tx, name))?;
        if versions.is_empty() {
            return Err(RegistryError::ModelNotFound { name: name.to_owned() });
        }
        Ok(versions)
    }

    /// Every plugin, by name and digest.
    ///
    /// # Errors
    /// [`RegistryError::Database`].
    pub fn list_plugins(&self) -> Result<Vec<PluginRecord>, RegistryError> {
        self.inner.read("list plugins", |tx| rows::plugins(tx))
    }
}

impl Inner {
    /// Runs `body` in one write transaction; what it returns is durable when this returns.
    ///
    /// An error rolls the rows back. Directories that `body` renamed are then without a row, which
    /// is what the sweep looks for.
    pub(crate) fn write<T>(
        &self,
        action: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let failed = |error| self.database_error(action, error);
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction =
            writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
        self.fail_point(FailPoint::TransactionBegun)?;
        let value = body(&transaction)?;
        self.fail_point(FailPoint::RowsWritten)?;
        transaction.commit().map_err(failed)?;
        self.fail_point(FailPoint::Committed)?;
        Ok(value)
    }

    /// Runs `body` on one consistent view of the catalog.
    pub(crate) fn read<T>(
        &self,
        action: &'static str,
        body: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, RegistryError> {
        let mut reader = self.reader();
        reader
            .transaction()
            .and_then(|transaction| body(&transaction))
            .map_err(|error| self.database_error(action, error))
    }

    /// Passes a named point, where a test may inject a failure.
    pub(crate) fn fail_point(&self, point: FailPoint) -> Result<(), RegistryError> {
        self.fail_points.hit(point).map_err(RegistryError::io("write to", &self.dir))
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database_error(&self, action: &'static str, error: rusqlite::Error) -> RegistryError {
        database(action)(error).after_waiting(self.limits.busy_wait)
    }
}

/// Unix milliseconds of `now`; a clock before 1970 counts as 1970.
pub(crate) fn unix_ms(now: SystemTime) -> i64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InitialState;
    use crate::fixture::{Fixture, at, plugin, publish};

    #[test]
    fn the_change_counter_moves_with_every_commit_of_anybody_and_only_then() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        let other = fixture.other();
        let mut last = registry.change_counter().unwrap();
        let mut changed = |what: &str, expected: bool| {
            let next = registry.change_counter().unwrap();
            assert_eq!(next != last, expected, "{what}");
            last = next;
        };
        changed("nothing", false);
        fixture.publish(InitialState::Pending).unwrap();
        changed("an own publish", true);
        publish(&other, "second", InitialState::Ready).unwrap();
        changed("another's publish", true);
        other.mark_ready("minilm", 1, "").unwrap();
        changed("another's state", true);
        registry.set_label("minilm", "stable", 1, at(1)).unwrap();
        changed("an own label", true);
        other.rollback("minilm", "stable", at(1)).unwrap_err();
        other.sweep().unwrap();
        drop(registry.stage_model("third").unwrap());
        fixture.other().snapshot().unwrap();
        changed("reads, an empty sweep and a dropped publish", false);
    }

    #[test]
    fn a_snapshot_holds_everything_of_one_moment() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        fixture.ready(2);
        publish(registry, "another", InitialState::Pending).unwrap();
        registry.set_label("minilm", "stable", 1, at(1)).unwrap();
        registry.remove("minilm", 2).unwrap();
        registry.publish_plugin(plugin(b"a", "1.0.0", 1), at(1)).unwrap();
        let snapshot = registry.snapshot().unwrap();
        assert_eq!(snapshot.change_counter, registry.change_counter().unwrap());
        let shape: Vec<_> = snapshot
            .models
            .iter()
            .map(|m| (m.name.as_str(), m.versions.len(), m.labels.len()))
            .collect();
        assert_eq!(shape, [("another", 1, 0), ("minilm", 1, 1)]);
        assert_eq!(snapshot.plugins.len(), 1);
        assert_eq!(fixture.other().snapshot().unwrap().models, snapshot.models);
    }

    #[test]
    fn a_catalog_of_a_newer_program_is_refused() {
        let fixture = Fixture::new();
        let sql = Connection::open(fixture.dir.path().join("registry.sqlite")).unwrap();
        sql.execute("INSERT INTO migration VALUES (99, 'from the future')", []).unwrap();
        let error = Registry::open(fixture.dir.path(), Limits::default()).err().unwrap();
        let expected = matches!(error, RegistryError::SchemaTooNew { found: 99, supported: 2, .. });
        assert!(expected, "{error}");
    }

    #[test]
    fn a_catalog_of_the_first_schema_keeps_what_it_has() {
        let fixture = Fixture::new();
        fixture.ready(2);
        let sql = Connection::open(fixture.dir.path().join("registry.sqlite")).unwrap();
        let back = "DROP TABLE model_release; DELETE FROM migration WHERE version = 2";
        sql.execute_batch(back).unwrap();
        let registry = Registry::open(fixture.dir.path(), Limits::default()).unwrap();
        assert_eq!(registry.models().unwrap()[0].versions.len(), 2);
        let version = crate::fixture::publish(&registry, "minilm", InitialState::Ready);
        assert_eq!(version.unwrap(), 3);
    }

    #[test]
    fn a_file_that_is_no_catalog_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.sqlite");
        std::fs::write(&path, vec![b'x'; 4_096]).unwrap();
        let open = || Registry::open(dir.path(), Limits::default()).err().unwrap();
        let error = open();
        assert!(matches!(error, RegistryError::NotARegistry { .. }), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), vec![b'x'; 4_096]);
        std::fs::remove_file(&path).unwrap();
        let sql = Connection::open(&path).unwrap();
        sql.execute_batch("CREATE TABLE recipes(name TEXT)").unwrap();
        let error = open();
        assert!(error.to_string().contains("another program"), "{error}");
    }

    #[test]
    fn a_write_lock_that_stays_held_is_busy_and_not_a_hang() {
        let limits =
            Limits { busy_wait: std::time::Duration::from_millis(20), ..Limits::default() };
        let fixture = Fixture::with(limits.clone());
        let sql = Connection::open(fixture.dir.path().join("registry.sqlite")).unwrap();
        sql.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = fixture.publish(InitialState::Ready).unwrap_err();
        assert!(matches!(error, RegistryError::Busy { waited_ms: 20, .. }), "{error}");
        fixture.registry.snapshot().unwrap();
        sql.execute_batch("ROLLBACK").unwrap();
        fixture.publish(InitialState::Ready).unwrap();
    }

    #[test]
    fn commits_are_synchronous_and_in_wal_mode() {
        let fixture = Fixture::new();
        let writer = fixture.registry.inner.writer.lock().unwrap();
        let pragma = |name: &str| -> String {
            writer
                .pragma_query_value(None, name, |row| row.get::<_, rusqlite::types::Value>(0))
                .map(|value| format!("{value:?}"))
                .unwrap()
        };
        assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
        assert_eq!(pragma("synchronous"), "Integer(2)");
        assert_eq!(pragma("foreign_keys"), "Integer(1)");
    }
}
