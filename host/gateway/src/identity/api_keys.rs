//! The API keys of a running server: looked up by id, compared by digest, read again when the file
//! changes.
//!
//! The file ([`super::key_file`]) is looked at once a second at most, so that adding, rotating or
//! revoking a key needs no restart. A file that cannot be read or parsed leaves the keys as they
//! were, and says so in the log.

use super::Principal;
use super::key_file::{self, ApiKeyError, ApiKeyRecord, CheckedRecord, KEY_LEN, file_error};
use super::roles::Verbs;
use super::stamp::Stamp;
use super::tenants::Tenants;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;

/// Why a key does not open the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyFault {
    /// No such key.
    Unknown,
    /// It was good once.
    Expired,
    /// Somebody ended it.
    Revoked,
}

struct Entry {
    digest: [u8; 32],
    expires: Option<u64>,
    revoked: bool,
    principal: Principal,
}

type Table = HashMap<[u8; 8], Entry>;

struct Loaded {
    table: Arc<Table>,
    stamp: Stamp,
}

/// The API keys of a file, kept up to date.
pub(crate) struct ApiKeys {
    path: PathBuf,
    tenants: Arc<Tenants>,
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
    pub(crate) fn load(
        path: impl Into<PathBuf>,
        tenants: Arc<Tenants>,
    ) -> Result<ApiKeys, ApiKeyError> {
        let path = path.into();
        let loaded = RwLock::new(load(&path, &tenants)?);
        let look_at_ms = AtomicU64::new(1000);
        Ok(ApiKeys { path, tenants, loaded, start: Instant::now(), look_at_ms })
    }

    /// Whether there is no key, so that nobody gets in by one.
    pub(crate) fn is_empty(&self) -> bool {
        self.table().is_empty()
    }

    /// Whose key `text` is, looked up by its id and compared in constant time.
    pub(crate) fn check(
        &self,
        text: &str,
        now: Instant,
        wall: SystemTime,
    ) -> Result<Principal, KeyFault> {
        self.refresh(now);
        let id = id_of(text).ok_or(KeyFault::Unknown)?;
        let table = self.table();
        let entry = table.get(id).ok_or(KeyFault::Unknown)?;
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        if !bool::from(digest.ct_eq(&entry.digest)) {
            return Err(KeyFault::Unknown);
        }
        if entry.revoked {
            return Err(KeyFault::Revoked);
        }
        let seconds = wall.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match entry.expires {
            Some(expires) if expires <= seconds => Err(KeyFault::Expired),
            Some(_) | None => Ok(entry.principal.clone()),
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

    /// Reads the file again if it changed.
    ///
    /// # Errors
    /// [`ApiKeyError`] if it cannot be read; then the keys are as they were.
    pub(crate) fn reload(&self) -> Result<(), ApiKeyError> {
        let metadata = fs::metadata(&self.path).map_err(|source| file_error(&self.path, source))?;
        let same = {
            let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
            loaded.stamp == Stamp::of(&metadata)
        };
        if same {
            return Ok(());
        }
        let fresh = load(&self.path, &self.tenants)?;
        tracing::info!(keys = fresh.table.len(), "API keys read again");
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

fn load(path: &std::path::Path, tenants: &Tenants) -> Result<Loaded, ApiKeyError> {
    let file = File::open(path).map_err(|source| file_error(path, source))?;
    let stamp = Stamp::of(&file.metadata().map_err(|source| file_error(path, source))?);
    let records = key_file::read(path, file)?;
    let entries = records.into_iter().map(|(record, checked)| entry(&record, checked, tenants));
    Ok(Loaded { table: Arc::new(entries.collect()), stamp })
}

fn entry(record: &ApiKeyRecord, checked: CheckedRecord, tenants: &Tenants) -> ([u8; 8], Entry) {
    let principal = Principal {
        tenant: tenants.of(&record.tenant),
        models: record.models.as_ref().map(|models| models.as_slice().into()),
        verbs: Verbs::of(record.roles()),
    };
    let CheckedRecord { id, digest, expires } = checked;
    (id, Entry { digest, expires, revoked: record.revoked.is_some(), principal })
}

fn id_of(text: &str) -> Option<&[u8; 8]> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() == KEY_LEN && bytes.starts_with(b"am_") && bytes[11] == b'_';
    if shaped { bytes[3..11].try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::key_file::{append_api_key, generate_api_key};
    use std::time::Duration;

    fn load(path: impl Into<PathBuf>) -> ApiKeys {
        ApiKeys::load(path, Arc::default()).unwrap()
    }

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
        let keys = load(&path);
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
        let keys = load(path);
        let end = UNIX_EPOCH + Duration::from_secs(1_798_761_600);
        let check = |wall| keys.check(&text, Instant::now(), wall);
        assert!(check(end - Duration::from_secs(1)).is_ok());
        assert_eq!(check(end).unwrap_err(), KeyFault::Expired);
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_changes_nothing() {
        let (first, record) = generate_api_key("acme", "").unwrap();
        let (_dir, path) = file_with(&[&record]);
        let keys = load(&path);
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
    fn a_revoked_key_says_so_and_a_missing_file_how_to_make_one() {
        let (text, mut record) = generate_api_key("acme", "").unwrap();
        record.revoked = at(2020);
        let (_dir, path) = file_with(&[&record]);
        let fault = load(path).check(&text, Instant::now(), SystemTime::now()).unwrap_err();
        assert_eq!(fault, KeyFault::Revoked);
        let error = ApiKeys::load("/nonexistent/keys", Arc::default()).err().unwrap();
        assert!(error.to_string().contains("key new"));
    }
}
