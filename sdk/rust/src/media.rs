//! Decoding of pictures and sound by the host. Needs the grant `media`.
//!
//! The host reads the headers first and refuses what is too large before any memory is taken; the decoded
//! tensor stays in the host. [`crate::image`] and [`crate::audio`] go on from there.

use crate::bindings::aimass::plugin::media;
use crate::error::Result;
use crate::tensor::Tensor;

/// The channels of a decoded picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// One: brightness.
    Gray,
    /// Three: red, green, blue.
    Rgb,
    /// Four: red, green, blue, alpha.
    Rgba,
}

impl Color {
    /// How many channels these are.
    #[must_use]
    pub fn channels(self) -> u32 {
        match self {
            Color::Gray => 1,
            Color::Rgb => 3,
            Color::Rgba => 4,
        }
    }
}

/// A JPEG, PNG or WebP file as u8 `[height, width, channels]`, upright: the EXIF orientation is applied.
///
/// Gray becomes color by repeating it, color becomes gray by ITU-R BT.601, alpha is dropped where it is
/// not asked for and opaque where there is none. Of 16 bits the upper 8 are taken; color profiles are
/// ignored.
///
/// # Errors
/// `input/media` for a file that is broken, cut off, or of another kind; `limit/pixels` (64 Mi unless the
/// operator says otherwise); `limit/host-bytes`.
pub fn decode_image(data: &[u8], color: Color) -> Result<Tensor> {
    media::decode_image(data, color.channels())
}

/// A sound.
#[derive(Debug)]
pub struct Sound {
    /// f32 `[frames, channels]`; integers of the file are scaled to -1 to 1.
    pub samples: Tensor,
    /// Frames a second.
    pub rate: u32,
}

/// A WAV file: PCM of 8, 16, 24 or 32 bits, or float of 32 or 64.
///
/// # Errors
/// `input/media` for a file that is broken, cut off, or of another kind; `limit/samples` (64 Mi unless the
/// operator says otherwise); `limit/host-bytes`.
pub fn decode_audio(data: &[u8]) -> Result<Sound> {
    let (samples, rate) = media::decode_audio(data)?;
    Ok(Sound { samples, rate })
}
