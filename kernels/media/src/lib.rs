//! Compressed media to samples: JPEG, PNG and WebP to bytes of pixels, WAV to floats.
//!
//! Opening reads headers only and allocates nothing that an author of a file can choose: sizes are
//! held against [`Limits`], and [`Image::working_bytes`] says beforehand what decoding will take. Pixels go
//! into memory of the caller. A file that is cut off or broken is an error, never half a picture.
//!
//! What a picture becomes:
//!
//! | file has          | 1 channel asked                  | 3 channels | 4 channels       |
//! |-------------------|----------------------------------|------------|------------------|
//! | gray              | as it is                         | repeated   | repeated, opaque |
//! | color             | ITU-R BT.601 luma (JPEG: its own)| as it is   | opaque           |
//! | alpha             | dropped, not blended             | dropped    | as it is         |
//!
//! Palettes are expanded, fewer than 8 bits scaled to 0..=255, of 16 bits the upper 8 are taken. CMYK
//! and YCCK, which JPEG files hold inverted, become RGB by `(255 - c) * (255 - k) / 255`. Color
//! profiles and gamma are ignored. The EXIF orientation is applied, so that a picture comes upright, as
//! browsers show it. Of an animated PNG the still picture is decoded. Arithmetic-coded, lossless and
//! 12-bit JPEG and animated WebP are refused.
#![forbid(unsafe_code)]

mod channels;
mod error;
mod image;
mod jpeg;
mod limits;
mod orientation;
mod png_image;
mod wav;
mod webp;

pub use channels::Channels;
pub use error::{Format, MediaError};
pub use image::Image;
pub use limits::Limits;
pub use wav::Wav;
