//! JPEG (ITU-T T.81): a walk over the segments, then `zune-jpeg`.

use crate::channels::{Channels, Layout, convert};
use crate::error::{Format, MediaError};
use crate::image::{Opened, check_pixels};
use crate::limits::Limits;
use crate::orientation::Orientation;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

/// Scans of a progressive file; encoders write about ten. Each costs a pass over all blocks.
const SCANS_MAX: usize = 32;
/// Segments before the first scan; the decoder's work on metadata grows with their square.
const SEGMENTS_MAX: usize = 1_000;
/// Pixels that a byte of data can stand for: one bit a block of 64.
const PIXELS_A_BYTE_MAX: u64 = 512;
/// Tables and the decoder itself.
const TABLE_BYTES: usize = 512 << 10;

/// A file whose first frame header was read.
#[derive(Debug)]
pub(crate) struct Jpeg<'a> {
    data: &'a [u8],
    frame: Frame,
    color: Color,
    /// Whether all coefficients are held before the first pixel comes.
    whole: bool,
}

/// What the start of frame says.
#[derive(Debug, Clone, Copy)]
struct Frame {
    progressive: bool,
    size: (u32, u32),
    components: usize,
    /// Identifier, horizontal and vertical sampling.
    parts: [(u8, u8, u8); 4],
}

/// What the components stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Color {
    Gray,
    Rgb,
    YCbCr,
    /// Stored inverted, 255 being no ink, as nearly all writers do; Pillow assumes the same.
    Cmyk,
    Ycck,
}

/// What a walk over the segments finds.
#[derive(Default)]
struct Found {
    frame: Option<Frame>,
    /// The color transform of an Adobe segment.
    adobe: Option<u8>,
    orientation: Orientation,
}

fn broken(reason: impl std::fmt::Display) -> MediaError {
    MediaError::broken(Format::Jpeg, reason)
}

fn unsupported(what: impl Into<String>) -> MediaError {
    let expected = "8-bit baseline or progressive JPEG with Huffman coding";
    MediaError::Unsupported { format: Format::Jpeg, what: what.into(), expected }
}

impl<'a> Jpeg<'a> {
    pub(crate) fn open(data: &'a [u8], limits: &Limits) -> Result<Opened<Jpeg<'a>>, MediaError> {
        let (found, scan_components) = walk(data)?;
        let frame = found.frame.ok_or_else(|| broken("expected a frame before the first scan"))?;
        check_pixels(Format::Jpeg, frame.size, limits)?;
        let (width, height) = frame.size;
        let takes = (u64::from(width) * u64::from(height)).div_ceil(PIXELS_A_BYTE_MAX);
        let left = data.len() as u64;
        if left < takes {
            let what = "a picture of that size";
            return Err(MediaError::Truncated { format: Format::Jpeg, what, takes, left });
        }
        let color = color(&frame, found.adobe)?;
        let whole = frame.progressive || scan_components != frame.components;
        let coded = Jpeg { data, frame, color, whole };
        Ok(Opened { coded, size: frame.size, orientation: found.orientation })
    }

    /// What the decoder is asked for, and what it then makes.
    fn output(&self, channels: Channels) -> (ColorSpace, Layout) {
        match (self.color, channels) {
            (Color::Gray | Color::YCbCr, Channels::Gray) => (ColorSpace::Luma, Layout::Gray),
            (Color::Gray | Color::YCbCr | Color::Ycck, Channels::Rgba) => {
                (ColorSpace::RGBA, Layout::Rgba)
            }
            (Color::Gray | Color::YCbCr | Color::Rgb | Color::Ycck, _) => {
                (ColorSpace::RGB, Layout::Rgb)
            }
            (Color::Cmyk, _) => (ColorSpace::CMYK, Layout::InvertedCmyk),
        }
    }

    pub(crate) fn working_bytes(&self, channels: Channels) -> usize {
        let Frame { size: (width, height), components, parts, .. } = self.frame;
        let parts = &parts[..components];
        let across = parts.iter().map(|&(_, across, _)| usize::from(across)).max().unwrap_or(1);
        let down = parts.iter().map(|&(_, _, down)| usize::from(down)).max().unwrap_or(1);
        let columns = (width as usize).div_ceil(8 * across);
        let rows = (height as usize).div_ceil(8 * down);
        // A coefficient is an i16. Rows of blocks are held a few times, stretched to full size.
        let blocks = |&(_, across, down): &(u8, u8, u8)| usize::from(across) * usize::from(down);
        let coefficients: usize =
            parts.iter().map(|part| 2 * 64 * columns * rows * blocks(part)).sum();
        let lines = components * columns * across * 8 * down * 8 * 2 * 8;
        let (_, layout) = self.output(channels);
        let converted = if layout.is(channels) { 0 } else { layout.count() };
        TABLE_BYTES
            + 2 * self.data.len()
            + lines
            + if self.whole { coefficients } else { 0 }
            + width as usize * height as usize * converted
    }

    pub(crate) fn decode(&self, channels: Channels, out: &mut [u8]) -> Result<(), MediaError> {
        let (space, layout) = self.output(channels);
        let (width, height) = self.frame.size;
        let options = DecoderOptions::default()
            .set_max_width(width as usize)
            .set_max_height(height as usize)
            .set_strict_mode(true)
            .jpeg_set_max_scans(SCANS_MAX)
            .jpeg_set_out_colorspace(space);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(self.data), options);
        if layout.is(channels) {
            return decode_into(&mut decoder, out);
        }
        let mut pixels = vec![0; width as usize * height as usize * layout.count()];
        decode_into(&mut decoder, &mut pixels)?;
        convert(layout, &pixels, channels, out);
        Ok(())
    }
}

fn decode_into(
    decoder: &mut JpegDecoder<ZCursor<&[u8]>>,
    out: &mut [u8],
) -> Result<(), MediaError> {
    let refused = |error: DecodeErrors| match error {
        DecodeErrors::Unsupported(what) => unsupported(format!("{what:?}")),
        error => broken(format!("{error:?}")),
    };
    decoder.decode_headers().map_err(refused)?;
    if decoder.output_buffer_size() != Some(out.len()) {
        return Err(broken("two frames of different sizes"));
    }
    decoder.decode_into(out).map_err(refused)
}

fn color(frame: &Frame, adobe: Option<u8>) -> Result<Color, MediaError> {
    let named_rgb = frame.parts.map(|(id, _, _)| id).starts_with(b"RGB");
    match (frame.components, adobe) {
        (1, _) => Ok(Color::Gray),
        (3, _) if named_rgb => Ok(Color::Rgb),
        (3, Some(0)) => Ok(Color::Rgb),
        (3, None | Some(1)) => Ok(Color::YCbCr),
        (4, Some(2)) => Ok(Color::Ycck),
        (4, _) => Ok(Color::Cmyk),
        (components, _) => Err(unsupported(format!("a picture of {components} components"))),
    }
}

/// Reads segments up to the first scan; answers what they say and how many components that scan has.
fn walk(data: &[u8]) -> Result<(Found, usize), MediaError> {
    let mut found = Found::default();
    let mut at = 2;
    for _ in 0..SEGMENTS_MAX {
        let (marker, body, next) = segment(data, at)?;
        at = next;
        match marker {
            0xc0..=0xc2 => found.frame = Some(frame(marker, body, found.frame)?),
            0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                let names = "a lossless, hierarchical or arithmetic-coded frame";
                return Err(unsupported(format!("{names} (SOF{})", marker - 0xc0)));
            }
            0xda => {
                let components = body.first().copied().unwrap_or_default();
                return Ok((found, usize::from(components)));
            }
            0xd9 => return Err(broken("expected a scan before the end of the image")),
            0xe1 => {
                if let Some(exif) = body.strip_prefix(b"Exif\0\0") {
                    found.orientation = Orientation::of_exif(exif);
                }
            }
            0xee if body.starts_with(b"Adobe") => found.adobe = body.get(11).copied(),
            _ => {}
        }
    }
    Err(broken(format!("expected at most {SEGMENTS_MAX} segments before the first scan")))
}

/// The segment at `at`: its marker, its body, and where the next one starts.
fn segment(data: &[u8], mut at: usize) -> Result<(u8, &[u8], usize), MediaError> {
    let left = |at: usize| data.len().saturating_sub(at) as u64;
    let cut = |takes, at| {
        let what = "a segment";
        MediaError::Truncated { format: Format::Jpeg, what, takes, left: left(at) }
    };
    // Writers may put bytes of 0xff before a marker.
    while data.get(at) == Some(&0xff) && matches!(data.get(at + 1), Some(&0xff)) {
        at += 1;
    }
    match data.get(at..at.saturating_add(4)) {
        Some(&[0xff, 0xd9, ..]) => Ok((0xd9, &[], at + 2)),
        Some(&[0xff, marker, high, low]) if !matches!(marker, 0 | 0x01 | 0xd0..=0xd8) => {
            let len = usize::from(u16::from_be_bytes([high, low]));
            let body = data.get(at + 4..at + 2 + len.max(2)).filter(|_| len >= 2);
            let body = body.ok_or_else(|| cut(len as u64, at))?;
            Ok((marker, body, at + 2 + len))
        }
        Some(&[first, second, ..]) => {
            Err(broken(format!("expected a marker at byte {at}, got {first:02x} {second:02x}")))
        }
        Some(_) | None => Err(cut(4, at)),
    }
}

fn frame(marker: u8, body: &[u8], before: Option<Frame>) -> Result<Frame, MediaError> {
    if before.is_some() {
        return Err(broken("expected one frame, got two"));
    }
    let &[precision, h1, h0, w1, w0, components, ref rest @ ..] = body else {
        return Err(broken("the start of frame is too short"));
    };
    if precision != 8 {
        return Err(unsupported(format!("a sample of {precision} bits")));
    }
    let mut parts = [(0, 1, 1); 4];
    let components = usize::from(components);
    if components > parts.len() || rest.len() != 3 * components {
        return Err(broken(format!("a start of frame with {components} components")));
    }
    for (part, bytes) in parts.iter_mut().zip(rest.as_chunks::<3>().0) {
        let [id, sampling, _] = *bytes;
        let (across, down) = (sampling >> 4, sampling & 15);
        if !(1..=4).contains(&across) || !(1..=4).contains(&down) {
            return Err(broken(format!("expected sampling of 1 to 4, got {across} x {down}")));
        }
        *part = (id, across, down);
    }
    let size = (u16::from_be_bytes([w1, w0]).into(), u16::from_be_bytes([h1, h0]).into());
    Ok(Frame { progressive: marker == 0xc2, size, components, parts })
}
