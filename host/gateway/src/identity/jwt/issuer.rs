//! One issuer: its settings, its keys, and when they are read again.

use super::jwks::KeySet;
use super::source::Source;
use crate::identity::settings::IssuerConfig;
use crate::identity::stamp::Stamp;
use aimass_telemetry::backoff::Backoff;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Unknown keys make a URL be read again at most this often.
const ASK_MS: u64 = 60_000;
/// First and longest wait before a source that failed is tried again, if its period is not shorter.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(300);

/// The waits of a source that keeps failing.
pub(super) fn backoff() -> Backoff {
    Backoff::new(BACKOFF_MIN, BACKOFF_MAX)
}

/// Why an issuer cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("keys of issuer {issuer} from {jwks}: {message}")]
pub struct IssuerError {
    /// The issuer.
    pub issuer: String,
    /// Where its keys should be.
    pub jwks: String,
    /// What is wrong.
    pub message: String,
}

/// What is known about an issuer's keys.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub(crate) struct IssuerStatus {
    pub(crate) issuer: String,
    /// Usable keys.
    pub(crate) keys: usize,
    /// Seconds since they were last read.
    pub(crate) age_seconds: Option<u64>,
    /// Why the last attempt failed; the keys of before are kept.
    pub(crate) failure: Option<String>,
}

/// An issuer's keys at one time.
#[derive(Clone, Default)]
pub(super) struct Keys {
    /// Absent until they were read once.
    pub(super) set: Option<Arc<KeySet>>,
    /// Counts changes of the set.
    pub(super) version: u64,
    stamp: Option<Stamp>,
    read: Option<Instant>,
    failure: Option<String>,
}

/// An issuer and its keys.
pub(super) struct Issuer {
    pub(super) settings: IssuerConfig,
    source: Source,
    keys: RwLock<Arc<Keys>>,
    wanted: Notify,
    start: Instant,
    /// Milliseconds after `start` from which on an unknown key makes the keys be read again.
    ask_at_ms: AtomicU64,
}

impl Issuer {
    /// The issuer of these settings; keys in a file are read at once.
    pub(super) fn open(settings: IssuerConfig, now: Instant) -> Result<Issuer, IssuerError> {
        let source = Source::new(&settings.jwks, settings.jwks_ca.clone(), settings.jwks_seconds);
        let at_once = matches!(source, Source::File(_));
        let issuer = Issuer {
            settings,
            source,
            keys: RwLock::default(),
            wanted: Notify::new(),
            start: now,
            ask_at_ms: AtomicU64::new(0),
        };
        if at_once {
            issuer.refresh(now).map_err(|message| IssuerError {
                issuer: issuer.settings.issuer.clone(),
                jwks: issuer.settings.jwks.clone(),
                message,
            })?;
        }
        Ok(issuer)
    }

    /// The keys as they are.
    pub(super) fn keys(&self) -> Arc<Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that a token names a key that is not there. Whether that makes the keys be read again,
    /// which it does once a minute.
    pub(super) fn ask_for_keys(&self, now: Instant) -> bool {
        let now_ms = now.saturating_duration_since(self.start).as_millis() as u64;
        let due = self.ask_at_ms.load(Ordering::Relaxed);
        let next = now_ms + ASK_MS;
        let first = now_ms >= due
            && self
                .ask_at_ms
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if first {
            self.wanted.notify_one();
        }
        first
    }

    /// Reads the keys again, now and then. Ends never.
    pub(super) async fn keep_fresh(self: Arc<Issuer>) {
        let mut backoff = backoff();
        loop {
            let reader = self.clone();
            let read = tokio::task::spawn_blocking(move || reader.refresh(Instant::now())).await;
            let wait = self.wait_after(matches!(read, Ok(Ok(()))), &mut backoff);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    /// How long the source is left alone after it was read, or could not be.
    pub(super) fn wait_after(&self, was_read: bool, backoff: &mut Backoff) -> Duration {
        let period = self.source.period();
        if was_read {
            backoff.succeeded();
            return period;
        }
        backoff.failed(None).min(period)
    }

    /// Reads the keys if they changed; on failure they stay as they were, and the log says so.
    /// Blocks.
    pub(super) fn refresh(&self, now: Instant) -> Result<(), String> {
        let before = self.keys();
        let read = self.source.read(before.stamp).and_then(|changed| match changed {
            None => Ok(None),
            Some((bytes, stamp)) => {
                let set = KeySet::parse(&bytes).map_err(|error| error.to_string())?;
                Ok(Some((set, stamp)))
            }
        });
        let issuer = &self.settings.issuer;
        let mut keys = Keys::clone(&before);
        let outcome = match read {
            Ok(changed) => {
                (keys.read, keys.failure) = (Some(now), None);
                if let Some((set, stamp)) = changed {
                    keys.stamp = stamp;
                    if keys.set.as_deref() != Some(&set) {
                        tracing::info!(issuer, keys = set.len(), "keys of an issuer read");
                        keys.set = Some(Arc::new(set));
                        keys.version += 1;
                    }
                }
                Ok(())
            }
            Err(error) => {
                let kept = keys.set.as_ref().map_or(0, |set| set.len());
                tracing::error!(issuer, error, kept, "keys of an issuer cannot be read");
                keys.failure = Some(error.clone());
                Err(error)
            }
        };
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        outcome
    }

    pub(super) fn status(&self, now: Instant) -> IssuerStatus {
        let keys = self.keys();
        IssuerStatus {
            issuer: self.settings.issuer.clone(),
            keys: keys.set.as_ref().map_or(0, |set| set.len()),
            age_seconds: keys.read.map(|read| now.saturating_duration_since(read).as_secs()),
            failure: keys.failure.clone(),
        }
    }
}
