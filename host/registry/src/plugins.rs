//! Admitting plugins, finding and removing them.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rusqlite::{OptionalExtension, Transaction};
use semver::Version;
use sha2::{Digest, Sha256};

use crate::database::{database, sync_directory};
use crate::error::RegistryError;
use crate::fail_point::FailPoint;
use crate::limits::check_limit;
use crate::names::check_plugin_name;
use crate::record::{PluginRecord, Sha256Digest, digest_hex};
use crate::registry::{Inner, Registry, unix_ms};
use crate::rows::{self, signed};
use crate::staging::{Staging, check_digest};

const WASM: &str = "plugin.wasm";
const STATEMENT: &str = "plugin.dsse.json";
const TEXT_BYTES_MAX: usize = 256;

/// A verified plugin, to be admitted by [`Registry::publish_plugin`].
#[derive(Clone, Copy, Debug)]
pub struct PluginRelease<'a> {
    /// The component.
    pub wasm: &'a [u8],
    /// Its signed statement (DSSE JSON).
    pub dsse: &'a [u8],
    /// `publisher/name`.
    pub name: &'a str,
    /// Semantic version.
    pub version: &'a str,
    /// SHA-256 of `wasm`, as verified.
    pub digest: Sha256Digest,
    /// World that it implements.
    pub world: &'a str,
    /// Publisher whose key signed it.
    pub publisher: &'a str,
    /// Sequence of the statement.
    pub sequence: u64,
}

/// A plugin's bytes, read once into private memory.
#[derive(Clone, Debug)]
pub struct PluginPackage {
    /// What the catalog says.
    pub record: PluginRecord,
    /// The component; its SHA-256 was compared with the record's.
    pub wasm: Vec<u8>,
    /// Its signed statement (DSSE JSON).
    pub dsse: Vec<u8>,
}

impl Registry {
    /// Admits a plugin version. Publishing the same digest again returns the record that is there,
    /// and replaces the statement unless its sequence is lower (renewed, or reviewed since).
    ///
    /// A new digest needs a sequence above every one that was ever admitted for its name, so that
    /// an old signed release does not come back.
    ///
    /// # Errors
    /// [`RegistryError::SequenceTooOld`] (`AMT-ROLLBACK`), [`RegistryError::PluginConflict`] for other
    /// bytes under a version that exists, [`RegistryError::DigestMismatch`],
    /// [`RegistryError::InvalidName`], [`RegistryError::LimitExceeded`], [`RegistryError::Busy`],
    /// [`RegistryError::Io`], [`RegistryError::Database`].
    pub fn publish_plugin(
        &self,
        release: PluginRelease<'_>,
        now: SystemTime,
    ) -> Result<PluginRecord, RegistryError> {
        let inner = &self.inner;
        check_release(inner, &release)?;
        let known = inner.read("find a plugin", |tx| rows::plugin(tx, &release.digest))?;
        if let Some(known) = known
            && (known.sequence > release.sequence
                || (known.sequence == release.sequence
                    && self.read_plugin(&release.digest).is_ok_and(|it| it.dsse == release.dsse)))
        {
            return self.plugin_again(&release);
        }
        let staging = Staging::create(inner)?;
        let limits = &inner.limits;
        staging.write(WASM, &mut { release.wasm }, limits.plugin_bytes_max)?;
        staging.write(STATEMENT, &mut { release.dsse }, limits.statement_bytes_max)?;
        staging.sync()?;
        let published = inner.write("publish a plugin", |tx| {
            let failed = database("publish a plugin");
            match rows::plugin(tx, &release.digest).map_err(&failed)? {
                Some(known) => renew(inner, tx, &known, &release)?,
                None => {
                    check_admission(inner, tx, &release)?;
                    staging.install(&plugin_dir(&inner.dir, &release.digest))?;
                    insert(tx, &release, unix_ms(now)).map_err(&failed)?;
                }
            }
            let record = rows::plugin(tx, &release.digest).map_err(&failed)?;
            record.ok_or_else(|| not_found(digest_hex(&release.digest)))
        });
        if published.is_err() {
            // Whether the commit reached the disk is for the rows to say, so the sweep decides.
            let _ = self.sweep();
        }
        published
    }

    /// A plugin by name, and by version or with the highest one (semantic version order).
    ///
    /// # Errors
    /// [`RegistryError::PluginNotFound`].
    pub fn plugin(&self, name: &str, version: Option<&str>) -> Result<PluginRecord, RegistryError> {
        let all = self.inner.read("find a plugin", |tx| rows::plugins_named(tx, name))?;
        let found = match version {
            Some(version) => all.into_iter().find(|p| p.version == version),
            None => all.into_iter().max_by_key(|p| Version::parse(&p.version).ok()),
        };
        let asked = || version.map_or_else(|| name.to_owned(), |v| format!("{name}@{v}"));
        found.ok_or_else(|| not_found(asked()))
    }

    /// The plugin with this digest.
    ///
    /// # Errors
    /// [`RegistryError::PluginNotFound`].
    pub fn plugin_by_digest(&self, digest: &Sha256Digest) -> Result<PluginRecord, RegistryError> {
        let found = self.inner.read("find a plugin", |tx| rows::plugin(tx, digest))?;
        found.ok_or_else(|| not_found(digest_hex(digest)))
    }

    /// A plugin's bytes, read once into private memory and compared with the digest.
    ///
    /// # Errors
    /// [`RegistryError::PluginNotFound`], [`RegistryError::DigestMismatch`] or
    /// [`RegistryError::Corrupt`] if the disk changed them, [`RegistryError::Io`].
    pub fn read_plugin(&self, digest: &Sha256Digest) -> Result<PluginPackage, RegistryError> {
        let record = self.plugin_by_digest(digest)?;
        let dir = plugin_dir(&self.inner.dir, digest);
        let limits = &self.inner.limits;
        let read = |file: &str, bytes_max: u64| read_at_most(&dir.join(file), bytes_max);
        let wasm = match read(WASM, limits.plugin_bytes_max.max(record.wasm_bytes)) {
            Ok(wasm) => wasm,
            // It may have been removed and swept since the record was read.
            Err(error) => return self.plugin_by_digest(digest).and(Err(error)),
        };
        let dsse = read(STATEMENT, limits.statement_bytes_max)?;
        let got = Sha256::digest(&wasm).into();
        check_digest(|| format!("component of plugin `{}`", record.name), digest, &got)?;
        Ok(PluginPackage { record, wasm, dsse })
    }

    /// The highest sequence ever admitted for a plugin name, removed versions included.
    ///
    /// # Errors
    /// [`RegistryError::Database`].
    pub fn highest_sequence(&self, name: &str) -> Result<Option<u64>, RegistryError> {
        self.inner
            .read("read a sequence", |tx| Ok(highest(tx, name)?.map(|(sequence, _)| sequence)))
    }

    /// Removes a plugin version that no model version is locked to. Its files go at the next
    /// [`Registry::sweep`]; its sequence stays.
    ///
    /// # Errors
    /// [`RegistryError::PluginInUse`], [`RegistryError::PluginNotFound`].
    pub fn remove_plugin(&self, digest: &Sha256Digest) -> Result<(), RegistryError> {
        self.inner.write("remove a plugin", |tx| {
            let failed = database("remove a plugin");
            let users: Vec<String> = tx
                .prepare_cached(
                    "SELECT DISTINCT model || '@' || version FROM model_lock
                     WHERE plugin = ?1 ORDER BY 1 LIMIT 10",
                )
                .and_then(|mut s| s.query_map([digest], |row| row.get(0))?.collect())
                .map_err(&failed)?;
            if !users.is_empty() {
                let (digest, models) = (digest_hex(digest), users.join(", "));
                return Err(RegistryError::PluginInUse { digest, models });
            }
            let gone = tx.execute("DELETE FROM plugin WHERE digest = ?1", [digest]);
            match gone.map_err(&failed)? {
                0 => Err(not_found(digest_hex(digest))),
                _ => Ok(()),
            }
        })
    }

    /// What publishing a known digest with an older statement, or the same, returns.
    fn plugin_again(&self, release: &PluginRelease<'_>) -> Result<PluginRecord, RegistryError> {
        let known = self.plugin_by_digest(&release.digest)?;
        check_same(&known, release)?;
        Ok(known)
    }
}

fn check_release(inner: &Inner, release: &PluginRelease<'_>) -> Result<(), RegistryError> {
    let limits = &inner.limits;
    check_plugin_name(release.name)?;
    let text = |what, got: &str, rule, good| {
        if good && got.len() <= TEXT_BYTES_MAX {
            return Ok(());
        }
        let got = got.chars().take(80).flat_map(char::escape_default).collect();
        Err(RegistryError::InvalidName { what, got, rule })
    };
    let semantic = Version::parse(release.version).is_ok();
    text("plugin version", release.version, "a semantic version such as 1.4.2", semantic)?;
    let graphic = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    let rule = "1 to 256 printable ASCII characters without space";
    text("world", release.world, rule, graphic(release.world))?;
    text("publisher", release.publisher, rule, graphic(release.publisher))?;
    let remedy = "shrink it, or raise the registry's byte limit";
    check_limit("bytes of a plugin", limits.plugin_bytes_max, release.wasm.len() as u64, remedy)?;
    let bytes = release.dsse.len() as u64;
    check_limit("bytes of a statement", limits.statement_bytes_max, bytes, remedy)?;
    let sequence_max = i64::MAX.unsigned_abs();
    check_limit("sequence of a plugin", sequence_max, release.sequence, "use a lower sequence")?;
    let got = Sha256::digest(release.wasm).into();
    check_digest(|| format!("component of plugin `{}`", release.name), &release.digest, &got)
}

/// A digest belongs to one name and version, both of which lie inside the signed bytes.
fn check_same(known: &PluginRecord, release: &PluginRelease<'_>) -> Result<(), RegistryError> {
    if known.name == release.name && known.version == release.version {
        return Ok(());
    }
    Err(RegistryError::PluginConflict {
        name: known.name.clone(),
        version: known.version.clone(),
        expected: digest_hex(&known.digest),
        got: format!("the same bytes as `{}` {}", release.name, release.version),
    })
}

fn check_admission(
    inner: &Inner,
    tx: &Transaction<'_>,
    release: &PluginRelease<'_>,
) -> Result<(), RegistryError> {
    let failed = database("admit a plugin");
    let named = rows::plugins_named(tx, release.name).map_err(&failed)?;
    if let Some(other) = named.iter().find(|p| p.version == release.version) {
        return Err(RegistryError::PluginConflict {
            name: other.name.clone(),
            version: other.version.clone(),
            expected: digest_hex(&other.digest),
            got: digest_hex(&release.digest),
        });
    }
    if let Some((highest, digest)) = highest(tx, release.name).map_err(&failed)? {
        let again = release.sequence == highest && digest == release.digest;
        if release.sequence <= highest && !again {
            let (name, got) = (release.name.to_owned(), release.sequence);
            return Err(RegistryError::SequenceTooOld { name, got, highest });
        }
    }
    let plugins = rows::count(tx, "SELECT count(*) FROM plugin", []).map_err(&failed)?;
    check_limit(
        "plugins of the registry",
        inner.limits.plugins_max,
        plugins + 1,
        "remove old plugin versions, or raise `plugins_max`",
    )
}

/// Replaces the statement of an admitted digest unless the release's is older.
fn renew(
    inner: &Inner,
    tx: &Transaction<'_>,
    known: &PluginRecord,
    release: &PluginRelease<'_>,
) -> Result<(), RegistryError> {
    check_same(known, release)?;
    if release.sequence < known.sequence {
        return Ok(());
    }
    let dir = plugin_dir(&inner.dir, &release.digest);
    replace_statement(&dir, release.dsse)?;
    inner.fail_point(FailPoint::StatementReplaced)?;
    let update = || -> rusqlite::Result<()> {
        let sequence = signed(release.sequence)?;
        tx.execute(
            "UPDATE plugin SET sequence = ?2 WHERE digest = ?1",
            (release.digest, sequence),
        )?;
        raise_sequence(tx, release)
    };
    update().map_err(database("renew a plugin's statement"))
}

/// The new statement is signed on its own, so it may become visible before its row.
fn replace_statement(dir: &Path, dsse: &[u8]) -> Result<(), RegistryError> {
    let next = dir.join("plugin.dsse.json.new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&next)?;
        file.write_all(dsse)?;
        file.set_permissions(Permissions::from_mode(0o444))?;
        file.sync_all()?;
        std::fs::rename(&next, dir.join(STATEMENT))
    };
    let _ = std::fs::remove_file(&next);
    write().map_err(RegistryError::io("write", &next))?;
    sync_directory(dir)
}

fn insert(tx: &Transaction<'_>, release: &PluginRelease<'_>, now_ms: i64) -> rusqlite::Result<()> {
    raise_sequence(tx, release)?;
    tx.execute(
        "INSERT INTO plugin(digest, name, version, world, publisher, sequence, wasm_bytes,
                            published_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            release.digest,
            release.name,
            release.version,
            release.world,
            release.publisher,
            signed(release.sequence)?,
            signed(release.wasm.len() as u64)?,
            now_ms,
        ),
    )?;
    Ok(())
}

fn raise_sequence(tx: &Transaction<'_>, release: &PluginRelease<'_>) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO plugin_name(name, sequence_max, sequence_digest) VALUES (?1, ?2, ?3)
         ON CONFLICT (name) DO UPDATE
         SET sequence_max = excluded.sequence_max, sequence_digest = excluded.sequence_digest
         WHERE excluded.sequence_max > sequence_max",
        (release.name, signed(release.sequence)?, release.digest),
    )?;
    Ok(())
}

fn highest(tx: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<(u64, Sha256Digest)>> {
    tx.prepare_cached("SELECT sequence_max, sequence_digest FROM plugin_name WHERE name = ?1")?
        .query_row([name], |row| Ok((rows::unsigned(row, 0)?, row.get(1)?)))
        .optional()
}

fn plugin_dir(registry: &Path, digest: &Sha256Digest) -> PathBuf {
    registry.join("plugins").join(digest_hex(digest))
}

fn not_found(plugin: String) -> RegistryError {
    RegistryError::PluginNotFound { plugin }
}

fn read_at_most(path: &Path, bytes_max: u64) -> Result<Vec<u8>, RegistryError> {
    let mut bytes = Vec::new();
    let read = File::open(path)
        .and_then(|file| file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 <= bytes_max => Ok(bytes),
        Ok(_) => Err(RegistryError::Corrupt {
            path: path.to_owned(),
            detail: format!("expected at most {bytes_max} bytes, got more"),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(RegistryError::Corrupt {
            path: path.to_owned(),
            detail: "expected a file of an admitted plugin, got none".to_owned(),
        }),
        Err(error) => Err(RegistryError::io("read", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, at, plugin};
    use crate::{FILE_NAME_BYTES_MAX, Limits};

    #[test]
    fn a_published_plugin_is_found_by_name_version_and_digest() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        for (wasm, version, sequence) in
            [(b"a", "1.9.0", 1), (b"b", "1.10.0", 2), (b"c", "1.10.0-rc.1", 3)]
        {
            registry.publish_plugin(plugin(wasm, version, sequence), at(3)).unwrap();
        }
        let newest = fixture.other().plugin("acme/upper", None).unwrap();
        assert_eq!((newest.version.as_str(), newest.published_ms), ("1.10.0", 3_000));
        let old = registry.plugin("acme/upper", Some("1.9.0")).unwrap();
        assert_eq!(old.digest, plugin(b"a", "", 0).digest);
        assert_eq!(registry.plugin_by_digest(&old.digest).unwrap(), old);
        assert_eq!(registry.list_plugins().unwrap().len(), 3);
        let package = registry.read_plugin(&old.digest).unwrap();
        assert_eq!((package.wasm.as_slice(), package.dsse.as_slice()), (&b"a"[..], &b"{}"[..]));
        for missing in [
            registry.plugin("acme/upper", Some("2.0.0")).unwrap_err(),
            registry.plugin("acme/lower", None).unwrap_err(),
            registry.plugin_by_digest(&[0; 32]).unwrap_err(),
        ] {
            assert!(matches!(missing, RegistryError::PluginNotFound { .. }), "{missing}");
        }
    }

    #[test]
    fn publishing_the_same_bytes_again_changes_nothing() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        let first = registry.publish_plugin(plugin(b"a", "1.0.0", 5), at(1)).unwrap();
        let counter = registry.change_counter().unwrap();
        for sequence in [5, 4] {
            let again = registry.publish_plugin(plugin(b"a", "1.0.0", sequence), at(2)).unwrap();
            assert_eq!(again, first);
        }
        assert_eq!(registry.change_counter().unwrap(), counter);
        let error = registry.publish_plugin(plugin(b"a", "1.0.1", 5), at(2)).unwrap_err();
        assert!(matches!(error, RegistryError::PluginConflict { .. }), "{error}");
    }

    #[test]
    fn a_newer_statement_for_the_same_bytes_replaces_the_old_one() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        let first = registry.publish_plugin(plugin(b"a", "1.0.0", 5), at(1)).unwrap();
        let renewed = PluginRelease { dsse: b"renewed", ..plugin(b"a", "1.0.0", 6) };
        let record = registry.publish_plugin(renewed, at(2)).unwrap();
        assert_eq!(record, PluginRecord { sequence: 6, ..first });
        assert_eq!(registry.read_plugin(&record.digest).unwrap().dsse, b"renewed");
        assert_eq!(registry.highest_sequence("acme/upper").unwrap(), Some(6));
        let reviewed = PluginRelease { dsse: b"reviewed", ..plugin(b"a", "1.0.0", 6) };
        assert_eq!(registry.publish_plugin(reviewed, at(3)).unwrap(), record);
        assert_eq!(registry.read_plugin(&record.digest).unwrap().dsse, b"reviewed");
    }

    #[test]
    fn an_older_signed_release_is_refused_even_after_a_removal() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        assert_eq!(registry.highest_sequence("acme/upper").unwrap(), None);
        let newest = registry.publish_plugin(plugin(b"new", "2.0.0", 7), at(1)).unwrap();
        let refused = |sequence| {
            let error =
                registry.publish_plugin(plugin(b"old", "1.0.0", sequence), at(1)).unwrap_err();
            assert!(error.to_string().starts_with("AMT-ROLLBACK"), "{error}");
        };
        refused(6);
        refused(7);
        registry.remove_plugin(&newest.digest).unwrap();
        assert_eq!(registry.sweep().unwrap().plugins_removed, 1);
        assert!(registry.read_plugin(&newest.digest).is_err());
        refused(7);
        registry.publish_plugin(plugin(b"new", "2.0.0", 7), at(1)).unwrap();
        assert_eq!(registry.read_plugin(&newest.digest).unwrap().wasm, b"new");
        registry.publish_plugin(plugin(b"old", "1.0.0", 8), at(1)).unwrap();
    }

    #[test]
    fn a_plugin_comes_back_before_its_removal_is_swept() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        let record = registry.publish_plugin(plugin(b"a", "1.0.0", 1), at(1)).unwrap();
        registry.remove_plugin(&record.digest).unwrap();
        let again = PluginRelease { dsse: b"again", ..plugin(b"a", "1.0.0", 1) };
        registry.publish_plugin(again, at(1)).unwrap();
        registry.sweep().unwrap();
        assert_eq!(registry.read_plugin(&record.digest).unwrap().dsse, b"again");
    }

    #[test]
    fn a_version_never_changes_its_bytes() {
        let fixture = Fixture::new();
        fixture.registry.publish_plugin(plugin(b"a", "1.0.0", 1), at(1)).unwrap();
        let error = fixture.registry.publish_plugin(plugin(b"b", "1.0.0", 2), at(1)).unwrap_err();
        assert!(matches!(error, RegistryError::PluginConflict { .. }), "{error}");
        assert_eq!(std::fs::read_dir(fixture.dir.path().join("plugins")).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(fixture.dir.path().join("staging")).unwrap().count(), 0);
    }

    #[test]
    fn a_bad_release_is_refused_before_anything_is_written() {
        let limits = Limits {
            plugin_bytes_max: 8,
            statement_bytes_max: 8,
            plugins_max: 1,
            ..Limits::default()
        };
        let fixture = Fixture::with(limits);
        let good = plugin(b"wasm", "1.0.0", 1);
        let long = "w".repeat(FILE_NAME_BYTES_MAX);
        let cases = [
            PluginRelease { name: "upper", ..good },
            PluginRelease { version: "1.0", ..good },
            PluginRelease { world: "", ..good },
            PluginRelease { world: &long, ..good },
            PluginRelease { publisher: "a b", ..good },
            PluginRelease { digest: [0; 32], ..good },
            PluginRelease { dsse: b"123456789", ..good },
            PluginRelease { sequence: u64::MAX, ..good },
            plugin(b"123456789", "1.0.0", 1),
        ];
        for case in cases {
            assert!(fixture.registry.publish_plugin(case, at(1)).is_err(), "{case:?}");
        }
        assert_eq!(std::fs::read_dir(fixture.dir.path().join("plugins")).unwrap().count(), 0);
        fixture.registry.publish_plugin(good, at(1)).unwrap();
        let error = fixture.registry.publish_plugin(plugin(b"2", "2.0.0", 2), at(1)).unwrap_err();
        assert!(matches!(error, RegistryError::LimitExceeded { .. }), "{error}");
    }

    #[test]
    fn bytes_that_the_disk_changed_are_refused() {
        let fixture = Fixture::new();
        let record = fixture.registry.publish_plugin(plugin(b"a", "1.0.0", 1), at(1)).unwrap();
        let path = plugin_dir(fixture.dir.path(), &record.digest).join(WASM);
        std::fs::remove_file(&path).unwrap();
        let error = fixture.registry.read_plugin(&record.digest).unwrap_err();
        assert!(matches!(error, RegistryError::Corrupt { .. }), "{error}");
        std::fs::write(&path, b"b").unwrap();
        let error = fixture.registry.read_plugin(&record.digest).unwrap_err();
        assert!(matches!(error, RegistryError::DigestMismatch { .. }), "{error}");
    }
}
