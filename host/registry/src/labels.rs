//! Labels: movable names for versions, with a history that can be rolled back.

use std::time::SystemTime;

use rusqlite::{OptionalExtension, Transaction};

use crate::database::database;
use crate::error::RegistryError;
use crate::limits::{Limits, check_limit};
use crate::model_version::label_not_found;
use crate::models::find_version;
use crate::names::{check_label, check_model_name};
use crate::record::{LabelAction, LabelEvent, VersionState};
use crate::registry::{Registry, unix_ms};
use crate::rows::{self, signed, unsigned};

impl Registry {
    /// Points a label to a ready version and returns the version that it pointed to before.
    /// Pointing it to where it is changes nothing.
    ///
    /// # Errors
    /// [`RegistryError::InvalidName`], [`RegistryError::NotReady`],
    /// [`RegistryError::VersionNotFound`], [`RegistryError::ModelNotFound`],
    /// [`RegistryError::LimitExceeded`].
    pub fn set_label(
        &self,
        name: &str,
        label: &str,
        version: u64,
        now: SystemTime,
    ) -> Result<Option<u64>, RegistryError> {
        check_model_name(name)?;
        check_label(label)?;
        let limits = &self.inner.limits;
        self.inner.write("set a label", |tx| {
            let record = find_version(tx, name, version)?;
            if record.state != VersionState::Ready {
                let state = record.state.to_string();
                return Err(RegistryError::NotReady { name: name.to_owned(), version, state });
            }
            let labels = rows::labels(tx, name).map_err(database("set a label"))?;
            let previous = labels.get(label).copied();
            if previous == Some(version) {
                return Ok(previous);
            }
            let count = labels.len() as u64 + u64::from(previous.is_none());
            check_limit(
                "labels of a model",
                limits.labels_per_model_max,
                count,
                "remove a label, or raise `labels_per_model_max`",
            )?;
            let at = At { name, label, limits, now_ms: unix_ms(now) };
            at.point(tx, version, previous, LabelAction::Set).map_err(database("set a label"))?;
            Ok(previous)
        })
    }

    /// Removes a label and returns the version that it pointed to. Its history stays, but a label
    /// of the same name set later does not roll back beyond the removal.
    ///
    /// # Errors
    /// [`RegistryError::LabelNotFound`], [`RegistryError::InvalidName`].
    pub fn remove_label(
        &self,
        name: &str,
        label: &str,
        now: SystemTime,
    ) -> Result<u64, RegistryError> {
        check_model_name(name)?;
        check_label(label)?;
        let limits = &self.inner.limits;
        self.inner.write("remove a label", |tx| {
            let version = current(tx, name, label)?;
            let at = At { name, label, limits, now_ms: unix_ms(now) };
            at.remove(tx, version).map_err(database("remove a label"))?;
            Ok(version)
        })
    }

    /// Moves a label back to the version that it pointed to before, and returns that version.
    ///
    /// Rolling back twice goes back two moves. Versions that were removed in between are skipped.
    ///
    /// # Errors
    /// [`RegistryError::LabelNotFound`], [`RegistryError::NoPreviousVersion`],
    /// [`RegistryError::InvalidName`].
    pub fn rollback(&self, name: &str, label: &str, now: SystemTime) -> Result<u64, RegistryError> {
        check_model_name(name)?;
        check_label(label)?;
        let limits = &self.inner.limits;
        self.inner.write("roll a label back", |tx| {
            let from = current(tx, name, label)?;
            let at = At { name, label, limits, now_ms: unix_ms(now) };
            let failed = database("roll a label back");
            let Some((event, version)) = at.earlier(tx, from).map_err(&failed)? else {
                let (name, label) = (name.to_owned(), label.to_owned());
                return Err(RegistryError::NoPreviousVersion { name, label });
            };
            at.undo_after(tx, event).map_err(&failed)?;
            at.point(tx, version, Some(from), LabelAction::Rollback).map_err(&failed)?;
            Ok(version)
        })
    }

    /// What happened to the labels of a model, the oldest first.
    ///
    /// # Errors
    /// [`RegistryError::Database`].
    pub fn label_history(&self, name: &str) -> Result<Vec<LabelEvent>, RegistryError> {
        self.inner.read("read the label history", |tx| {
            tx.prepare_cached(
                "SELECT label, action, version, previous, at_ms FROM label_event
                 WHERE model = ?1 ORDER BY id",
            )?
            .query_map([name], event_of)?
            .collect()
        })
    }
}

/// One label at one moment.
struct At<'a> {
    name: &'a str,
    label: &'a str,
    limits: &'a Limits,
    now_ms: i64,
}

impl At<'_> {
    fn point(
        &self,
        tx: &Transaction<'_>,
        version: u64,
        previous: Option<u64>,
        action: LabelAction,
    ) -> rusqlite::Result<()> {
        tx.execute(
            "INSERT INTO label(model, label, version) VALUES (?1, ?2, ?3)
             ON CONFLICT (model, label) DO UPDATE SET version = excluded.version",
            (self.name, self.label, signed(version)?),
        )?;
        self.record(tx, action, Some(version), previous)
    }

    fn remove(&self, tx: &Transaction<'_>, version: u64) -> rusqlite::Result<()> {
        let key = (self.name, self.label);
        tx.execute("DELETE FROM label WHERE model = ?1 AND label = ?2", key)?;
        self.undo_after(tx, 0)?;
        self.record(tx, LabelAction::Remove, None, Some(version))
    }

    /// The newest move that is not taken back, leads elsewhere than `from`, and whose version is
    /// still there and ready.
    fn earlier(&self, tx: &Transaction<'_>, from: u64) -> rusqlite::Result<Option<(i64, u64)>> {
        tx.prepare_cached(
            "SELECT e.id, e.version FROM label_event e
             JOIN model_version v ON v.model = e.model AND v.version = e.version
             WHERE e.model = ?1 AND e.label = ?2 AND e.action = 'set' AND e.undone = 0
               AND v.state = 'ready' AND e.version <> ?3
             ORDER BY e.id DESC LIMIT 1",
        )?
        .query_row((self.name, self.label, signed(from)?), |row| {
            Ok((row.get(0)?, unsigned(row, 1)?))
        })
        .optional()
    }

    /// Takes back every move after `event`.
    fn undo_after(&self, tx: &Transaction<'_>, event: i64) -> rusqlite::Result<()> {
        tx.execute(
            "UPDATE label_event SET undone = 1
             WHERE model = ?1 AND label = ?2 AND id > ?3 AND undone = 0",
            (self.name, self.label, event),
        )?;
        Ok(())
    }

    fn record(
        &self,
        tx: &Transaction<'_>,
        action: LabelAction,
        version: Option<u64>,
        previous: Option<u64>,
    ) -> rusqlite::Result<()> {
        let version = version.map(signed).transpose()?;
        let previous = previous.map(signed).transpose()?;
        tx.execute(
            "INSERT INTO label_event(model, label, action, version, previous, at_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (self.name, self.label, action_text(action), version, previous, self.now_ms),
        )?;
        tx.execute(
            "DELETE FROM label_event WHERE model = ?1 AND label = ?2 AND id <= (
                 SELECT id FROM label_event WHERE model = ?1 AND label = ?2
                 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
            (self.name, self.label, signed(self.limits.label_history_max)?),
        )?;
        Ok(())
    }
}

fn current(tx: &Transaction<'_>, name: &str, label: &str) -> Result<u64, RegistryError> {
    let labels = rows::labels(tx, name).map_err(database("find a label"))?;
    labels.get(label).copied().ok_or_else(|| {
        let have: Vec<&str> = labels.keys().map(String::as_str).collect();
        label_not_found(name, label, &have)
    })
}

fn action_text(action: LabelAction) -> &'static str {
    match action {
        LabelAction::Set => "set",
        LabelAction::Rollback => "rollback",
        LabelAction::Remove => "remove",
    }
}

fn event_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<LabelEvent> {
    let action: String = row.get(1)?;
    let action = match action.as_str() {
        "rollback" => LabelAction::Rollback,
        "remove" => LabelAction::Remove,
        _ => LabelAction::Set,
    };
    let number = |column| -> rusqlite::Result<Option<u64>> {
        row.get::<_, Option<i64>>(column)?.map(|_| unsigned(row, column)).transpose()
    };
    Ok(LabelEvent {
        label: row.get(0)?,
        action,
        version: number(2)?,
        previous: number(3)?,
        at_ms: unsigned(row, 4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixture, at};
    use crate::{InitialState, ModelRecord};

    fn labels(fixture: &Fixture) -> Vec<(String, u64)> {
        let model: ModelRecord = fixture.registry.models().unwrap().remove(0);
        model.labels.into_iter().collect()
    }

    #[test]
    fn a_label_is_set_moved_and_removed_with_its_history() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        fixture.ready(2);
        assert_eq!(registry.set_label("minilm", "stable", 1, at(10)).unwrap(), None);
        assert_eq!(registry.set_label("minilm", "stable", 2, at(20)).unwrap(), Some(1));
        assert_eq!(registry.set_label("minilm", "stable", 2, at(25)).unwrap(), Some(2));
        assert_eq!(labels(&fixture), [("stable".to_owned(), 2)]);
        assert_eq!(registry.remove_label("minilm", "stable", at(30)).unwrap(), 2);
        assert_eq!(labels(&fixture), []);
        let history: Vec<_> = registry
            .label_history("minilm")
            .unwrap()
            .into_iter()
            .map(|e| (e.action, e.version, e.previous, e.at_ms))
            .collect();
        assert_eq!(
            history,
            [
                (LabelAction::Set, Some(1), None, 10_000),
                (LabelAction::Set, Some(2), Some(1), 20_000),
                (LabelAction::Remove, None, Some(2), 30_000),
            ]
        );
        let error = registry.remove_label("minilm", "stable", at(31)).unwrap_err();
        assert!(error.to_string().contains("it has none"), "{error}");
    }

    #[test]
    fn only_a_ready_version_is_labelled() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        let pending = fixture.publish(InitialState::Pending).unwrap();
        let failed = fixture.publish(InitialState::Pending).unwrap();
        registry.mark_failed("minilm", failed, "no").unwrap();
        for version in [pending, failed] {
            let error = registry.set_label("minilm", "stable", version, at(1)).unwrap_err();
            assert!(matches!(error, RegistryError::NotReady { .. }), "{error}");
        }
        let error = registry.set_label("minilm", "stable", 9, at(1)).unwrap_err();
        assert!(matches!(error, RegistryError::VersionNotFound { .. }), "{error}");
        let error = registry.set_label("minilm", "1st", pending, at(1)).unwrap_err();
        assert!(matches!(error, RegistryError::InvalidName { .. }), "{error}");
        assert_eq!(labels(&fixture), []);
    }

    #[test]
    fn a_rollback_goes_back_move_by_move() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        fixture.ready(4);
        let set = |version| registry.set_label("minilm", "stable", version, at(1)).unwrap();
        let back = || registry.rollback("minilm", "stable", at(2));
        for version in [1, 2, 3] {
            set(version);
        }
        registry.set_label("minilm", "beta", 4, at(1)).unwrap();
        assert_eq!(back().unwrap(), 2);
        set(4);
        assert_eq!(back().unwrap(), 2);
        assert_eq!(back().unwrap(), 1);
        assert_eq!(labels(&fixture), [("beta".to_owned(), 4), ("stable".to_owned(), 1)]);
        let error = back().unwrap_err();
        assert!(matches!(error, RegistryError::NoPreviousVersion { .. }), "{error}");
        assert_eq!(labels(&fixture)[1].1, 1);
        let error = registry.rollback("minilm", "gamma", at(2)).unwrap_err();
        assert!(error.to_string().contains("it has beta, stable"), "{error}");
    }

    #[test]
    fn a_rollback_skips_removed_versions_and_stops_at_a_removed_label() {
        let fixture = Fixture::new();
        let registry = &fixture.registry;
        fixture.ready(4);
        let set = |version| registry.set_label("minilm", "stable", version, at(1)).unwrap();
        for version in [1, 2, 3] {
            set(version);
        }
        registry.remove("minilm", 2).unwrap();
        assert_eq!(registry.rollback("minilm", "stable", at(2)).unwrap(), 1);
        registry.remove_label("minilm", "stable", at(3)).unwrap();
        set(4);
        let error = registry.rollback("minilm", "stable", at(4)).unwrap_err();
        assert!(matches!(error, RegistryError::NoPreviousVersion { .. }), "{error}");
    }

    #[test]
    fn labels_and_their_history_are_limited() {
        let limits = Limits { labels_per_model_max: 2, label_history_max: 3, ..Limits::default() };
        let fixture = Fixture::with(limits);
        let registry = &fixture.registry;
        fixture.ready(2);
        for round in 0..5 {
            registry.set_label("minilm", "a", 1 + round % 2, at(round)).unwrap();
        }
        registry.set_label("minilm", "b", 1, at(9)).unwrap();
        let error = registry.set_label("minilm", "c", 1, at(9)).unwrap_err();
        assert!(matches!(error, RegistryError::LimitExceeded { limit: 2, got: 3, .. }), "{error}");
        let history = registry.label_history("minilm").unwrap();
        let times: Vec<u64> = history.iter().map(|e| e.at_ms / 1_000).collect();
        assert_eq!(times, [2, 3, 4, 9]);
    }
}
