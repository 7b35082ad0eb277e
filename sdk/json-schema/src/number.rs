//! Decimal numbers as JSON writes them, without rounding.

use core::cmp::Ordering;
use core::fmt;

/// Digits of a number at most, without zeros at both ends.
const DIGITS_MAX: usize = 38;
/// The largest power of ten that a number may be scaled by.
const EXPONENT_MAX: i64 = 100_000;

/// `digits * 10^exponent`; digits do not end with a zero, and zero has the exponent 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: u128,
    exponent: i64,
}

impl Decimal {
    /// Of a JSON number that is written correctly.
    ///
    /// # Errors
    /// What a number must keep to, if it has too many digits or too large an exponent.
    pub(crate) fn of_json(text: &str) -> Result<Decimal, String> {
        let negative = text.starts_with('-');
        let (plain, power) = match text.split_once(['e', 'E']) {
            Some((plain, power)) => (plain, power.parse().unwrap_or(i64::MAX)),
            None => (text, 0),
        };
        let (whole, fraction) = plain
            .trim_start_matches('-')
            .split_once('.')
            .unwrap_or((plain.trim_start_matches('-'), ""));
        let all = [whole, fraction].concat();
        let cut = all.trim_end_matches('0');
        let significant = cut.trim_start_matches('0');
        if significant.is_empty() {
            return Ok(Decimal { negative: false, digits: 0, exponent: 0 });
        }
        let exponent = power.saturating_sub(fraction.len() as i64);
        let exponent = exponent.saturating_add((all.len() - cut.len()) as i64);
        if significant.len() > DIGITS_MAX {
            let got = significant.len();
            return Err(format!("a number of at most {DIGITS_MAX} digits, got {got}"));
        }
        if exponent.saturating_abs() > EXPONENT_MAX {
            return Err(format!("a number with an exponent of at most {EXPONENT_MAX}"));
        }
        let digits = significant.bytes().fold(0, |sum, digit| sum * 10 + u128::from(digit - b'0'));
        Ok(Decimal { negative, digits, exponent })
    }

    /// Whether it has no fraction, however it is written.
    pub(crate) fn is_integer(self) -> bool {
        self.exponent >= 0
    }

    pub(crate) fn is_positive(self) -> bool {
        !self.negative && self.digits > 0
    }

    /// As a count, if it is one below 2^64.
    pub(crate) fn as_count(self) -> Option<u64> {
        let power = u32::try_from(self.exponent).ok()?;
        let count = self.digits.checked_mul(10u128.checked_pow(power)?)?;
        if self.negative { None } else { u64::try_from(count).ok() }
    }

    /// Whether it is `unit`, which is positive, some whole number of times.
    pub(crate) fn is_multiple_of(self, unit: Decimal) -> bool {
        if self.digits == 0 {
            return true;
        }
        // Digits that do not end with a zero are no multiple of ten.
        let Ok(power) = u64::try_from(self.exponent - unit.exponent) else { return false };
        let modulus = unit.digits;
        times(self.digits % modulus, power_of_ten(power, modulus), modulus) == 0
    }

    /// Place of the first digit.
    fn magnitude(self) -> i64 {
        i64::from(self.digits.checked_ilog10().unwrap_or(0)) + self.exponent
    }

    fn order_without_sign(self, other: Decimal) -> Ordering {
        match (self.digits, other.digits) {
            (0, _) | (_, 0) => return self.digits.cmp(&other.digits),
            (_, _) => {}
        }
        self.magnitude().cmp(&other.magnitude()).then_with(|| {
            // Both have one magnitude, so that the one that is scaled keeps to 38 digits.
            let common = self.exponent.min(other.exponent);
            let scaled = |it: Decimal| it.digits * 10u128.pow((it.exponent - common) as u32);
            scaled(self).cmp(&scaled(other))
        })
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Decimal) -> Ordering {
        match (self.negative, other.negative) {
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.order_without_sign(*other),
            (true, true) => other.order_without_sign(*self),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Decimal) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.negative { "-" } else { "" };
        let digits = self.digits.to_string();
        match self.exponent {
            0 => write!(formatter, "{sign}{digits}"),
            power @ 1..=20 => write!(formatter, "{sign}{digits}{}", "0".repeat(power as usize)),
            power @ -20..=-1 => {
                let digits =
                    format!("{digits:0>width$}", width = power.unsigned_abs() as usize + 1);
                let (whole, fraction) =
                    digits.split_at(digits.len() - power.unsigned_abs() as usize);
                write!(formatter, "{sign}{whole}.{fraction}")
            }
            power => write!(formatter, "{sign}{digits}e{power}"),
        }
    }
}

/// `10^power` modulo `modulus`, by squaring.
fn power_of_ten(mut power: u64, modulus: u128) -> u128 {
    let (mut result, mut base) = (1 % modulus, 10 % modulus);
    while power > 0 {
        if power % 2 == 1 {
            result = times(result, base, modulus);
        }
        base = times(base, base, modulus);
        power /= 2;
    }
    result
}

/// `a * b` modulo `modulus`, below 2^127, by doubling.
fn times(mut a: u128, mut b: u128, modulus: u128) -> u128 {
    let mut result = 0;
    while b > 0 {
        if b % 2 == 1 {
            result = (result + a) % modulus;
        }
        a = (a + a) % modulus;
        b /= 2;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decimal(text: &str) -> Decimal {
        Decimal::of_json(text).unwrap()
    }

    #[test]
    fn one_number_has_one_form() {
        for (a, b) in
            [("1", "1.0"), ("100", "1e2"), ("0", "-0.0e9"), ("0.05", "5E-2"), ("1e+1", "10")]
        {
            assert_eq!(decimal(a), decimal(b), "{a} {b}");
        }
        assert!(decimal("1e2").is_integer() && decimal("1.50e1").is_integer());
        assert!(!decimal("1.5").is_integer());
        assert_eq!(decimal("1e3").as_count(), Some(1000));
        assert_eq!(decimal("18446744073709551615").as_count(), Some(u64::MAX));
        for none in ["18446744073709551616", "-1", "0.5", "1e99999"] {
            assert_eq!(decimal(none).as_count(), None, "{none}");
        }
    }

    #[test]
    fn numbers_have_at_most_38_digits_and_an_exponent_of_100_000() {
        let nines = "9".repeat(DIGITS_MAX);
        assert_eq!(decimal(&nines).to_string(), nines);
        assert!(Decimal::of_json(&"9".repeat(DIGITS_MAX + 1)).is_err());
        assert!(Decimal::of_json(&format!("0.000{nines}000")).is_ok());
        assert!(Decimal::of_json("1e100000").is_ok());
        for far in ["1e100001", "1e-100001", "1e99999999999999999999", "1e-9223372036854775808"] {
            assert!(Decimal::of_json(far).is_err(), "{far}");
        }
    }

    #[test]
    fn order_is_that_of_numbers() {
        let rising = [
            "-1e9", "-10.5", "-10", "-1e-9", "0", "1e-9", "0.1", "0.11", "2", "10", "1e40", "9e40",
        ];
        for pair in rising.windows(2) {
            assert!(decimal(pair[0]) < decimal(pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn multiples_are_exact() {
        for (number, unit, expected) in [
            ("0.3", "0.1", true),
            ("0.35", "0.1", false),
            ("1e308", "0.123456789", false),
            ("1e100000", "8", true),
            ("1e100000", "7", false),
            ("-4.5", "1.5", true),
            ("0", "3", true),
            ("10", "4", false),
            ("99999999999999999999999999999999999999", "3", true),
        ] {
            assert_eq!(decimal(number).is_multiple_of(decimal(unit)), expected, "{number} {unit}");
        }
    }

    proptest! {
        #[test]
        fn small_numbers_are_those_of_integers(a in -9999i64..9999, b in -9999i64..9999, unit in 1i64..500) {
            let scaled = |v: i64| decimal(&format!("{v}e-2"));
            prop_assert_eq!(scaled(a).cmp(&scaled(b)), a.cmp(&b));
            prop_assert_eq!(scaled(a).is_multiple_of(scaled(unit)), a % unit == 0);
            prop_assert_eq!(decimal(&scaled(a).to_string()), scaled(a));
        }
    }
}
