//! Where a marketplace is read from. Nothing that a mirror says is believed; it is bounded in size and
//! time, so that one that lies, trickles or never ends costs a refused update and nothing else.

mod http;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use aimass_trust::publishing::storage::{Folder, Storage};
use aimass_trust::{MetadataSource, Refusal, RefusalCode, TileSource};

use crate::MarketError;
use crate::oci::{Location, OciMirror};

pub(crate) use http::agent;
pub use http::post_submission;

/// How long a mirror may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchLimits {
    /// Until a connection stands. Default 5 s.
    pub connect: Duration,
    /// For one file of up to 1 MiB, from the request to the last byte. Default 20 s.
    pub file: Duration,
    /// What a larger file must reach on average, in bytes a second, beyond that. Default 128 KiB/s.
    pub bytes_per_second_min: u64,
    /// Files that one operation may fetch. Default 2,048.
    pub files_max: usize,
}

impl Default for FetchLimits {
    fn default() -> FetchLimits {
        FetchLimits {
            connect: Duration::from_secs(5),
            file: Duration::from_secs(20),
            bytes_per_second_min: 128 << 10,
            files_max: 2048,
        }
    }
}

impl FetchLimits {
    /// The time for a file of at most `bytes_max` bytes.
    pub fn time(&self, bytes_max: usize) -> Duration {
        let more = (bytes_max as u64).saturating_sub(1 << 20) / self.bytes_per_second_min.max(1);
        self.file + Duration::from_secs(more)
    }
}

/// Files of a marketplace by path, such as `metadata/timestamp.json`.
pub trait Mirror {
    /// The file at `path`, or `None` if the mirror has none. At most one byte more than `bytes_max`
    /// is read.
    ///
    /// # Errors
    /// [`MarketError::Fetch`]; a refusal with `AMT-SIZE` above `bytes_max`.
    fn fetch(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, MarketError>;
}

/// Opens the mirror at `location`: `https://…`, `http://…`, `oci://…` as [`Location`] has it, or a folder.
///
/// # Errors
/// [`MarketError::Wrong`] for another form, and for credentials of a registry that cannot be read.
pub fn open(location: &str, limits: FetchLimits) -> Result<Box<dyn Mirror>, MarketError> {
    if location.starts_with("https://") || location.starts_with("http://") {
        return Ok(Box::new(http::Http::new(location, limits)?));
    }
    if Location::is_one(location) {
        return Ok(Box::new(OciMirror::open(location, limits)?));
    }
    if location.contains("://") {
        let remedy = "name an address or a folder";
        let expected = "https://…, http://…, oci://… or a folder";
        return Err(MarketError::wrong("location", expected, location, remedy));
    }
    Ok(Box::new(Local(Folder::new(Path::new(location)), location.to_owned())))
}

struct Local(Folder, String);

impl Mirror for Local {
    fn fetch(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, MarketError> {
        self.0.read(path, bytes_max).map_err(|error| match error.kind() {
            std::io::ErrorKind::FileTooLarge => too_large(path, bytes_max).into(),
            _ => failed(&self.1, path, error.to_string()),
        })
    }
}

pub(crate) fn failed(location: &str, path: &str, got: String) -> MarketError {
    let got = got.chars().take(200).flat_map(char::escape_debug).collect();
    MarketError::Fetch { location: location.to_owned(), path: path.to_owned(), got }
}

pub(crate) fn too_large(path: &str, bytes_max: usize) -> Refusal {
    let expected = format!("{path} of at most {bytes_max} bytes");
    Refusal::new(
        RefusalCode::Size,
        expected,
        "more",
        "name another mirror: this one sends too much",
    )
}

/// A mirror of which every file is fetched once, so that what was looked at is what gets verified.
pub(crate) struct Once<'a> {
    mirror: &'a mut dyn Mirror,
    files: BTreeMap<String, Option<Vec<u8>>>,
    files_max: usize,
    /// Why the mirror failed, which a [`Refusal`] has no words for.
    failure: Option<MarketError>,
}

impl<'a> Once<'a> {
    pub(crate) fn new(mirror: &'a mut dyn Mirror, files_max: usize) -> Once<'a> {
        Once { mirror, files: BTreeMap::new(), files_max, failure: None }
    }

    /// Every file that was fetched and is there.
    pub(crate) fn into_files(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        self.files.into_iter().filter_map(|(path, bytes)| Some((path, bytes?)))
    }

    /// The error of an operation over this mirror: what the mirror did, if that was it.
    pub(crate) fn explain(&mut self, refusal: Refusal) -> MarketError {
        self.failure.take().unwrap_or(MarketError::Refused(refusal))
    }

    fn get(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Refusal> {
        self.fetch(path, bytes_max).map_err(|error| match error {
            MarketError::Refused(refusal) => refusal,
            other => {
                let (got, remedy) = (other.to_string(), "try again, or name another mirror");
                self.failure = Some(other);
                Refusal::new(RefusalCode::Mix, "a mirror that answers", got, remedy)
            }
        })
    }
}

impl Mirror for Once<'_> {
    fn fetch(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, MarketError> {
        if let Some(known) = self.files.get(path) {
            return match known {
                Some(bytes) if bytes.len() > bytes_max => Err(too_large(path, bytes_max).into()),
                known => Ok(known.clone()),
            };
        }
        if self.files.len() >= self.files_max {
            let expected = format!("at most {} files for one operation", self.files_max);
            let remedy = "name another mirror: this one sends too much";
            return Err(Refusal::new(RefusalCode::Size, expected, "more", remedy).into());
        }
        let bytes = self.mirror.fetch(path, bytes_max)?;
        self.files.insert(path.to_owned(), bytes.clone());
        Ok(bytes)
    }
}

impl MetadataSource for Once<'_> {
    fn metadata(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Refusal> {
        self.get(&format!("metadata/{path}"), bytes_max)
    }
}

impl TileSource for Once<'_> {
    fn tile(&mut self, path: &str, bytes_max: usize) -> Result<Vec<u8>, Refusal> {
        self.get(&format!("log/{path}"), bytes_max)?.ok_or_else(|| {
            let expected = format!("the log's file {path}");
            Refusal::new(RefusalCode::Log, expected, "none", "read the log from another mirror")
        })
    }
}
