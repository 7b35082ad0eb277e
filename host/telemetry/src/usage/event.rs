//! The record that leaves the server: CloudEvents 1.0 in the JSON format, type `ai.aimass.usage.v1`.
//!
//! Specification: CloudEvents 1.0.2, JSON event format and batched content mode.

use super::record::{UsageKind, UsageRecord};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// `type` of every event.
pub const EVENT_TYPE: &str = "ai.aimass.usage.v1";

/// One usage record as billing systems read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageEvent {
    /// `1.0`.
    pub specversion: String,
    /// Unique for each call, and the same whenever the call is exported again.
    pub id: String,
    /// Who reports, a URI reference; `/aimass` and the name of the server.
    pub source: String,
    /// [`EVENT_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// When the call ended (RFC 3339, UTC, microseconds).
    pub time: String,
    /// Who pays.
    pub subject: String,
    /// `application/json`.
    pub datacontenttype: String,
    /// What was used.
    pub data: UsageData,
}

/// What one call used: `data` of a [`UsageEvent`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageData {
    /// `infer`, `batch`, `train` or `compress`.
    pub kind: String,
    /// Who pays.
    pub tenant: String,
    /// Serving name of the model.
    pub model: String,
    /// Version that answered, in decimal; `0` if the call failed before one was chosen.
    pub version: String,
    /// Plugins of that version's steps, as `publisher/name@version`, in order.
    pub plugins: Vec<Arc<str>>,
    /// Models that those plugins called, as `name@version`, each once; absent where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub inner_models: Vec<Arc<str>>,
    /// `ok`, `cancelled`, or the family of the error.
    pub outcome: String,
    /// The request's id, as in `x-request-id`; empty if it had none.
    pub request_id: String,
    /// Tokens of the inputs; absent where the model does not count them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tokens: Option<u64>,
    /// Bytes of all input tensors.
    pub bytes_in: u64,
    /// Bytes of all output tensors.
    pub bytes_out: u64,
    /// Time on a thread inside plugins, in nanoseconds.
    pub plugin_cpu_ns: u64,
    /// Share of the launches that computed the call's plans, in nanoseconds.
    pub kernel_ns: u64,
    /// Time that the call's plans waited for the device, in nanoseconds.
    pub queue_ns: u64,
    /// From the request's admission to its record, in nanoseconds.
    pub wall_ns: u64,
}

impl UsageEvent {
    /// The event of a record that the journal keeps under `id`.
    pub(crate) fn of(record: &UsageRecord, id: String, source: &str) -> UsageEvent {
        UsageEvent {
            specversion: "1.0".to_owned(),
            id,
            source: source.to_owned(),
            kind: EVENT_TYPE.to_owned(),
            time: rfc3339(record.time_us),
            subject: record.tenant.to_string(),
            datacontenttype: "application/json".to_owned(),
            data: UsageData::of(record),
        }
    }
}

impl UsageData {
    fn of(record: &UsageRecord) -> UsageData {
        let UsageRecord { kind, tenant, model, version, plugins, outcome, request, .. } = record;
        UsageData {
            kind: UsageKind::name(*kind).to_owned(),
            tenant: tenant.to_string(),
            model: model.to_string(),
            version: version.to_string(),
            plugins: plugins.to_vec(),
            inner_models: record.inner_models.clone(),
            outcome: outcome.to_string(),
            request_id: request.to_string(),
            tokens: record.tokens,
            bytes_in: record.bytes_in,
            bytes_out: record.bytes_out,
            plugin_cpu_ns: record.plugin_ns,
            kernel_ns: record.kernel_ns,
            queue_ns: record.queue_ns,
            wall_ns: record.wall_ns,
        }
    }
}

/// A time in RFC 3339, UTC, with microseconds.
pub fn rfc3339(time_us: u64) -> String {
    let (seconds, micros) = (time_us / 1_000_000, time_us % 1_000_000);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let day = rfc3339_date(seconds / 86_400);
    format!("{day}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

/// `YYYY-MM-DD` of a day since 1970 (proleptic Gregorian calendar, eras of 400 years).
pub fn rfc3339_date(day: u64) -> String {
    // Days are counted from 0000-03-01, so that the leap day is the last of its year.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{date:02}")
}

/// The day since 1970 of `YYYY-MM-DD`; nothing if it is no such date from 1970 to 9999.
pub fn day_of_date(text: &str) -> Option<u64> {
    let year: u64 = text.get(0..4)?.parse().ok().filter(|year| *year >= 1970)?;
    let near = (year - 1970) * 365;
    // At most one leap day in four years lies between the guess and the date, and a year follows.
    (near..near + 366 + (year - 1970) / 4 + 1).find(|day| rfc3339_date(*day) == text)
}

#[cfg(test)]
mod tests {
    use super::super::record::sample;
    use super::*;

    #[test]
    fn an_event_has_the_attributes_of_cloudevents_and_every_number_of_the_record() {
        let event = UsageEvent::of(&sample("r-9"), "abc-1".to_owned(), "/aimass/here");
        let json = serde_json::to_value(&event).unwrap();
        for (field, expected) in [
            ("specversion", "1.0"),
            ("id", "abc-1"),
            ("source", "/aimass/here"),
            ("type", "ai.aimass.usage.v1"),
            ("time", "2026-09-21T14:13:20.123456Z"),
            ("subject", "acme"),
            ("datacontenttype", "application/json"),
        ] {
            assert_eq!(json[field], expected, "{field}");
        }
        let data = &json["data"];
        assert_eq!(data["plugins"][1], "aimass/pool@0.2.0");
        assert_eq!(data["inner_models"], serde_json::json!(["tokens@4"]));
        assert_eq!(data["request_id"], "r-9");
        for (field, expected) in
            [("tokens", 17), ("bytes_in", 200), ("bytes_out", 1536), ("kernel_ns", 9_000_000u64)]
        {
            assert_eq!(data[field], expected, "{field}");
        }
        let uncounted = UsageRecord { tokens: None, inner_models: Vec::new(), ..sample("") };
        let json = serde_json::to_value(UsageData::of(&uncounted)).unwrap();
        assert!(json.get("tokens").is_none() && json.get("inner_models").is_none());
        assert_eq!(serde_json::from_value::<UsageData>(json).unwrap().tokens, None);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (day, date) in [
            (0, "1970-01-01"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (10_957, "2000-01-01"),
            (11_016, "2000-02-29"),
            (20_779, "2026-11-22"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(rfc3339_date(day), date);
            assert_eq!(day_of_date(date), Some(day));
        }
        for wrong in ["", "2026", "2026-02-30", "1969-12-31", "2026-1-1", "2026-01-01x"] {
            assert_eq!(day_of_date(wrong), None, "{wrong}");
        }
    }
}
