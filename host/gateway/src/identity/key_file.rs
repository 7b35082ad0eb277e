//! The file of API keys: what a record says, and how records are made, rotated and revoked.
//!
//! Keys are `am_<8 characters of id>_<43 characters of base64url>`, 256 random bits each. The file
//! holds only SHA-256 digests (RFC 6234; the keys are random, so that a slow password hash would
//! add nothing). Writers take a lock beside the file and replace it whole, so that readers see the
//! old or the new one. Comments survive a new key, not a rotation or a revocation.

use super::lifetime::{datetime, unix_seconds};
use super::roles::Role;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use toml::value::Datetime;

/// Largest key file, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most keys of one file.
const KEYS_MAX: usize = 10_000;
/// Most models of one key.
const MODELS_MAX: usize = 1_000;
/// Longest `name` of a key, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// `am_` + 8 + `_` + 43.
pub(super) const KEY_LEN: usize = 55;

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
    /// What it may do; absent for [`Role::Invoker`]. At least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<Role>>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Datetime>,
    /// When it ends (RFC 3339 with offset); absent for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Datetime>,
    /// When it was revoked; absent if it was not. What is revoked stays so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Datetime>,
    /// Models that it may call; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
}

/// What a new key shall be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewApiKey {
    /// Who is charged: 1 to 64 of `[a-z0-9._-]`.
    pub tenant: String,
    /// What the key is for, for people: at most 256 bytes.
    pub name: String,
    /// What it may do; empty for [`Role::Invoker`].
    pub roles: Vec<Role>,
    /// Models that it may call; absent for all, at most 1,000.
    pub models: Option<Vec<String>>,
    /// When it ends, in seconds since 1970; absent for never.
    pub expires: Option<u64>,
}

/// What a key is good for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiKeyState {
    /// It opens the door.
    Valid,
    /// It ended by itself.
    Expired,
    /// Somebody ended it.
    Revoked,
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
    /// No record has this id.
    #[error("API key {id:?}: there is none with this id; `aimass key list api` shows all")]
    Unknown {
        /// The id, at most 80 characters of it.
        id: String,
    },
    /// The operating system gives no random numbers.
    #[error("no random numbers from the operating system: {0}")]
    Random(String),
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Records {
    #[serde(default)]
    key: Vec<ApiKeyRecord>,
}

/// A file of API keys, for tools and for the admin API. Running servers see a change within about
/// a second.
#[derive(Clone, Debug)]
pub struct ApiKeyFile {
    path: PathBuf,
}

/// What a record says, checked.
pub(super) struct CheckedRecord {
    pub(super) id: [u8; 8],
    pub(super) digest: [u8; 32],
    /// Seconds since 1970.
    pub(super) expires: Option<u64>,
}

impl ApiKeyRecord {
    /// What it may do.
    pub fn roles(&self) -> &[Role] {
        self.roles.as_deref().unwrap_or(&[Role::Invoker])
    }

    /// What it is good for at `now`, in seconds since 1970.
    pub fn state(&self, now: u64) -> ApiKeyState {
        let ended = self.expires.as_ref().and_then(unix_seconds).is_some_and(|end| end <= now);
        match (&self.revoked, ended) {
            (Some(_), _) => ApiKeyState::Revoked,
            (None, true) => ApiKeyState::Expired,
            (None, false) => ApiKeyState::Valid,
        }
    }
}

impl ApiKeyFile {
    /// The file at `path`, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> ApiKeyFile {
        ApiKeyFile { path: path.into() }
    }

    /// Every record, in the order of the file; none if there is no file.
    ///
    /// # Errors
    /// [`ApiKeyError`] if the file cannot be read or is broken.
    pub fn list(&self) -> Result<Vec<ApiKeyRecord>, ApiKeyError> {
        Ok(self.read_or_empty()?.1.key)
    }

    /// Makes a key: the text to hand out once, and its record.
    ///
    /// # Errors
    /// [`ApiKeyError`] if a rule is broken, or the file cannot be read or written.
    pub fn create(&self, new: &NewApiKey, now: u64) -> Result<(String, ApiKeyRecord), ApiKeyError> {
        let (text, record) = generate(new, now)?;
        append_api_key(&self.path, &record)?;
        Ok((text, record))
    }

    /// Makes a key with the tenant, roles, models and lifetime of `id`, which itself ends
    /// `grace_seconds` from `now`, or sooner if it would have ended sooner.
    ///
    /// # Errors
    /// [`ApiKeyError`] if there is no such key or it is not valid any more, or the file cannot be
    /// read or written.
    pub fn rotate(
        &self,
        id: &str,
        grace_seconds: u64,
        now: u64,
    ) -> Result<(String, ApiKeyRecord), ApiKeyError> {
        self.edit(|records| {
            let old = find(records, id)?;
            if old.state(now) != ApiKeyState::Valid {
                let got = format!("{:?}", old.state(now)).to_lowercase();
                return Err(broken(old, "a valid key to rotate", &got));
            }
            let seconds = |time: &Option<Datetime>| time.as_ref().and_then(unix_seconds);
            let end = seconds(&old.expires);
            let life = end.map(|end| match seconds(&old.created) {
                Some(created) => now.saturating_add(end.saturating_sub(created)),
                None => end,
            });
            let new = NewApiKey {
                tenant: old.tenant.clone(),
                name: old.name.clone(),
                roles: old.roles().to_vec(),
                models: old.models.clone(),
                expires: life,
            };
            let (text, record) = generate(&new, now)?;
            let graceful = now.saturating_add(grace_seconds);
            old.expires = Some(datetime(end.map_or(graceful, |end| end.min(graceful))));
            records.push(record.clone());
            Ok((text, record))
        })
    }

    /// Ends a key now, and answers its record. Revoking it again changes nothing. `forget` takes the
    /// record out of the file altogether.
    ///
    /// # Errors
    /// [`ApiKeyError`] if there is no such key, or the file cannot be read or written.
    pub fn revoke(&self, id: &str, forget: bool, now: u64) -> Result<ApiKeyRecord, ApiKeyError> {
        self.edit(|records| {
            let record = find(records, id)?;
            record.revoked.get_or_insert_with(|| datetime(now));
            let record = record.clone();
            if forget {
                records.retain(|one| one.id != id);
            }
            Ok(record)
        })
    }

    /// Changes the records under the lock.
    fn edit<T>(
        &self,
        change: impl FnOnce(&mut Vec<ApiKeyRecord>) -> Result<T, ApiKeyError>,
    ) -> Result<T, ApiKeyError> {
        let _lock = self.lock()?;
        let (_, mut records) = self.read_or_empty()?;
        let answer = change(&mut records.key)?;
        check(&self.path, &records.key)?;
        let text = self.text_of(&records)?;
        self.write(&text)?;
        Ok(answer)
    }

    fn lock(&self) -> Result<File, ApiKeyError> {
        let failed = |source| file_error(&self.path, source);
        let lock = private(&with_suffix(&self.path, ".lock"), false).map_err(failed)?;
        lock.lock().map_err(failed)?;
        Ok(lock)
    }

    fn read_or_empty(&self) -> Result<(String, Records), ApiKeyError> {
        let text = match File::open(&self.path) {
            Ok(file) => bounded(&self.path, file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(file_error(&self.path, error)),
        };
        let records = parse(&self.path, &text)?;
        Ok((text, records))
    }

    fn text_of(&self, records: &Records) -> Result<String, ApiKeyError> {
        toml::to_string(records).map_err(|error| format_error(&self.path, error.to_string()))
    }

    /// Writes a new file and renames it over the old one.
    fn write(&self, text: &str) -> Result<(), ApiKeyError> {
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(format_error(&self.path, too_large()));
        }
        let temporary = with_suffix(&self.path, ".new");
        let write = || {
            let mut file = private(&temporary, true)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.path)
        };
        write().map_err(|source| file_error(&self.path, source))
    }
}

/// A new random key for `tenant` with the role [`Role::Invoker`], without an end: the text to hand
/// out once, and the record to store.
///
/// # Errors
/// [`ApiKeyError::Random`] without random numbers, [`ApiKeyError::Record`] for a bad tenant name.
pub fn generate_api_key(tenant: &str, name: &str) -> Result<(String, ApiKeyRecord), ApiKeyError> {
    let new =
        NewApiKey { tenant: tenant.to_owned(), name: name.to_owned(), ..NewApiKey::default() };
    let (text, record) = generate(&new, 0)?;
    Ok((text, ApiKeyRecord { created: None, ..record }))
}

/// Adds `record` to the file, which is made (readable by its owner only) if there is none.
/// Running servers see the key within about a second.
///
/// # Errors
/// [`ApiKeyError`] if the file cannot be read or written, is broken, or holds the id already.
pub fn append_api_key(path: &Path, record: &ApiKeyRecord) -> Result<(), ApiKeyError> {
    check_record(record)?;
    let file = ApiKeyFile::new(path);
    let _lock = file.lock()?;
    let (mut text, mut records) = file.read_or_empty()?;
    records.key.push(record.clone());
    check(path, &records.key)?;
    if !text.is_empty() {
        text.push('\n');
    }
    text += &file.text_of(&Records { key: vec![record.clone()] })?;
    file.write(&text)
}

fn generate(new: &NewApiKey, now: u64) -> Result<(String, ApiKeyRecord), ApiKeyError> {
    let mut random = [0u8; 36];
    getrandom::fill(&mut random).map_err(|error| ApiKeyError::Random(error.to_string()))?;
    let id = hex(&random[..4]);
    let text = format!("am_{id}_{}", URL_SAFE_NO_PAD.encode(&random[4..]));
    let record = ApiKeyRecord {
        id,
        sha256: hex(&Sha256::digest(text.as_bytes())),
        tenant: new.tenant.clone(),
        name: new.name.clone(),
        roles: (!new.roles.is_empty()).then(|| new.roles.clone()),
        created: Some(datetime(now)),
        expires: new.expires.map(datetime),
        revoked: None,
        models: new.models.clone(),
    };
    check_record(&record)?;
    Ok((text, record))
}

fn find<'a>(
    records: &'a mut [ApiKeyRecord],
    id: &str,
) -> Result<&'a mut ApiKeyRecord, ApiKeyError> {
    let unknown = || ApiKeyError::Unknown { id: id.chars().take(80).collect() };
    records.iter_mut().find(|record| record.id == id).ok_or_else(unknown)
}

fn private(path: &Path, truncate: bool) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(truncate).mode(0o600).open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The text of an open key file, which may not be larger than the limit.
fn bounded(path: &Path, file: File) -> Result<String, ApiKeyError> {
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|source| file_error(path, source))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format_error(path, too_large()));
    }
    Ok(text)
}

/// The records of an open key file, each checked.
pub(super) fn read(
    path: &Path,
    file: File,
) -> Result<Vec<(ApiKeyRecord, CheckedRecord)>, ApiKeyError> {
    read_text(path, &bounded(path, file)?)
}

/// The records of the text of a key file, each checked.
pub(super) fn read_text(
    path: &Path,
    text: &str,
) -> Result<Vec<(ApiKeyRecord, CheckedRecord)>, ApiKeyError> {
    let records = parse(path, text)?.key;
    let checked = check(path, &records)?;
    Ok(records.into_iter().zip(checked).collect())
}

fn parse(path: &Path, text: &str) -> Result<Records, ApiKeyError> {
    toml::from_str(text).map_err(|error| format_error(path, error.to_string()))
}

/// Checks the records of a file, and that each id is there once.
fn check(path: &Path, records: &[ApiKeyRecord]) -> Result<Vec<CheckedRecord>, ApiKeyError> {
    if records.len() > KEYS_MAX {
        let message = format!(
            "expected at most {KEYS_MAX} keys, got {}; `aimass key revoke api ID --forget` takes \
             one out",
            records.len()
        );
        return Err(format_error(path, message));
    }
    let mut ids = std::collections::HashSet::new();
    let mut checked = Vec::with_capacity(records.len());
    for record in records {
        let one = check_record(record)?;
        if !ids.insert(one.id) {
            return Err(broken(record, "an id used once in the file", &record.id));
        }
        checked.push(one);
    }
    Ok(checked)
}

fn check_record(record: &ApiKeyRecord) -> Result<CheckedRecord, ApiKeyError> {
    let id_fault = || broken(record, "an id of 8 lower-case hexadecimal digits", &record.id);
    let id: [u8; 8] = record.id.as_bytes().try_into().map_err(|_| id_fault())?;
    if !id.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(id_fault());
    }
    let digest = unhex(&record.sha256)
        .ok_or_else(|| broken(record, "sha256 of 64 hexadecimal digits", &record.sha256))?;
    if !is_tenant_name(&record.tenant) {
        return Err(broken(record, "a tenant of 1 to 64 of [a-z0-9._-]", &record.tenant));
    }
    if record.name.len() > NAME_BYTES_MAX {
        return Err(broken(record, "a name of at most 256 bytes", &record.name));
    }
    if record.roles.as_ref().is_some_and(Vec::is_empty) {
        return Err(broken(record, "at least one role, or no `roles` for invoker", "none"));
    }
    let models = record.models.as_ref().map_or(0, Vec::len);
    if models > MODELS_MAX {
        return Err(broken(record, "at most 1000 models", &models.to_string()));
    }
    let seconds = |time: &Option<Datetime>, expected| match time {
        None => Ok(None),
        Some(time) => {
            unix_seconds(time).map(Some).ok_or_else(|| broken(record, expected, &time.to_string()))
        }
    };
    seconds(&record.created, "created like 2027-01-31T12:00:00Z")?;
    seconds(&record.revoked, "revoked like 2027-01-31T12:00:00Z")?;
    let expires = seconds(&record.expires, "expires like 2027-01-31T12:00:00Z")?;
    Ok(CheckedRecord { id, digest, expires })
}

/// Whether `name` is 1 to 64 of `[a-z0-9._-]`.
pub(crate) fn is_tenant_name(name: &str) -> bool {
    let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(letters)
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

pub(super) fn file_error(path: &Path, source: io::Error) -> ApiKeyError {
    ApiKeyError::File { path: path.to_owned(), source }
}

fn format_error(path: &Path, message: String) -> ApiKeyError {
    ApiKeyError::Format { path: path.to_owned(), message }
}

fn too_large() -> String {
    format!("expected at most {FILE_BYTES_MAX} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn file() -> (tempfile::TempDir, ApiKeyFile) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api_keys.toml");
        (dir, ApiKeyFile::new(path))
    }

    fn acme() -> NewApiKey {
        NewApiKey { tenant: "acme".into(), ..NewApiKey::default() }
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
        assert!(refused(|r| r.revoked = "2027-01-01".parse().ok()).contains("revoked"));
        assert!(refused(|r| r.roles = Some(vec![])).contains("at least one role"));
        assert!(refused(|r| r.name = "x".repeat(NAME_BYTES_MAX + 1)).contains("256 bytes"));
        assert!(
            refused(|r| r.models = Some(vec!["m".into(); MODELS_MAX + 1])).contains("1000 models")
        );
        let (_dir, file) = file();
        append_api_key(&file.path, &good).unwrap();
        let again = append_api_key(&file.path, &good).unwrap_err();
        assert!(again.to_string().contains("used once"));
    }

    #[test]
    fn the_file_is_private_to_its_owner_and_keeps_comments_of_new_keys() {
        let (_dir, file) = file();
        file.create(&acme(), 5).unwrap();
        assert_eq!(fs::metadata(&file.path).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&file.path).unwrap();
        fs::write(&file.path, format!("# for the shop\n{text}")).unwrap();
        file.create(&acme(), 6).unwrap();
        assert!(fs::read_to_string(&file.path).unwrap().starts_with("# for the shop\n"));
        assert_eq!(file.list().unwrap().len(), 2);
    }

    #[test]
    fn a_rotated_key_lives_through_its_grace_and_the_new_one_as_long_as_it_did() {
        let (_dir, file) = file();
        let new = NewApiKey {
            roles: vec![Role::Operator],
            models: Some(vec!["m".into()]),
            expires: Some(1_000),
            ..acme()
        };
        let (_, old) = file.create(&new, 100).unwrap();
        let (text, fresh) = file.rotate(&old.id, 50, 200).unwrap();
        assert!(text.contains(&fresh.id) && fresh.id != old.id);
        assert_eq!((fresh.roles(), &fresh.models), (old.roles(), &old.models));
        assert_eq!(fresh.expires, Some(datetime(200 + 900)));
        let listed = file.list().unwrap();
        assert_eq!(listed[0].expires, Some(datetime(250)));
        assert_eq!(listed[0].state(249), ApiKeyState::Valid);
        assert_eq!(listed[0].state(250), ApiKeyState::Expired);
        let (_, third) = file.rotate(&fresh.id, 5_000, 1_000).unwrap();
        assert_eq!(file.list().unwrap()[1].expires, Some(datetime(1_100)), "grace never prolongs");
        let late = file.rotate(&old.id, 50, 300).unwrap_err();
        assert!(late.to_string().contains("got \"expired\""), "{late}");
        file.revoke(&third.id, false, 1_001).unwrap();
        assert!(file.rotate(&third.id, 0, 1_001).unwrap_err().to_string().contains("revoked"));
    }

    #[test]
    fn a_revoked_key_stays_listed_until_it_is_forgotten() {
        let (_dir, file) = file();
        let (_, record) = file.create(&acme(), 5).unwrap();
        file.revoke(&record.id, false, 7).unwrap();
        let again = file.revoke(&record.id, false, 9).unwrap();
        assert_eq!(again.revoked, Some(datetime(7)));
        assert_eq!(file.list().unwrap()[0].state(8), ApiKeyState::Revoked);
        file.revoke(&record.id, true, 9).unwrap();
        assert!(file.list().unwrap().is_empty());
        let unknown = file.revoke(&record.id, true, 9).unwrap_err();
        assert!(matches!(unknown, ApiKeyError::Unknown { .. }));
    }
}
