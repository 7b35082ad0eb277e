//! Rows of the catalog and the records that they become.

use std::collections::BTreeMap;

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::record::{FileRecord, ModelRecord, PluginRecord, VersionRecord, VersionState};

const PLUGIN_COLUMNS: &str =
    "name, version, digest, world, publisher, sequence, wasm_bytes, published_ms";
const VERSION_COLUMNS: &str =
    "version, state, reason, digest, bytes, published_ms, model, fixture_report";

/// SQLite's counter of commits by other connections.
pub(crate) fn data_version(connection: &Connection) -> rusqlite::Result<u64> {
    connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| unsigned(row, 0))
}

/// Every model with a version.
pub(crate) fn models(connection: &Connection) -> rusqlite::Result<Vec<ModelRecord>> {
    let mut models: BTreeMap<String, ModelRecord> = BTreeMap::new();
    let sql = format!(
        "SELECT {VERSION_COLUMNS} FROM model_version WHERE state <> 'removed' ORDER BY model, version"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let name: String = row.get(6)?;
        let model = models.entry(name).or_insert_with_key(|name| ModelRecord {
            name: name.clone(),
            versions: Vec::new(),
            labels: BTreeMap::new(),
        });
        model.versions.push(version_of(row)?);
    }
    add_locks(connection, &mut models)?;
    add_labels(connection, &mut models)?;
    Ok(models.into_values().collect())
}

/// Versions of one model that are not removed, rising.
pub(crate) fn versions(
    connection: &Connection,
    model: &str,
) -> rusqlite::Result<Vec<VersionRecord>> {
    let sql = format!(
        "SELECT {VERSION_COLUMNS} FROM model_version
         WHERE model = ?1 AND state <> 'removed' ORDER BY version"
    );
    let mut versions: Vec<VersionRecord> = connection
        .prepare_cached(&sql)?
        .query_map([model], version_of)?
        .collect::<Result<_, _>>()?;
    for record in &mut versions {
        record.locks = locks(connection, model, record.version)?;
    }
    Ok(versions)
}

/// One version of a model, unless it is removed.
pub(crate) fn version(
    connection: &Connection,
    model: &str,
    version: u64,
) -> rusqlite::Result<Option<VersionRecord>> {
    let Ok(number) = i64::try_from(version) else {
        return Ok(None);
    };
    let sql = format!(
        "SELECT {VERSION_COLUMNS} FROM model_version
         WHERE model = ?1 AND version = ?2 AND state <> 'removed'"
    );
    let found =
        connection.prepare_cached(&sql)?.query_row((model, number), version_of).optional()?;
    let Some(mut record) = found else {
        return Ok(None);
    };
    record.locks = locks(connection, model, version)?;
    Ok(Some(record))
}

/// Labels of one model and the versions that they point to.
pub(crate) fn labels(
    connection: &Connection,
    model: &str,
) -> rusqlite::Result<BTreeMap<String, u64>> {
    connection
        .prepare_cached("SELECT label, version FROM label WHERE model = ?1")?
        .query_map([model], |row| Ok((row.get(0)?, unsigned(row, 1)?)))?
        .collect()
}

/// Files of one version, by name.
pub(crate) fn files(
    connection: &Connection,
    model: &str,
    version: u64,
) -> rusqlite::Result<Vec<FileRecord>> {
    connection
        .prepare_cached(
            "SELECT name, bytes, sha256 FROM model_file
             WHERE model = ?1 AND version = ?2 ORDER BY name",
        )?
        .query_map((model, signed(version)?), |row| {
            Ok(FileRecord { name: row.get(0)?, bytes: unsigned(row, 1)?, sha256: row.get(2)? })
        })?
        .collect()
}

/// Every plugin, by name and digest.
pub(crate) fn plugins(connection: &Connection) -> rusqlite::Result<Vec<PluginRecord>> {
    let sql = format!("SELECT {PLUGIN_COLUMNS} FROM plugin ORDER BY name, digest");
    connection.prepare_cached(&sql)?.query_map([], plugin_of)?.collect()
}

/// Every version of one plugin.
pub(crate) fn plugins_named(
    connection: &Connection,
    name: &str,
) -> rusqlite::Result<Vec<PluginRecord>> {
    let sql = format!("SELECT {PLUGIN_COLUMNS} FROM plugin WHERE name = ?1");
    connection.prepare_cached(&sql)?.query_map([name], plugin_of)?.collect()
}

/// The plugin with a digest.
pub(crate) fn plugin(
    connection: &Connection,
    digest: &[u8; 32],
) -> rusqlite::Result<Option<PluginRecord>> {
    let sql = format!("SELECT {PLUGIN_COLUMNS} FROM plugin WHERE digest = ?1");
    connection.prepare_cached(&sql)?.query_row([digest], plugin_of).optional()
}

/// A count, or any single number that is not negative.
pub(crate) fn count(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
) -> rusqlite::Result<u64> {
    connection.prepare_cached(sql)?.query_row(parameters, |row| unsigned(row, 0))
}

/// A column that holds a number which is never negative.
pub(crate) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

/// A number as SQLite stores it; more than 2^63 - 1 does not fit.
pub(crate) fn signed(value: u64) -> rusqlite::Result<i64> {
    i64::try_from(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn add_locks(
    connection: &Connection,
    models: &mut BTreeMap<String, ModelRecord>,
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("SELECT model, version, step, plugin FROM model_lock")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let (name, version): (String, u64) = (row.get(0)?, unsigned(row, 1)?);
        let Some(model) = models.get_mut(&name) else {
            continue;
        };
        if let Ok(at) = model.versions.binary_search_by_key(&version, |v| v.version) {
            model.versions[at].locks.insert(row.get(2)?, row.get(3)?);
        }
    }
    Ok(())
}

fn add_labels(
    connection: &Connection,
    models: &mut BTreeMap<String, ModelRecord>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached("SELECT model, label, version FROM label")?;
    let mut found = statement.query([])?;
    while let Some(row) = found.next()? {
        let name: String = row.get(0)?;
        if let Some(model) = models.get_mut(&name) {
            model.labels.insert(row.get(1)?, unsigned(row, 2)?);
        }
    }
    Ok(())
}

fn locks(
    connection: &Connection,
    model: &str,
    version: u64,
) -> rusqlite::Result<BTreeMap<String, [u8; 32]>> {
    connection
        .prepare_cached("SELECT step, plugin FROM model_lock WHERE model = ?1 AND version = ?2")?
        .query_map((model, signed(version)?), |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn version_of(row: &Row<'_>) -> rusqlite::Result<VersionRecord> {
    let state: String = row.get(1)?;
    let state = match state.as_str() {
        "pending" => VersionState::Pending,
        "ready" => VersionState::Ready,
        "failed" => VersionState::Failed { reason: row.get(2)? },
        other => {
            let error = format!("expected pending, ready or failed, got {other}");
            return Err(rusqlite::Error::FromSqlConversionFailure(1, Type::Text, error.into()));
        }
    };
    Ok(VersionRecord {
        version: unsigned(row, 0)?,
        state,
        digest: row.get(3)?,
        bytes: unsigned(row, 4)?,
        published_ms: unsigned(row, 5)?,
        locks: BTreeMap::new(),
        fixture_report: row.get(7)?,
    })
}

fn plugin_of(row: &Row<'_>) -> rusqlite::Result<PluginRecord> {
    Ok(PluginRecord {
        name: row.get(0)?,
        version: row.get(1)?,
        digest: row.get(2)?,
        world: row.get(3)?,
        publisher: row.get(4)?,
        sequence: unsigned(row, 5)?,
        wasm_bytes: unsigned(row, 6)?,
        published_ms: unsigned(row, 7)?,
    })
}
