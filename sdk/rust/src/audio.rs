//! From samples to spectrograms: framing, short-time Fourier transform, mel filters.
//!
//! Every step is a host kernel on a handle; no sample enters the plugin's memory. The conventions are
//! librosa's: frames are centered on multiples of the hop, the edges are reflected, windows are periodic.
//!
//! ```no_run
//! use aimass_sdk::audio::{Mel, Stft};
//! use aimass_sdk::media::decode_audio;
//! # fn features(file: &[u8]) -> aimass_sdk::Result<aimass_sdk::Tensor> {
//! let sound = decode_audio(file)?;
//! let power = Stft::hann(400, 160).power(&sound.samples)?;
//! let mel = Mel { rate: sound.rate, fft: 400, bands: 80, low_hz: 0.0, high_hz: 8_000.0 };
//! aimass_sdk::audio::log(&mel.bands_of(&power)?, 1e-10)
//! # }
//! ```

use crate::call::Parameter;
use crate::error::{Error, Result};
use crate::ops;
use crate::tensor::Tensor;

/// Samples of a frame at most.
const FFT_MAX: u64 = 1 << 16;
/// Numbers that all frames of one call have together at most.
const FRAMED_MAX: u64 = 1 << 26;
/// Mel bands at most.
const BANDS_MAX: u64 = 1 << 10;

/// A short-time Fourier transform.
#[derive(Clone, Debug)]
pub struct Stft {
    /// What each frame is multiplied with; as many numbers as a frame has samples.
    pub window: Vec<f32>,
    /// Samples from one frame to the next.
    pub hop: u64,
    /// Whether frames lie around their position, the edges being reflected; else they begin there, and the
    /// last samples may be in no frame.
    pub center: bool,
}

impl Stft {
    /// Centered frames of `fft` samples under a periodic Hann window.
    #[must_use]
    pub fn hann(fft: u64, hop: u64) -> Stft {
        Stft { window: hann(fft), hop, center: true }
    }

    /// Power of each frequency, `|X|^2`: f32 `[frames, fft / 2 + 1]`.
    ///
    /// `samples` is f32 `[n]`, or `[n, channels]`, whose mean is taken.
    ///
    /// # Errors
    /// `input/stft` for a window or a hop that cannot be, and fewer samples than a frame takes;
    /// `limit/frames` beyond 64 Mi numbers; `limit/host-bytes`.
    pub fn power(&self, samples: &Tensor) -> Result<Tensor> {
        let fft = self.window.len() as u64;
        if !(2..=FFT_MAX).contains(&fft) || self.hop == 0 {
            let hop = self.hop;
            let message =
                format!("expected frames of 2 to {FFT_MAX} samples and a hop, got {fft} and {hop}");
            return Err(Error::input("stft", message));
        }
        let x = self.padded(mono(samples)?, fft)?;
        let [n] = x.extents()?;
        let frames = frames(n, fft, self.hop)?;
        let starts = iota([frames, 1], 0, self.hop)?;
        let indices = ops::run_one("add", &[&starts, &iota([1, fft], 1, 1)?], &[])?;
        let framed = ops::run_one("gather", &[&x, &indices], &[("axis", Parameter::Integer(0))])?;
        let window = Tensor::from_f32(&[fft], &self.window)?;
        let framed = ops::run_one("mul", &[&framed, &window], &[])?.reshape(&[frames, fft, 1])?;
        // A transform takes pairs; the imaginary part is 0.
        let complex = padded(&framed, [vec![0, 0, 0], vec![0, 0, 1]], "constant")?;
        let inverse = ("inverse", Parameter::Boolean(false));
        let axis = ("axis", Parameter::Integer(1));
        let transformed = ops::run_one("fft", &[&complex], &[axis, inverse])?;
        let half = ops::slice(&transformed, 1, 0, fft / 2 + 1, 1)?;
        let squares = ops::run_one("mul", &[&half, &half], &[])?;
        let axes = ("axes", Parameter::Integers(vec![2]));
        ops::run_one("reduce-sum", &[&squares], &[axes, ("keep", Parameter::Boolean(false))])
    }

    fn padded(&self, x: Tensor, fft: u64) -> Result<Tensor> {
        if !self.center {
            return Ok(x);
        }
        let [n] = x.extents()?;
        if n <= fft / 2 {
            let message = format!("expected more than {} samples, got {n}", fft / 2);
            return Err(Error::input("stft", message));
        }
        let edge = vec![(fft / 2) as i64];
        padded(&x, [edge.clone(), edge], "reflect")
    }
}

/// Bands of equal width on the mel scale (Slaney's, each band of area 1: librosa's default).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mel {
    /// Samples a second.
    pub rate: u32,
    /// Samples of a frame.
    pub fft: u64,
    /// How many bands.
    pub bands: u64,
    /// Where the first band begins.
    pub low_hz: f64,
    /// Where the last band ends; at most half the rate.
    pub high_hz: f64,
}

impl Mel {
    /// Energy of each band: f32 `[frames, bands]` of the power `[frames, fft / 2 + 1]`.
    ///
    /// # Errors
    /// `input/mel` for settings that cannot be; `input/shape` for the power of other frames.
    pub fn bands_of(&self, power: &Tensor) -> Result<Tensor> {
        let filters = self.filters()?;
        let filters = Tensor::from_f32(&[self.fft / 2 + 1, self.bands], &filters)?;
        ops::run_one("matmul", &[power, &filters], &[])
    }

    /// Weights of each frequency in each band, `[fft / 2 + 1, bands]`, row-major.
    ///
    /// # Errors
    /// `input/mel` for settings that cannot be.
    pub fn filters(&self) -> Result<Vec<f32>> {
        let Mel { rate, fft, bands, low_hz, high_hz } = *self;
        let counts = (2..=FFT_MAX).contains(&fft) && (1..=BANDS_MAX).contains(&bands) && rate > 0;
        // A frequency that is no number is outside of every range.
        let nyquist = f64::from(rate) / 2.0;
        if !(counts && 0.0 <= low_hz && low_hz < high_hz && high_hz <= nyquist) {
            let message = format!(
                "expected frames of 2 to {FFT_MAX} samples, 1 to {BANDS_MAX} bands, and frequencies \
                 from 0 to half the rate, got {self:?}"
            );
            return Err(Error::input("mel", message));
        }
        let (low, high) = (mel_of(low_hz), mel_of(high_hz));
        let step = (high - low) / (bands + 1) as f64;
        let edges: Vec<f64> = (0..bands + 2).map(|edge| hz_of(low + step * edge as f64)).collect();
        let frequencies = (0..=fft / 2).map(|bin| bin as f64 * f64::from(rate) / fft as f64);
        let weight = |frequency: f64, band: &[f64]| {
            let rising = (frequency - band[0]) / (band[1] - band[0]);
            let falling = (band[2] - frequency) / (band[2] - band[1]);
            (rising.min(falling).max(0.0) * 2.0 / (band[2] - band[0])) as f32
        };
        Ok(frequencies
            .flat_map(|frequency| edges.windows(3).map(move |band| weight(frequency, band)))
            .collect())
    }
}

/// Natural logarithm of `x`, of `floor` where it is less.
///
/// # Errors
/// `input/dtype` for integers.
pub fn log(x: &Tensor, floor: f64) -> Result<Tensor> {
    let bounds = [("low", Parameter::Float(floor)), ("high", Parameter::Float(f64::INFINITY))];
    ops::run_one("log", &[&ops::run_one("clamp", &[x], &bounds)?], &[])
}

/// A periodic Hann window of `len` numbers.
#[must_use]
pub fn hann(len: u64) -> Vec<f32> {
    let turn = core::f64::consts::TAU / len as f64;
    (0..len).map(|index| (0.5 - 0.5 * (turn * index as f64).cos()) as f32).collect()
}

/// Slaney's scale: linear to 1 kHz, logarithmic beyond.
const BREAK_HZ: f64 = 1_000.0;
const LINEAR_HZ: f64 = 200.0 / 3.0;

fn log_step() -> f64 {
    6.4f64.ln() / 27.0
}

fn mel_of(hz: f64) -> f64 {
    if hz < BREAK_HZ {
        return hz / LINEAR_HZ;
    }
    BREAK_HZ / LINEAR_HZ + (hz / BREAK_HZ).ln() / log_step()
}

fn hz_of(mel: f64) -> f64 {
    let at_break = BREAK_HZ / LINEAR_HZ;
    if mel < at_break {
        return mel * LINEAR_HZ;
    }
    BREAK_HZ * ((mel - at_break) * log_step()).exp()
}

fn mono(samples: &Tensor) -> Result<Tensor> {
    match samples.shape().as_slice() {
        [_] => samples.share(),
        [n, 1] => samples.reshape(&[*n]),
        [_, _] => {
            let axes = ("axes", Parameter::Integers(vec![1]));
            ops::run_one("reduce-mean", &[samples], &[axes, ("keep", Parameter::Boolean(false))])
        }
        shape => {
            let message = format!("expected samples [n] or [n, channels], got shape {shape:?}");
            Err(Error::input("shape", message))
        }
    }
}

/// How many frames of `fft` samples begin every `hop` of `n`.
fn frames(n: u64, fft: u64, hop: u64) -> Result<u64> {
    let Some(rest) = n.checked_sub(fft) else {
        return Err(Error::input("stft", format!("expected at least {fft} samples, got {n}")));
    };
    let frames = 1 + rest / hop;
    if frames.saturating_mul(fft) > FRAMED_MAX {
        let message = format!(
            "expected at most {FRAMED_MAX} numbers in all frames, got {frames} frames of {fft}; \
             cut the sound, or take a longer hop"
        );
        return Err(Error::limit("frames", message));
    }
    Ok(frames)
}

fn iota(dims: [u64; 2], axis: i64, step: u64) -> Result<Tensor> {
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let attributes = [
        ("dims", Parameter::Integers(dims.map(whole).to_vec())),
        ("axis", Parameter::Integer(axis)),
        ("start", Parameter::Integer(0)),
        ("step", Parameter::Integer(whole(step))),
    ];
    ops::run_one("iota", &[], &attributes)
}

fn padded(x: &Tensor, [before, after]: [Vec<i64>; 2], mode: &str) -> Result<Tensor> {
    let attributes = [
        ("before", Parameter::Integers(before)),
        ("after", Parameter::Integers(after)),
        ("mode", Parameter::Text(mode.to_owned())),
    ];
    ops::run_one("pad", &[x], &attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mel() -> Mel {
        Mel { rate: 16_000, fft: 16, bands: 3, low_hz: 0.0, high_hz: 8_000.0 }
    }

    #[test]
    fn frames_are_those_that_are_whole() {
        assert_eq!(frames(400, 400, 160), Ok(1));
        assert_eq!(frames(719, 400, 160), Ok(2));
        assert_eq!(frames(720, 400, 160), Ok(3));
        assert_eq!(frames(399, 400, 160).unwrap_err().code, "stft");
        assert_eq!(frames(u64::MAX, 400, 1).unwrap_err().code, "frames");
    }

    #[test]
    fn mel_is_linear_to_1_khz_and_logarithmic_beyond() {
        for (hz, mel) in [(500.0, 7.5), (1_000.0, 15.0), (6_400.0, 42.0)] {
            assert!((mel_of(hz) - mel).abs() < 1e-9, "{hz} Hz: {}", mel_of(hz));
        }
        for hz in [0.0, 440.0, 1_000.0, 7_999.0] {
            assert!((hz_of(mel_of(hz)) - hz).abs() < 1e-9, "{hz}");
        }
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        assert!(mel().filters().is_ok());
        for wrong in [
            Mel { rate: 0, ..mel() },
            Mel { fft: 1, ..mel() },
            Mel { bands: 0, ..mel() },
            Mel { bands: 1_025, ..mel() },
            Mel { low_hz: -1.0, ..mel() },
            Mel { low_hz: 8_000.0, ..mel() },
            Mel { high_hz: 8_001.0, ..mel() },
            Mel { high_hz: f64::NAN, ..mel() },
        ] {
            assert_eq!(
                wrong.filters().map_err(|error| error.code),
                Err("mel".to_owned()),
                "{wrong:?}"
            );
        }
    }
}
