//! A picture of whatever format: opened by its headers, decoded into the caller's memory.

use crate::channels::Channels;
use crate::error::{Format, MediaError};
use crate::jpeg::Jpeg;
use crate::limits::Limits;
use crate::orientation::Orientation;
use crate::png_image::Png;
use crate::webp::WebP;

/// A picture whose headers were read and are within limits.
#[derive(Debug)]
pub struct Image<'a> {
    coded: Coded<'a>,
    orientation: Orientation,
    /// As stored, before it is turned.
    stored: (u32, u32),
}

#[derive(Debug)]
enum Coded<'a> {
    Jpeg(Jpeg<'a>),
    Png(Png<'a>),
    WebP(WebP<'a>),
}

/// What a format's header said.
#[derive(Debug)]
pub(crate) struct Opened<T> {
    pub(crate) coded: T,
    pub(crate) size: (u32, u32),
    pub(crate) orientation: Orientation,
}

impl<'a> Image<'a> {
    /// Reads the headers of a JPEG, PNG or WebP file; allocates no more than an error takes.
    ///
    /// # Errors
    /// [`MediaError::Pixels`] beyond the limit, [`MediaError::Unknown`] for another format, and what the
    /// headers of the format may break.
    pub fn open(data: &'a [u8], limits: &Limits) -> Result<Image<'a>, MediaError> {
        match data {
            [0xff, 0xd8, ..] => Ok(Image::of(Jpeg::open(data, limits)?, Coded::Jpeg)),
            [0x89, b'P', b'N', b'G', ..] => Ok(Image::of(Png::open(data, limits)?, Coded::Png)),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => {
                Ok(Image::of(WebP::open(data, limits)?, Coded::WebP))
            }
            _ => Err(MediaError::unknown("a JPEG, PNG or WebP file", data)),
        }
    }

    fn of<T>(opened: Opened<T>, coded: impl FnOnce(T) -> Coded<'a>) -> Image<'a> {
        let Opened { coded: own, size, orientation } = opened;
        Image { coded: coded(own), orientation, stored: size }
    }

    /// Columns of what is decoded, upright.
    pub fn width(&self) -> u32 {
        self.orientation.turned(self.stored).0
    }

    /// Rows of what is decoded, upright.
    pub fn height(&self) -> u32 {
        self.orientation.turned(self.stored).1
    }

    /// Width times height.
    pub fn pixels(&self) -> u64 {
        u64::from(self.stored.0) * u64::from(self.stored.1)
    }

    /// Bytes of the decoded pixels.
    pub fn output_bytes(&self, channels: Channels) -> usize {
        self.pixels() as usize * channels.count()
    }

    /// Bytes that decoding allocates at once beside its output, at most.
    pub fn working_bytes(&self, channels: Channels) -> usize {
        let turned = if self.orientation.is_upright() { 0 } else { self.output_bytes(channels) };
        turned
            + match &self.coded {
                Coded::Jpeg(jpeg) => jpeg.working_bytes(channels),
                Coded::Png(png) => png.working_bytes(channels),
                Coded::WebP(webp) => webp.working_bytes(channels),
            }
    }

    /// Writes the pixels, row-major `[height, width, channels]`, to `out`, whose content is of no use if
    /// this fails.
    ///
    /// # Errors
    /// [`MediaError::OutputSize`] unless `out` has [`Image::output_bytes`]; what the data may break.
    pub fn decode(&self, channels: Channels, out: &mut [u8]) -> Result<(), MediaError> {
        let expected = self.output_bytes(channels);
        if out.len() != expected {
            return Err(MediaError::OutputSize { expected, got: out.len() });
        }
        if self.orientation.is_upright() {
            return self.decode_stored(channels, out);
        }
        let mut stored = vec![0; expected];
        self.decode_stored(channels, &mut stored)?;
        self.orientation.apply(&stored, self.stored.0 as usize, channels.count(), out);
        Ok(())
    }

    fn decode_stored(&self, channels: Channels, out: &mut [u8]) -> Result<(), MediaError> {
        match &self.coded {
            Coded::Jpeg(jpeg) => jpeg.decode(channels, out),
            Coded::Png(png) => png.decode(channels, out),
            Coded::WebP(webp) => webp.decode(channels, out),
        }
    }
}

/// Most pixels whatever the limit says, so that byte counts stay far from overflow.
const PIXELS_CEILING: u64 = 1 << 36;

/// Refuses what has no pixels, or too many.
pub(crate) fn check_pixels(
    format: Format,
    (width, height): (u32, u32),
    limits: &Limits,
) -> Result<(), MediaError> {
    let max = limits.pixels_max.min(PIXELS_CEILING);
    if width == 0 || height == 0 {
        return Err(MediaError::broken(format, format!("a picture of {width} x {height}")));
    }
    if u64::from(width) * u64::from(height) > max {
        return Err(MediaError::Pixels { format, width, height, max });
    }
    Ok(())
}
