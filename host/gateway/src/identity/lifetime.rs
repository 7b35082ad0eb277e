//! Points in time as files and people write them: RFC 3339, and durations such as `90d`.

use toml::value::{Date, Datetime, Offset, Time};

/// Longest duration, in seconds: about 100 years.
const SECONDS_MAX: u64 = 100 * 366 * 86_400;

/// Text that is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a duration such as 30m, 12h or 90d of at most 100 years, a time such as \
     2027-01-31T12:00:00Z, or `never`, got {got:?}"
)]
pub struct LifetimeError {
    /// What came, at most 80 characters of it.
    pub got: String,
}

/// Reads `30m`, `12h`, `90d`, `45s` after `now`, a time by RFC 3339 with offset, or `never`
/// (nothing). All in seconds since 1970.
///
/// # Errors
/// [`LifetimeError`] for any other text, and for durations above 100 years.
pub fn parse_lifetime(text: &str, now: u64) -> Result<Option<u64>, LifetimeError> {
    if text == "never" {
        return Ok(None);
    }
    let seconds = duration_seconds(text).map(|seconds| now.saturating_add(seconds));
    let time = seconds.or_else(|| text.parse().ok().as_ref().and_then(unix_seconds));
    time.map(Some).ok_or_else(|| LifetimeError { got: text.chars().take(80).collect() })
}

/// Seconds of a number with one of the units `s`, `m`, `h`, `d`.
pub(crate) fn duration_seconds(text: &str) -> Option<u64> {
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        b'd' => 86_400,
        _ => return None,
    };
    let digits = &text[..text.len() - 1];
    let count: u64 = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())??;
    count.checked_mul(unit).filter(|&seconds| seconds <= SECONDS_MAX)
}

/// Seconds since 1970 of a date with time and offset, 1970 to 9999.
pub(crate) fn unix_seconds(time: &Datetime) -> Option<u64> {
    let (date, clock) = (time.date?, time.time?);
    let offset = match time.offset? {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes) * 60,
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

/// The UTC time of `seconds` since 1970; the last second of 9999 for anything later.
pub(crate) fn datetime(seconds: u64) -> Datetime {
    let seconds = seconds.min(253_402_300_799);
    let (days, of_day) = (seconds / 86_400 + 719_468, seconds % 86_400);
    // Civil from days: https://howardhinnant.github.io/date_algorithms.html
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let date = Date {
        year: year as u16,
        month: month as u8,
        day: (day_of_year - (153 * shifted + 2) / 5 + 1) as u8,
    };
    let time = Time {
        hour: (of_day / 3600) as u8,
        minute: (of_day / 60 % 60) as u8,
        second: Some((of_day % 60) as u8),
        nanosecond: None,
    };
    Datetime { date: Some(date), time: Some(time), offset: Some(Offset::Z) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_four_centuries_is_read_back() {
        for day in (0..800 * 365).step_by(1) {
            let seconds = day * 86_400 + (day * 7919) % 86_400;
            assert_eq!(unix_seconds(&datetime(seconds)), Some(seconds));
        }
        assert_eq!(datetime(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(datetime(1_709_210_096).to_string(), "2024-02-29T12:34:56Z");
        assert_eq!(datetime(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn durations_and_times_are_read_and_nothing_else() {
        let now = 1_000;
        assert_eq!(parse_lifetime("90d", now), Ok(Some(now + 90 * 86_400)));
        assert_eq!(parse_lifetime("1h", now), Ok(Some(now + 3600)));
        assert_eq!(parse_lifetime("2027-01-01T01:00:00+01:00", now), Ok(Some(1_798_761_600)));
        assert_eq!(parse_lifetime("never", now), Ok(None));
        assert_eq!(parse_lifetime("36600d", now), Ok(Some(now + SECONDS_MAX)));
        for wrong in [
            "",
            "d",
            "5",
            "-5d",
            "+5d",
            "5w",
            "5 d",
            "36601d",
            "18446744073709551615d",
            "é",
            "2027-01-01",
            "2027-01-01T00:00:00",
            "1969-12-31T23:59:59Z",
        ] {
            assert!(parse_lifetime(wrong, now).is_err(), "{wrong}");
        }
    }
}
