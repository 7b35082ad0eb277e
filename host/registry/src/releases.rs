//! The order of signed model releases: an old one does not come back as a new version.

use rusqlite::{OptionalExtension, Transaction};

use crate::database::database;
use crate::error::RegistryError;
use crate::record::Sha256Digest;
use crate::registry::Registry;
use crate::rows::{self, signed};

/// A release as its publisher signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedRelease<'a> {
    /// `publisher/name`; the model may be served under any name.
    pub name: &'a str,
    /// Sequence of the statement.
    pub sequence: u64,
    /// SHA-256 of what was signed.
    pub digest: Sha256Digest,
}

impl Registry {
    /// The sequence that a model release must exceed to be published: the highest that was ever
    /// admitted under its `publisher/name`. `None` if there was none, or if this very release was
    /// admitted before: it may be published again, under this or another serving name.
    ///
    /// # Errors
    /// [`RegistryError::Database`].
    pub fn last_model_sequence(
        &self,
        release: &SignedRelease<'_>,
    ) -> Result<Option<u64>, RegistryError> {
        self.inner.read("read a sequence", |tx| last_sequence(tx, release))
    }
}

/// Refuses a release before the newest one; call it inside the transaction that publishes.
pub(crate) fn check_order(
    tx: &Transaction<'_>,
    release: &SignedRelease<'_>,
) -> Result<(), RegistryError> {
    let last = last_sequence(tx, release).map_err(database("read a sequence"))?;
    match last.filter(|last| release.sequence <= *last) {
        None => Ok(()),
        Some(highest) => Err(RegistryError::SequenceTooOld {
            name: release.name.to_owned(),
            got: release.sequence,
            highest,
        }),
    }
}

/// Remembers a release that is being published.
pub(crate) fn record_release(
    tx: &Transaction<'_>,
    release: &SignedRelease<'_>,
) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT OR IGNORE INTO model_release(name, sequence, digest) VALUES (?1, ?2, ?3)",
        (release.name, signed(release.sequence)?, release.digest),
    )?;
    Ok(())
}

/// The highest sequence under the release's name; `None` if there is none, or if this very release
/// was admitted before.
fn last_sequence(
    tx: &Transaction<'_>,
    release: &SignedRelease<'_>,
) -> rusqlite::Result<Option<u64>> {
    let known = rows::count(
        tx,
        "SELECT count(*) FROM model_release WHERE name = ?1 AND sequence = ?2 AND digest = ?3",
        (release.name, signed(release.sequence)?, release.digest),
    )?;
    if known > 0 {
        return Ok(None);
    }
    tx.prepare_cached(
        "SELECT sequence FROM model_release WHERE name = ?1 ORDER BY sequence DESC LIMIT 1",
    )?
    .query_row([release.name], |row| rows::unsigned(row, 0))
    .optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, at, release};
    use crate::{InitialState, ModelRelease};

    fn signed_as(sequence: u64, digest: u8) -> SignedRelease<'static> {
        SignedRelease { name: "acme/minilm", sequence, digest: [digest; 32] }
    }

    fn publish(
        registry: &Registry,
        model: &str,
        signed: SignedRelease<'static>,
    ) -> Result<u64, RegistryError> {
        let release = ModelRelease { signed, ..release(InitialState::Ready) };
        registry.stage_model(model)?.commit(release, at(1))
    }

    #[test]
    fn an_older_release_is_refused_unless_it_was_admitted_before() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        assert_eq!(registry.last_model_sequence(&signed_as(5, 1)).unwrap(), None);
        publish(registry, "minilm", signed_as(5, 1)).unwrap();
        publish(registry, "minilm", signed_as(7, 2)).unwrap();
        for (sequence, digest) in [(6, 3), (5, 3), (7, 3), (0, 1)] {
            let wanted = signed_as(sequence, digest);
            assert_eq!(registry.last_model_sequence(&wanted).unwrap(), Some(7));
            let error = publish(registry, "minilm", wanted).unwrap_err();
            assert!(matches!(error, RegistryError::SequenceTooOld { highest: 7, .. }), "{error}");
        }
        assert_eq!(registry.last_model_sequence(&signed_as(5, 1)).unwrap(), None);
        assert_eq!(publish(registry, "minilm", signed_as(5, 1)).unwrap(), 3);
        assert_eq!(publish(registry, "other", signed_as(7, 2)).unwrap(), 1);
        publish(registry, "other", signed_as(8, 4)).unwrap();
        let elsewhere = SignedRelease { name: "acme/bert", ..signed_as(1, 5) };
        publish(registry, "minilm", elsewhere).unwrap();
    }

    #[test]
    fn the_order_outlives_the_versions() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        publish(registry, "minilm", signed_as(5, 1)).unwrap();
        publish(registry, "minilm", signed_as(6, 2)).unwrap();
        registry.remove("minilm", 2).unwrap();
        registry.sweep().unwrap();
        assert_eq!(registry.last_model_sequence(&signed_as(3, 3)).unwrap(), Some(6));
        assert!(publish(&fixture.other(), "minilm", signed_as(3, 3)).is_err());
        publish(registry, "minilm", signed_as(5, 1)).unwrap();
    }
}
