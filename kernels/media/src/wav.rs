//! WAV: RIFF WAVE with PCM or IEEE float samples (Microsoft, `mmreg.h`; RFC 2361).

use crate::error::{Format, MediaError};
use crate::limits::Limits;

/// A sound whose headers were read and are within limits. Its samples are read where they lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wav<'a> {
    samples: &'a [u8],
    encoding: Encoding,
    channels: u16,
    rate: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;
/// What follows the format's number in a sub-format of the extensible header.
const SUBFORMAT: [u8; 14] = *b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71";

impl Encoding {
    fn bytes(self) -> usize {
        match self {
            Encoding::U8 => 1,
            Encoding::I16 => 2,
            Encoding::I24 => 3,
            Encoding::I32 | Encoding::F32 => 4,
            Encoding::F64 => 8,
        }
    }
}

fn broken(reason: impl std::fmt::Display) -> MediaError {
    MediaError::broken(Format::Wav, reason)
}

impl<'a> Wav<'a> {
    /// Reads the headers of a WAV file; allocates no more than an error takes.
    ///
    /// Chunks beside `fmt ` and `data` are passed over. The data must be there as long as it says: files
    /// of unknown length, as a pipe leaves them, are refused.
    ///
    /// # Errors
    /// [`MediaError::Samples`] beyond the limit, [`MediaError::Truncated`] if the file is shorter than it
    /// says, [`MediaError::Unsupported`] for compressed sound, and what the headers may break.
    pub fn open(data: &'a [u8], limits: &Limits) -> Result<Wav<'a>, MediaError> {
        let [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', chunks @ ..] = data else {
            return Err(MediaError::unknown("a WAV file (RIFF WAVE)", data));
        };
        let mut rest = chunks;
        let mut described = None;
        while let Some((head, after)) = rest.split_first_chunk::<8>() {
            let [n0, n1, n2, n3, l0, l1, l2, l3] = *head;
            let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
            let body = after.get(..len);
            match (&[n0, n1, n2, n3], body) {
                (b"fmt ", Some(body)) => described = Some(Wav::described(body)?),
                (b"data", body) => {
                    let wav = described.ok_or_else(|| broken("expected `fmt ` before `data`"))?;
                    return wav.with_samples(len, body.ok_or(after.len()), limits);
                }
                (_, Some(_)) => {}
                (_, None) => {
                    let (what, takes, left) = ("a chunk", len as u64, after.len() as u64);
                    return Err(MediaError::Truncated { format: Format::Wav, what, takes, left });
                }
            }
            rest = after.get(len + len % 2..).unwrap_or_default();
        }
        Err(broken("expected a `data` chunk"))
    }

    /// A sound without samples yet, of a `fmt ` chunk.
    fn described(body: &[u8]) -> Result<Wav<'a>, MediaError> {
        let (head, rest) = body.split_first_chunk::<16>().ok_or_else(|| {
            broken(format!("expected a `fmt ` chunk of at least 16 bytes, got {}", body.len()))
        })?;
        let [f0, f1, c0, c1, r0, r1, r2, r3, _, _, _, _, a0, a1, b0, b1] = *head;
        let (mut format, bits) = (u16::from_le_bytes([f0, f1]), u16::from_le_bytes([b0, b1]));
        if format == EXTENSIBLE {
            // Size, valid bits and speakers come before the sub-format.
            format = match rest.get(8..24) {
                Some([s0, s1, guid @ ..]) if *guid == SUBFORMAT => u16::from_le_bytes([*s0, *s1]),
                Some(_) => EXTENSIBLE,
                None => return Err(broken("the extensible `fmt ` chunk is too short")),
            };
        }
        let encoding = match (format, bits) {
            (PCM, 8) => Encoding::U8,
            (PCM, 16) => Encoding::I16,
            (PCM, 24) => Encoding::I24,
            (PCM, 32) => Encoding::I32,
            (FLOAT, 32) => Encoding::F32,
            (FLOAT, 64) => Encoding::F64,
            (format, bits) => {
                let what = format!("format {format:#06x} of {bits} bits");
                let expected = "PCM of 8, 16, 24 or 32 bits, or float of 32 or 64";
                return Err(MediaError::Unsupported { format: Format::Wav, what, expected });
            }
        };
        let (channels, rate) = (u16::from_le_bytes([c0, c1]), u32::from_le_bytes([r0, r1, r2, r3]));
        let align = usize::from(u16::from_le_bytes([a0, a1]));
        if channels == 0 || rate == 0 || align != usize::from(channels) * encoding.bytes() {
            let message =
                format!("{channels} channels of {bits} bits at {rate} Hz, {align} bytes a frame");
            return Err(broken(message));
        }
        Ok(Wav { samples: &[], encoding, channels, rate })
    }

    /// The same sound with its samples; `body` is they, or how many bytes there are instead.
    fn with_samples(
        self,
        len: usize,
        body: Result<&'a [u8], usize>,
        limits: &Limits,
    ) -> Result<Wav<'a>, MediaError> {
        let frame = usize::from(self.channels) * self.encoding.bytes();
        let frames = (len / frame) as u64;
        if frames * u64::from(self.channels) > limits.samples_max {
            let (channels, max) = (self.channels, limits.samples_max);
            return Err(MediaError::Samples { frames, channels, max });
        }
        let samples = body.map_err(|left| MediaError::Truncated {
            format: Format::Wav,
            what: "the `data` chunk",
            takes: len as u64,
            left: left as u64,
        })?;
        if samples.len() % frame != 0 {
            let message = format!("expected whole frames of {frame} bytes, got {len} bytes");
            return Err(broken(message));
        }
        Ok(Wav { samples, ..self })
    }

    /// Samples of each channel.
    pub fn frames(&self) -> usize {
        self.samples.len() / (usize::from(self.channels) * self.encoding.bytes())
    }

    /// Channels.
    pub fn channels(&self) -> usize {
        usize::from(self.channels)
    }

    /// Frames a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// Bytes of the decoded samples.
    pub fn output_bytes(&self) -> usize {
        self.frames() * self.channels() * size_of::<f32>()
    }

    /// Writes the samples as little-endian f32, `[frames, channels]`, to `out`.
    ///
    /// Integers are divided by their largest magnitude, so that they lie in -1 to 1; 32-bit integers and
    /// 64-bit floats are rounded to f32; floats are taken as they are, beyond 1 too.
    ///
    /// # Errors
    /// [`MediaError::OutputSize`] unless `out` has [`Wav::output_bytes`].
    pub fn decode(&self, out: &mut [u8]) -> Result<(), MediaError> {
        let expected = self.output_bytes();
        if out.len() != expected {
            return Err(MediaError::OutputSize { expected, got: out.len() });
        }
        match self.encoding {
            Encoding::U8 => self.each(out, |[byte]| (f32::from(byte) - 128.0) / 128.0),
            Encoding::I16 => {
                self.each(out, |bytes| f32::from(i16::from_le_bytes(bytes)) / 32_768.0)
            }
            Encoding::I24 => self.each(out, |[low, middle, high]| {
                // In the upper bytes, so that the sign is where an i32 has it.
                i32::from_le_bytes([0, low, middle, high]) as f32 / 2_147_483_648.0
            }),
            Encoding::I32 => {
                self.each(out, |bytes| i32::from_le_bytes(bytes) as f32 / 2_147_483_648.0);
            }
            Encoding::F32 => self.each(out, f32::from_le_bytes),
            Encoding::F64 => self.each(out, |bytes| f64::from_le_bytes(bytes) as f32),
        }
        Ok(())
    }

    fn each<const N: usize>(&self, out: &mut [u8], sample: impl Fn([u8; N]) -> f32) {
        let (samples, _) = self.samples.as_chunks::<N>();
        let (out, _) = out.as_chunks_mut::<4>();
        samples.iter().zip(out).for_each(|(bytes, out)| *out = sample(*bytes).to_le_bytes());
    }
}
