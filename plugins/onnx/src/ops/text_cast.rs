//! `Cast` from numbers to texts and back.
//!
//! Floats of up to 32 bits have eight significant digits, as C's `%.8g` writes them; f64 has the digits
//! that it takes to read the same number again. Infinities are `INF` and `-INF`, the rest is `NaN`.

use super::cast::convert;
use crate::content::{floats_of, ints_of, number_tensor};
use crate::emit::Emitter;
use crate::value::{R, T, TensorValue, invalid};
use aimass_sdk::DType;

/// Significant digits of floats that are no f64.
const DIGITS: usize = 8;
/// Exponents of ten up to which an f64 is written without one.
const PLAIN_EXPONENT_MAX: i32 = 16;

/// The elements as texts.
pub(super) fn to_texts(cx: &mut Emitter, x: &T) -> R<T> {
    let shape = x.shape()?;
    let numbers = match x.dtype {
        DType::Bytes => return Ok(x.clone()),
        DType::F8E4m3 | DType::F8E5m2 | DType::F8E4m3Fnuz | DType::F8E5m2Fnuz => {
            cx.keep(|cx| Ok(vec![convert(cx, x, DType::F32, true)?]))?.swap_remove(0)
        }
        DType::I4 | DType::U4 => {
            cx.keep(|cx| Ok(vec![convert(cx, x, DType::I8, true)?]))?.swap_remove(0)
        }
        _ => x.clone(),
    };
    let bytes = cx.content(&numbers)?;
    let texts: Vec<String> = match numbers.dtype {
        DType::F64 => floats_of(DType::F64, &bytes)?.into_iter().map(shortest).collect(),
        DType::F32 | DType::F16 | DType::Bf16 => {
            floats_of(numbers.dtype, &bytes)?.into_iter().map(general).collect()
        }
        DType::U64 => {
            ints_of(DType::U64, &bytes)?.into_iter().map(|v| (v as u64).to_string()).collect()
        }
        other => ints_of(other, &bytes)?.into_iter().map(|v| v.to_string()).collect(),
    };
    Ok(TensorValue::of_strings(&shape, texts.into_iter().map(String::into_bytes).collect()))
}

/// The numbers that texts spell; `saturate` is for 8-bit floats.
pub(super) fn from_texts(cx: &mut Emitter, x: &T, dtype: DType, saturate: bool) -> R<T> {
    let shape = x.shape()?;
    let texts = cx.strings(x)?;
    let texts = texts.iter().map(|text| super::strings::utf8(text).map(str::trim));
    match dtype {
        DType::Bytes => Ok(x.clone()),
        DType::F16 | DType::Bf16 | DType::F32 | DType::F64 => {
            // An f32 is read as one: by way of an f64 it would be rounded twice.
            let read = |text: &str| match dtype {
                DType::F32 => text.parse::<f32>().map(f64::from).ok(),
                _ => text.parse::<f64>().ok(),
            };
            let read = |text: R<&str>| {
                let text = text?;
                read(text).ok_or_else(|| no_number(text))
            };
            number_tensor(dtype, &shape, &texts.map(read).collect::<R<Vec<f64>>>()?)
        }
        DType::F8E4m3 | DType::F8E5m2 | DType::F8E4m3Fnuz | DType::F8E5m2Fnuz => {
            let wide = from_texts(cx, x, DType::F32, saturate)?;
            convert(cx, &wide, dtype, saturate)
        }
        DType::I4 | DType::U4 => {
            let wide = from_texts(cx, x, DType::I8, saturate)?;
            convert(cx, &wide, dtype, saturate)
        }
        _ => {
            let size = dtype.element_bytes().ok_or_else(|| no_number(dtype.name()))? as usize;
            let mut bytes = Vec::new();
            for text in texts {
                let number = whole(text?)?;
                match dtype {
                    DType::Bool => bytes.push(u8::from(number != 0)),
                    // What does not fit loses its upper bits.
                    _ => bytes.extend(number.to_le_bytes().into_iter().take(size)),
                }
            }
            Ok(TensorValue::of_bytes(dtype, &shape, bytes))
        }
    }
}

fn no_number(text: &str) -> crate::value::Stop {
    let start: String = text.chars().take(40).collect();
    invalid(format!("expected a text that spells a number, got `{start}`"))
}

/// A whole number; the fraction of a float is cut off.
fn whole(text: &str) -> R<i128> {
    if let Ok(number) = text.parse::<i128>() {
        return Ok(number);
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.map(|number| number as i128).ok_or_else(|| no_number(text))
}

/// `%.8g`.
fn general(value: f64) -> String {
    named(value).unwrap_or_else(|| {
        let digits = format!("{value:.*e}", DIGITS - 1);
        plain(&digits, DIGITS as i32 - 1)
    })
}

/// The shortest digits that are read as this number again.
fn shortest(value: f64) -> String {
    named(value).unwrap_or_else(|| plain(&format!("{value:e}"), PLAIN_EXPONENT_MAX))
}

fn named(value: f64) -> Option<String> {
    if value.is_nan() {
        return Some("NaN".to_owned());
    }
    value.is_infinite().then(|| if value > 0.0 { "INF" } else { "-INF" }.to_owned())
}

/// `d.ddde-7` with an exponent of at least two digits, or without one from 1e-4 to `10^exponent_max`.
fn plain(scientific: &str, exponent_max: i32) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => ("-", mantissa),
        None => ("", mantissa),
    };
    let digits: String = mantissa.chars().filter(|char| *char != '.').collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    if !(-4..=exponent_max).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{dot}{rest}e{exponent_sign}{:02}", exponent.unsigned_abs());
    }
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    }
    let before = exponent as usize + 1;
    if digits.len() <= before {
        return format!("{sign}{digits}{}", "0".repeat(before - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..before], &digits[before..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_floats_are_written_as_c_does() {
        for (value, text) in [
            (0.1f32, "0.1"),
            (1.0, "1"),
            (100.0, "100"),
            (1e10, "1e+10"),
            (1e-5, "9.9999997e-06"),
            (123_456_790.0, "1.2345679e+08"),
            (16_777_216.0, "16777216"),
            (1e-7, "1e-07"),
            (-0.0, "-0"),
            (0.0, "0"),
            (f32::NAN, "NaN"),
            (f32::INFINITY, "INF"),
            (f32::NEG_INFINITY, "-INF"),
            (std::f32::consts::PI, "3.1415927"),
            (-0.478_925_47, "-0.47892547"),
            (1e22, "9.9999998e+21"),
            (99_999_999.0, "1e+08"),
            (0.000_125, "0.00012500001"),
            (0.000_976_562_5, "0.0009765625"),
        ] {
            assert_eq!(general(value.into()), text);
        }
    }

    #[test]
    fn wide_floats_are_read_back_as_they_were() {
        assert_eq!(shortest(0.1), "0.1");
        assert_eq!(shortest(123_456_789.125), "123456789.125");
        assert_eq!(shortest(1e22), "1e+22");
        assert_eq!(shortest(-2.5e-5), "-2.5e-05");
        for value in [1.0 / 3.0, 1e300, 5e-324, -12345.678, 1e16, 1e17, 0.0001] {
            assert_eq!(shortest(value).parse::<f64>().unwrap(), value);
        }
    }

    #[test]
    fn whole_numbers_are_read_from_any_notation() {
        for (text, number) in [("12", 12), ("-3", -3), ("100.9", 100), ("1e3", 1000), ("+7", 7)] {
            assert_eq!(whole(text).unwrap(), number);
        }
        assert!(whole("x").is_err());
        assert!(whole("").is_err());
        assert!(whole("inf").is_err());
    }
}
