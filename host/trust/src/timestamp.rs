//! Points in time as the statements write them: RFC 3339, UTC, whole seconds, nothing else.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01T00:00:00Z, written `2026-11-20T10:00:00Z`. Years 1970 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

const LAST: u64 = 253_402_300_799;

impl Timestamp {
    /// The point `seconds` after 1970-01-01T00:00:00Z; anything after the year 9999 becomes its last second.
    pub fn from_unix(seconds: u64) -> Self {
        Timestamp(seconds.min(LAST))
    }

    /// The point of a system clock, rounded down; a clock before 1970 reads as 1970.
    pub fn from_system(time: SystemTime) -> Self {
        Self::from_unix(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn as_unix(self) -> u64 {
        self.0
    }

    /// This point moved by `days` of 86,400 seconds, at most to the end of the year 9999.
    pub fn plus_days(self, days: u64) -> Self {
        Self::from_unix(self.0.saturating_add(days.saturating_mul(86_400)))
    }
}

/// A text that is not of the form `YYYY-MM-DDThh:mm:ssZ`, or names a day that does not exist.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("time: expected UTC like 2026-11-20T10:00:00Z, got `{0}`")]
pub struct TimestampError(pub String);

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Timestamp).ok_or_else(|| TimestampError(crate::refusal::excerpt(text)))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0 / 86_400);
        let second = self.0 % 86_400;
        let (hour, minute) = (second / 3_600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
    }
}

fn parse(text: &str) -> Option<u64> {
    let form = b"0000-00-00T00:00:00Z";
    let bytes = text.as_bytes();
    let fits = |(byte, wanted): (&u8, &u8)| match wanted {
        b'0' => byte.is_ascii_digit(),
        _ => byte == wanted,
    };
    if bytes.len() != form.len() || !bytes.iter().zip(form).all(fits) {
        return None;
    }
    let number = |at: usize, end: usize| text.get(at..end)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days = days_of(year, month, day);
    (date_of(days) == (year, month, day))
        .then_some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days since 1970-01-01, counted in years that begin in March (Howard Hinnant, `days_from_civil`).
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let of_era = year % 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day;
    // Day 0 of a bad text must not fall below zero; `parse` refuses it by the round trip.
    (year / 400 * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year)
        .saturating_sub(719_469)
}

/// Year, month and day of a count of days since 1970-01-01 (Howard Hinnant, `civil_from_days`).
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-20T10:00:00Z", 1_795_168_800),
            ("9999-12-31T23:59:59Z", LAST),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp(seconds)));
            assert_eq!(Timestamp(seconds).to_string(), text);
        }
    }

    #[test]
    fn every_day_of_a_century_survives_the_round_trip() {
        for day in 0..36_525 * 2 {
            let time = Timestamp(day * 86_400 + 4_711);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }

    #[test]
    fn other_forms_and_impossible_days_are_refused() {
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T10:00:00",
            "2026-11-20T10:00:00z",
            "2026-11-20 10:00:00Z",
            "2026-11-20T10:00:00+00:00",
            "2026-11-20T10:00:00.5Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-32T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "1969-12-31T23:59:59Z",
            "1970-01-00T00:00:00Z",
            "+026-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
