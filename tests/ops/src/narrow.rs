//! Floats of 8 and 16 bits by their definition: a code is a number, a number is the nearest code.

use aimass_tensor::DType;

/// What codes with the largest magnitudes mean.
#[derive(Clone, Copy, PartialEq)]
enum Top {
    /// Infinity, then NaN (IEEE 754).
    Infinity,
    /// One NaN a sign, no infinity (OCP E4M3).
    Nan,
    /// A number; NaN has the code of negative zero (FNUZ).
    Number,
}

/// Layout of a narrow float.
#[derive(Clone, Copy)]
pub(crate) struct Format {
    bits: u32,
    mantissa: u32,
    bias: i32,
    top: Top,
}

impl Format {
    /// The layout of a float dtype below 32 bits.
    pub(crate) fn of(dtype: DType) -> Option<Format> {
        let format = |bits, mantissa, bias, top| Some(Format { bits, mantissa, bias, top });
        match dtype {
            DType::F16 => format(16, 10, 15, Top::Infinity),
            DType::Bf16 => format(16, 7, 127, Top::Infinity),
            DType::F8E4m3 => format(8, 3, 7, Top::Nan),
            DType::F8E5m2 => format(8, 2, 15, Top::Infinity),
            DType::F8E4m3Fnuz => format(8, 3, 8, Top::Number),
            DType::F8E5m2Fnuz => format(8, 2, 16, Top::Number),
            _ => None,
        }
    }

    fn sign(self) -> u32 {
        1 << (self.bits - 1)
    }

    /// Largest magnitude that is a finite number.
    fn last(self) -> u32 {
        match self.top {
            Top::Infinity => self.sign() - (1 << self.mantissa) - 1,
            Top::Nan => self.sign() - 2,
            Top::Number => self.sign() - 1,
        }
    }

    /// The number of a magnitude, as if no code had another meaning.
    fn magnitude(self, code: u32) -> f64 {
        let (exponent, mantissa) = (code >> self.mantissa, code & ((1 << self.mantissa) - 1));
        let fraction = f64::from(mantissa) / f64::from(1 << self.mantissa);
        match exponent {
            0 => fraction * 2f64.powi(1 - self.bias),
            _ => (1.0 + fraction) * 2f64.powi(exponent as i32 - self.bias),
        }
    }

    /// The number that a code is.
    pub(crate) fn decode(self, code: u32) -> f64 {
        let (sign, magnitude) = (code & self.sign(), code & (self.sign() - 1));
        let value = match (magnitude > self.last(), self.top) {
            (false, Top::Number) if magnitude == 0 && sign != 0 => f64::NAN,
            (false, _) => self.magnitude(magnitude),
            (true, Top::Infinity) if magnitude == self.last() + 1 => f64::INFINITY,
            (true, _) => f64::NAN,
        };
        if sign == 0 { value } else { -value }
    }

    /// The code of the nearest number, halves to even; overflow without saturation.
    pub(crate) fn encode(self, x: f64) -> u32 {
        let sign = if x.is_sign_negative() { self.sign() } else { 0 };
        let nan = match self.top {
            Top::Infinity => sign | (self.last() + 1) | (1 << (self.mantissa - 1)),
            Top::Nan => sign | (self.last() + 1),
            Top::Number => self.sign(),
        };
        if x.is_nan() {
            return nan;
        }
        // The first magnitude above `x`, by bisection.
        let (mut low, mut high) = (0, self.last() + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match self.magnitude(middle) <= x.abs() {
                true => low = middle,
                false => high = middle,
            }
        }
        let half = (self.magnitude(low) + self.magnitude(low + 1)) / 2.0;
        let up = x.abs() > half || (x.abs() == half && low % 2 == 1);
        match (if up { low + 1 } else { low }, self.top) {
            (code, Top::Infinity) if code > self.last() => sign | (self.last() + 1),
            (code, _) if code > self.last() => nan,
            (0, Top::Number) => 0,
            (code, _) => sign | code,
        }
    }
}
