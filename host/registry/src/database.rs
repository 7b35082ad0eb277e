//! The SQLite catalog: how it is opened, created and migrated.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::error::RegistryError;

/// Marks the file as ours (`PRAGMA application_id`): "AiMr".
const APPLICATION_ID: i64 = 0x4169_4d72;

/// One step of the schema; steps are only ever appended.
struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "models, labels and plugins", sql: include_str!("schema_1.sql") },
    Migration {
        version: 2,
        name: "order of signed model releases",
        sql: include_str!("schema_2.sql"),
    },
];

/// Opens the connection that writes; creates or migrates the catalog first.
pub(crate) fn open_writer(dir: &Path, busy_wait: Duration) -> Result<Connection, RegistryError> {
    let path = dir.join("registry.sqlite");
    let lock_path = dir.join("open.lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&lock_path)
        .map_err(RegistryError::io("create", &lock_path))?;
    lock_within(&lock, &lock_path, busy_wait)?;
    let mut connection = connect(&path, busy_wait, OpenFlags::SQLITE_OPEN_CREATE)?;
    check_application(&connection, &path)?;
    migrate(&mut connection, &path)?;
    sync_directory(dir)?;
    Ok(connection)
}

/// Opens the connection that only reads, and so sees every commit as somebody else's.
pub(crate) fn open_reader(dir: &Path, busy_wait: Duration) -> Result<Connection, RegistryError> {
    let connection = connect(&dir.join("registry.sqlite"), busy_wait, OpenFlags::empty())?;
    connection.pragma_update(None, "query_only", true).map_err(database("open a reader"))?;
    Ok(connection)
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), RegistryError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(RegistryError::io("make durable", path))
}

/// Turns a SQLite error into ours; a lock that stayed held becomes [`RegistryError::Busy`], whose
/// wait the caller fills in.
pub(crate) fn database(action: &'static str) -> impl Fn(rusqlite::Error) -> RegistryError {
    move |source| match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            RegistryError::Busy { action, waited_ms: 0 }
        }
        _ => RegistryError::Database { action, source },
    }
}

fn connect(
    path: &Path,
    busy_wait: Duration,
    extra: OpenFlags,
) -> Result<Connection, RegistryError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | extra;
    let connection =
        Connection::open_with_flags(path, flags).map_err(database("open the database file"))?;
    connection.busy_timeout(busy_wait).map_err(database("set the busy timeout"))?;
    configure(&connection).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => RegistryError::NotARegistry {
            path: path.to_owned(),
            got: "a file that is not a SQLite database".to_owned(),
        },
        _ => database("configure the connection")(error),
    })?;
    Ok(connection)
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidParameterName(format!(
            "journal mode is {mode}, expected wal: the file system has no shared memory maps"
        )));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

fn check_application(connection: &Connection, path: &Path) -> Result<(), RegistryError> {
    let read = || -> rusqlite::Result<(i64, i64)> {
        let id = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
        let tables =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((id, tables))
    };
    let (id, tables) = read().map_err(database("identify the catalog"))?;
    if id == APPLICATION_ID || (id == 0 && tables == 0) {
        return Ok(());
    }
    Err(RegistryError::NotARegistry {
        path: path.to_owned(),
        got: format!("a database of another program (application id {id:#x}, {tables} tables)"),
    })
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), RegistryError> {
    let failed = database("migrate the schema");
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    transaction
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS migration(
                 version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;",
        )
        .map_err(&failed)?;
    let found: i64 = transaction
        .query_row("SELECT coalesce(max(version), 0) FROM migration", [], |row| row.get(0))
        .map_err(&failed)?;
    let supported = MIGRATIONS.last().map_or(0, |m| m.version);
    if found > supported {
        return Err(RegistryError::SchemaTooNew {
            path: path.to_owned(),
            found: found.unsigned_abs(),
            supported: supported.unsigned_abs(),
        });
    }
    for step in MIGRATIONS.iter().filter(|m| m.version > found) {
        transaction.execute_batch(step.sql).map_err(&failed)?;
        transaction
            .execute("INSERT INTO migration VALUES (?1, ?2)", (step.version, step.name))
            .map_err(&failed)?;
    }
    if found == 0 {
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(&failed)?;
    }
    transaction.commit().map_err(&failed)
}

fn lock_within(lock: &File, path: &Path, wait: Duration) -> Result<(), RegistryError> {
    let started = Instant::now();
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(std::fs::TryLockError::WouldBlock) if started.elapsed() < wait => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                let waited_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                return Err(RegistryError::Busy { action: "open the catalog", waited_ms });
            }
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(RegistryError::io("lock", path)(error));
            }
        }
    }
}
