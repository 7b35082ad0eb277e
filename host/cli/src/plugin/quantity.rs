//! Sizes and times as people read them.

use std::time::Duration;

/// `512 B`, `16 MiB`, `1.1 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match value.fract() == 0.0 {
        true => format!("{value:.0} {}", UNITS[unit]),
        false => format!("{value:.1} {}", UNITS[unit]),
    }
}

/// `850 ns`, `12.5 µs`, `3.21 ms`, `5.00 s`.
pub(super) fn time(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

/// Microseconds, for programs.
pub(super) fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!((bytes(1023), bytes(1024)), ("1023 B".to_owned(), "1 KiB".to_owned()));
        assert_eq!(
            (bytes(16 << 20), bytes(1_150_000)),
            ("16 MiB".to_owned(), "1.1 MiB".to_owned())
        );
        assert_eq!(bytes(u64::MAX), "16777216 TiB");
        assert_eq!(time(Duration::from_nanos(12_500)), "12.5 µs");
        assert_eq!(time(Duration::from_secs(5)), "5.00 s");
    }
}
