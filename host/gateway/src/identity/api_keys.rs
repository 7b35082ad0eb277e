//! API keys: `am_<8 characters of id>_<43 characters of base64url>`, 256 random bits each.
//!
//! The file holds only SHA-256 digests (RFC 6234; the keys are random, so that a slow password
//! hash would add nothing). It is read again when it changes, looked at once a second at most, so
//! that adding, expiring or removing a key needs no restart. A file that cannot be read or parsed
//! leaves the keys as they were, and says so in the log.

use crate::flow::Tenant;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;

/// Largest key file.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most keys of one file.
const KEYS_MAX: usize = 10_000;
/// `am_` + 8 + `_` + 43.
const KEY_LEN: usize = 55;

/// One API key as the file holds it; the key itself is nowhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyRecord {
    /// The 8 characters after `am_`: lower-case hexadecimal, unique in the file.
    pub id: String,
    /// SHA-256 of the whole key, in 64 hexadecimal digits.
    pub sha256: String,
    /// Who is charged: 1 to 64 of `[a-z0-9._-]`.
    pub tenant: String,
    /// What the key is for, for people.
    #[serde(default)]
    pub name: String,
    /// When it ends (RFC 3339 with offset); absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<toml::value::Datetime>,
    /// Models that it may call; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
}

/// Why keys could not be read, made or stored.
#[derive(Debug, thiserror::Error)]
pub enum ApiKeyError {
    /// The file cannot be read or written.
    #[error("API keys {path}: {source}; make the first key with `aimass key new api`")]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file is no list of `[[key]]` tables.
    #[error("API keys {path}: {message}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        message: String,
    },
    /// A record breaks a rule.
    #[error("API key {id:?}: expected {expected}, got {got:?}")]
    Record {
        /// Identity of the key.
        id: String,
        /// The rule.
        expected: &'static str,
        /// What came.
        got: String,
    },
    /// The operating system gives no random numbers.
    #[error("no random numbers from the operating system: {0}")]
    Random(String),
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    #[serde(default)]
    key: Vec<ApiKeyRecord>,
}

/// A key that was presented and is known.
#[derive(Clone, Debug)]
pub(crate) struct KnownKey {
    pub(crate) tenant: Arc<Tenant>,
    pub(crate) models: Option<Arc<[String]>>,
}

/// Why a key does not open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFault {
    /// No such key.
    Unknown,
    /// It was good once.
    Expired,
}

struct Entry {
    digest: [u8; 32],
    expires: Option<u64>,
    known: KnownKey,
}

#[derive(Default)]
struct Table {
    by_id: HashMap<[u8; 8], Entry>,
    tenants: HashMap<Arc<str>, Arc<Tenant>>,
}

/// Changes when the file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    len: u64,
    modified_ns: i64,
    modified: i64,
}

struct Loaded {
    table: Arc<Table>,
    stamp: Stamp,
}

/// The API keys of a file, kept up to date.
pub struct ApiKeys {
    path: PathBuf,
    loaded: RwLock<Loaded>,
    start: Instant,
    /// Milliseconds after `start` of the next look at the file.
    look_at_ms: AtomicU64,
}

impl ApiKeys {
    /// Reads the keys of `path`.
    ///
    /// # Errors
    /// [`ApiKeyError`] if the file cannot be read, is not TOML, or a record breaks a rule.
    pub fn load(path: impl Into<PathBuf>) -> Result<ApiKeys, ApiKeyError> {
        let path = path.into();
        let (file, stamp) = read(&path)?;
        let table = Arc::new(table(&path, &file, &Table::default())?);
        let loaded = RwLock::new(Loaded { table, stamp });
        Ok(ApiKeys { path, loaded, start: Instant::now(), look_at_ms: AtomicU64::new(1000) })
    }

    /// Number of keys, expired ones included.
    pub fn len(&self) -> usize {
        self.table().by_id.len()
    }

    /// Whether there is no key, so that nobody gets in.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key that `text` is, looked up by its id and compared in constant time.
    pub(crate) fn check(
        &self,
        text: &str,
        now: Instant,
        wall: SystemTime,
    ) -> Result<KnownKey, KeyFault> {
        self.refresh(now);
        let id = id_of(text).ok_or(KeyFault::Unknown)?;
        let table = self.table();
        let entry = table.by_id.get(id).ok_or(KeyFault::Unknown)?;
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        if !bool::from(digest.ct_eq(&entry.digest)) {
            return Err(KeyFault::Unknown);
        }
        let seconds = wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match entry.expires {
            Some(expires) if expires <= seconds => Err(KeyFault::Expired),
            Some(_) | None => Ok(entry.known.clone()),
        }
    }

    fn table(&self) -> Arc<Table> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).table.clone()
    }

    /// Reads the file again if a second has passed and it changed.
    fn refresh(&self, now: Instant) {
        let now_ms = now.saturating_duration_since(self.start).as_millis() as u64;
        let due = self.look_at_ms.load(Ordering::Relaxed);
        let next = now_ms + 1000;
        let exchange =
            |()| self.look_at_ms.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed);
        if now_ms < due || exchange(()).is_err() {
            return;
        }
        if let Err(error) = self.reload() {
            tracing::error!(%error, "the API keys stay as they were");
        }
    }

    fn reload(&self) -> Result<(), ApiKeyError> {
        let metadata = fs::metadata(&self.path).map_err(|source| file_error(&self.path, source))?;
        let old = {
            let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
            if loaded.stamp == stamp(&metadata) {
                return Ok(());
            }
            loaded.table.clone()
        };
        let (file, stamp) = read(&self.path)?;
        let table = Arc::new(table(&self.path, &file, &old)?);
        tracing::info!(keys = table.by_id.len(), "API keys read again");
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Loaded { table, stamp };
        Ok(())
    }
}

/// A new random key for `tenant`: the text to hand out once, and the record to store.
///
/// # Errors
/// [`ApiKeyError::Random`] without random numbers, [`ApiKeyError::Record`] for a bad tenant name.
pub fn generate_api_key(tenant: &str, name: &str) -> Result<(String, ApiKeyRecord), ApiKeyError> {
    let mut random = [0u8; 36];
    getrandom::fill(&mut random).map_err(|error| ApiKeyError::Random(error.to_string()))?;
    let id = hex(&random[..4]);
    let text = format!("am_{id}_{}", URL_SAFE_NO_PAD.encode(&random[4..]));
    let record = ApiKeyRecord {
        id,
        sha256: hex(&Sha256::digest(text.as_bytes())),
        tenant: tenant.to_owned(),
        name: name.to_owned(),
        expires: None,
        models: None,
    };
    check_record(&record)?;
    Ok((text, record))
}

/// Adds `record` to the file, which is made (readable by its owner only) if there is none.
/// Running servers see the key within about a second.
///
/// # Errors
/// [`ApiKeyError`] if the file cannot be read or written, is broken, or holds the id already.
pub fn append_api_key(path: &Path, record: &ApiKeyRecord) -> Result<(), ApiKeyError> {
    check_record(record)?;
    let failed = |source| file_error(path, source);
    let lock = private(&with_suffix(path, ".lock"), false).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let mut text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(failed(error)),
    };
    let mut file = parse(path, &text)?;
    file.key.push(record.clone());
    table(path, &file, &Table::default())?;
    if !text.is_empty() {
        text.push('\n');
    }
    let one = KeyFile { key: vec![record.clone()] };
    text += &toml::to_string(&one).map_err(|error| format_error(path, error.to_string()))?;
    replace(path, text.as_bytes()).map_err(failed)
}

/// Writes a new file and renames it over `path`, so that readers see the old or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = with_suffix(path, ".new");
    let mut file = private(&temporary, true)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn private(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn stamp(metadata: &fs::Metadata) -> Stamp {
    Stamp {
        inode: metadata.ino(),
        len: metadata.len(),
        modified_ns: metadata.mtime_nsec(),
        modified: metadata.mtime(),
    }
}

fn read(path: &Path) -> Result<(KeyFile, Stamp), ApiKeyError> {
    let failed = |source| file_error(path, source);
    let file = File::open(path).map_err(failed)?;
    let stamp = stamp(&file.metadata().map_err(failed)?);
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format_error(path, format!("expected at most {FILE_BYTES_MAX} bytes")));
    }
    Ok((parse(path, &text)?, stamp))
}

fn parse(path: &Path, text: &str) -> Result<KeyFile, ApiKeyError> {
    toml::from_str(text).map_err(|error| format_error(path, error.to_string()))
}

fn table(path: &Path, file: &KeyFile, old: &Table) -> Result<Table, ApiKeyError> {
    if file.key.len() > KEYS_MAX {
        let message = format!("expected at most {KEYS_MAX} keys, got {}", file.key.len());
        return Err(format_error(path, message));
    }
    let mut table = Table::default();
    for record in &file.key {
        let (id, digest, expires) = check_record(record)?;
        let known = KnownKey {
            tenant: tenant(&record.tenant, &mut table, old),
            models: record.models.as_ref().map(|models| models.as_slice().into()),
        };
        if table.by_id.insert(id, Entry { digest, expires, known }).is_some() {
            return Err(broken(record, "an id used once in the file", &record.id));
        }
    }
    Ok(table)
}

/// The tenant of this name; the same one as before a reload, so that its requests stay counted.
fn tenant(name: &str, table: &mut Table, old: &Table) -> Arc<Tenant> {
    if let Some(tenant) = table.tenants.get(name) {
        return tenant.clone();
    }
    let tenant = old.tenants.get(name).cloned().unwrap_or_else(|| Arc::new(Tenant::new(name)));
    table.tenants.insert(tenant.name.clone(), tenant.clone());
    tenant
}

type CheckedRecord = ([u8; 8], [u8; 32], Option<u64>);

fn check_record(record: &ApiKeyRecord) -> Result<CheckedRecord, ApiKeyError> {
    let id_fault = || broken(record, "an id of 8 lower-case hexadecimal digits", &record.id);
    let id: [u8; 8] = record.id.as_bytes().try_into().map_err(|_| id_fault())?;
    if !id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(id_fault());
    }
    let digest = unhex(&record.sha256)
        .ok_or_else(|| broken(record, "sha256 of 64 hexadecimal digits", &record.sha256))?;
    let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if !(1..=64).contains(&record.tenant.len()) || !record.tenant.bytes().all(letters) {
        return Err(broken(record, "a tenant of 1 to 64 of [a-z0-9._-]", &record.tenant));
    }
    let expires = match &record.expires {
        None => None,
        Some(time) => Some(unix_seconds(time).ok_or_else(|| {
            broken(record, "expires like 2027-01-31T12:00:00Z", &time.to_string())
        })?),
    };
    Ok((id, digest, expires))
}

/// Seconds since 1970 of a date with time and offset, 1970 to 9999.
fn unix_seconds(time: &toml::value::Datetime) -> Option<u64> {
    let (date, clock) = (time.date?, time.time?);
    let offset = match time.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes) * 60,
    };
    // Days from civil: https://howardhinnant.github.io/date_algorithms.html
    let (month, day) = (i64::from(date.month), i64::from(date.day));
    let year = i64::from(date.year) - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    let second = i64::from(clock.second.unwrap_or(0));
    let of_day = i64::from(clock.hour) * 3600 + i64::from(clock.minute) * 60 + second;
    u64::try_from(days * 86_400 + of_day - offset).ok()
}

fn id_of(text: &str) -> Option<&[u8; 8]> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == KEY_LEN && bytes.starts_with(b"am_") && bytes[11] == b'_';
    if shaped { bytes[3..11].try_into().ok() } else { None }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

fn broken(record: &ApiKeyRecord, expected: &'static str, got: &str) -> ApiKeyError {
    let short = |text: &str| text.chars().take(80).collect::<String>();
    ApiKeyError::Record { id: short(&record.id), expected, got: short(got) }
}

fn file_error(path: &Path, source: io::Error) -> ApiKeyError {
    ApiKeyError::File { path: path.to_owned(), source }
}

fn format_error(path: &Path, message: String) -> ApiKeyError {
    ApiKeyError::Format { path: path.to_owned(), message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn file_with(records: &[&ApiKeyRecord]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api_keys.toml");
        for record in records {
            append_api_key(&path, record).unwrap();
        }
        (dir, path)
    }

    fn at(year: u16) -> Option<toml::value::Datetime> {
        Some(format!("{year}-01-01T00:00:00Z").parse().unwrap())
    }

    #[test]
    fn a_key_opens_and_its_neighbors_do_not() {
        let (text, record) = generate_api_key("acme", "test").unwrap();
        assert_eq!(text.len(), KEY_LEN);
        let (_dir, path) = file_with(&[&record]);
        let keys = ApiKeys::load(&path).unwrap();
        let check = |text: &str| keys.check(text, Instant::now(), SystemTime::now());
        assert_eq!(&*check(&text).unwrap().tenant.name, "acme");
        for at in 0..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] ^= 1;
            let wrong = String::from_utf8(wrong).unwrap();
            assert_eq!(check(&wrong).unwrap_err(), KeyFault::Unknown, "byte {at}");
        }
        assert_eq!(check("").unwrap_err(), KeyFault::Unknown);
        assert_eq!(check(&text[..54]).unwrap_err(), KeyFault::Unknown);
        assert_eq!(check(&format!("{text}x")).unwrap_err(), KeyFault::Unknown);
        assert!(!fs::read_to_string(path).unwrap().contains(&text[12..]));
    }

    #[test]
    fn an_expired_key_stays_out_from_its_second_on() {
        let (text, mut record) = generate_api_key("acme", "").unwrap();
        record.expires = at(2027);
        let (_dir, path) = file_with(&[&record]);
        let keys = ApiKeys::load(path).unwrap();
        let end = UNIX_EPOCH + Duration::from_secs(1_798_761_600);
        let check = |wall| keys.check(&text, Instant::now(), wall);
        assert!(check(end - Duration::from_secs(1)).is_ok());
        assert_eq!(check(end).unwrap_err(), KeyFault::Expired);
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let (first, record) = generate_api_key("acme", "").unwrap();
        let (_dir, path) = file_with(&[&record]);
        let keys = ApiKeys::load(&path).unwrap();
        let (second, more) = generate_api_key("acme", "").unwrap();
        append_api_key(&path, &more).unwrap();
        let start = Instant::now();
        let check = |text: &str, seconds| {
            keys.check(text, start + Duration::from_secs(seconds), SystemTime::now())
        };
        assert!(check(&second, 0).is_err());
        let again = check(&second, 2).unwrap().tenant;
        assert!(Arc::ptr_eq(&again, &check(&first, 2).unwrap().tenant));
        fs::write(&path, "[[key]]\nid = 5").unwrap();
        assert!(check(&first, 4).is_ok());
        fs::write(&path, "").unwrap();
        assert!(check(&first, 6).is_err());
    }

    #[test]
    fn records_that_break_a_rule_are_refused() {
        let (_, good) = generate_api_key("acme", "").unwrap();
        let refused = |change: fn(&mut ApiKeyRecord)| {
            let mut record = good.clone();
            change(&mut record);
            let dir = tempfile::tempdir().unwrap();
            append_api_key(&dir.path().join("keys"), &record).unwrap_err().to_string()
        };
        assert!(refused(|r| r.id = "ABCDEF01".into()).contains("8 lower-case"));
        assert!(refused(|r| r.sha256.push('0')).contains("64 hexadecimal"));
        assert!(refused(|r| r.tenant = "Acme".into()).contains("tenant"));
        assert!(refused(|r| r.tenant = "a".repeat(65)).contains("tenant"));
        assert!(refused(|r| r.expires = "2027-01-01".parse().ok()).contains("expires"));
        let (_dir, path) = file_with(&[&good]);
        assert!(append_api_key(&path, &good).unwrap_err().to_string().contains("used once"));
        assert!(ApiKeys::load("/nonexistent/keys").err().unwrap().to_string().contains("key new"));
    }

    #[test]
    fn the_file_is_private_to_its_owner() {
        let (_, record) = generate_api_key("acme", "").unwrap();
        let (_dir, path) = file_with(&[&record]);
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o600);
    }
}
