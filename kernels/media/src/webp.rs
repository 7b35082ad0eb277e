//! WebP (RFC 9649): a walk over the chunks, then `image-webp`.

use crate::channels::{Channels, Layout, convert};
use crate::error::{Format, MediaError};
use crate::image::{Opened, check_pixels};
use crate::limits::Limits;
use crate::orientation::Orientation;
use image_webp::{DecodingError, WebPDecoder};
use std::io::Cursor;

/// Bytes of code tables that a byte of lossless data can ask for: 4 KiB for a code of 14 bytes.
const TABLES_A_BYTE: usize = 300;
/// Bytes of all code tables of lossless data: five codes of at most 65,536 groups.
const TABLE_BYTES_MAX: usize = 65_536 * 5 * 4_200;
/// Chunks of a file.
const CHUNKS_MAX: usize = 1_000;
/// The decoder itself.
const OWN_BYTES: usize = 256 << 10;

/// A file whose chunks were listed.
#[derive(Debug)]
pub(crate) struct WebP<'a> {
    data: &'a [u8],
    size: (u32, u32),
    lossless: bool,
    alpha_bytes: usize,
}

/// What a walk over the chunks finds.
#[derive(Default)]
struct Found {
    canvas: Option<(u32, u32)>,
    /// Size, and whether it is lossless.
    picture: Option<((u32, u32), bool)>,
    alpha_bytes: usize,
    orientation: Orientation,
}

fn broken(reason: impl std::fmt::Display) -> MediaError {
    MediaError::broken(Format::WebP, reason)
}

impl<'a> WebP<'a> {
    pub(crate) fn open(data: &'a [u8], limits: &Limits) -> Result<Opened<WebP<'a>>, MediaError> {
        let Found { canvas, picture, alpha_bytes, orientation } = walk(data)?;
        let (size, lossless) = picture.ok_or_else(|| broken("expected a VP8 or VP8L chunk"))?;
        check_pixels(Format::WebP, size, limits)?;
        if let Some(canvas) = canvas.filter(|canvas| *canvas != size) {
            return Err(broken(format!("a picture of {size:?} on a canvas of {canvas:?}")));
        }
        let coded = WebP { data, size, lossless, alpha_bytes };
        Ok(Opened { coded, size, orientation })
    }

    pub(crate) fn working_bytes(&self, _: Channels) -> usize {
        let (width, height) = (self.size.0 as usize, self.size.1 as usize);
        let pixels = width * height;
        // Lossless pixels, four bytes each, and four transforms that a 16th of the pixels holds.
        let lossless = 4 * pixels + pixels + pixels / 4;
        let tables = |bytes: usize| (TABLES_A_BYTE * bytes).min(TABLE_BYTES_MAX);
        let planes = width.next_multiple_of(16) * height.next_multiple_of(16) * 3 / 2;
        let coded = match (self.lossless, self.alpha_bytes) {
            (true, _) => lossless + tables(self.data.len()),
            (false, 0) => planes,
            (false, alpha) => planes + lossless + 2 * pixels + tables(alpha),
        };
        // Before it is converted, a pixel has up to four bytes.
        OWN_BYTES + 2 * self.data.len() + coded + 4 * pixels
    }

    pub(crate) fn decode(&self, channels: Channels, out: &mut [u8]) -> Result<(), MediaError> {
        let mut decoder = WebPDecoder::new(Cursor::new(self.data)).map_err(refused)?;
        decoder.set_memory_limit(self.working_bytes(channels));
        let layout = if decoder.has_alpha() { Layout::Rgba } else { Layout::Rgb };
        if decoder.dimensions() != self.size || decoder.is_animated() {
            return Err(broken("expected one picture of the size that its header says"));
        }
        if layout.is(channels) {
            return decoder.read_image(out).map_err(refused);
        }
        let pixels = self.size.0 as usize * self.size.1 as usize;
        let mut decoded = vec![0; pixels * layout.count()];
        decoder.read_image(&mut decoded).map_err(refused)?;
        convert(layout, &decoded, channels, out);
        Ok(())
    }
}

fn refused(error: DecodingError) -> MediaError {
    broken(error)
}

fn walk(data: &[u8]) -> Result<Found, MediaError> {
    let mut found = Found::default();
    let mut rest = &data[12..];
    for _ in 0..CHUNKS_MAX {
        let Some((head, after)) = rest.split_first_chunk::<8>() else { return Ok(found) };
        let [n0, n1, n2, n3, l0, l1, l2, l3] = *head;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let Some(body) = after.get(..len) else {
            let (what, takes, left) = ("a chunk", len as u64, after.len() as u64);
            return Err(MediaError::Truncated { format: Format::WebP, what, takes, left });
        };
        chunk([n0, n1, n2, n3], body, &mut found)?;
        rest = after.get(len + len % 2..).unwrap_or_default();
    }
    Err(broken(format!("expected at most {CHUNKS_MAX} chunks")))
}

fn chunk(name: [u8; 4], body: &[u8], found: &mut Found) -> Result<(), MediaError> {
    match &name {
        b"VP8X" => found.canvas = Some(canvas(body)?),
        b"VP8 " | b"VP8L" if found.picture.is_some() => {
            return Err(broken("expected one picture, got two"));
        }
        b"VP8 " => found.picture = Some((lossy(body)?, false)),
        b"VP8L" => found.picture = Some((lossless(body)?, true)),
        b"ALPH" => found.alpha_bytes = found.alpha_bytes.max(body.len()),
        b"EXIF" => {
            // Some writers keep the prefix that JPEG wants.
            let exif = body.strip_prefix(b"Exif\0\0").unwrap_or(body);
            found.orientation = Orientation::of_exif(exif);
        }
        b"ANIM" | b"ANMF" => {
            let (what, expected) = ("an animation".to_owned(), "a still picture");
            return Err(MediaError::Unsupported { format: Format::WebP, what, expected });
        }
        _ => {}
    }
    Ok(())
}

/// Width and height of an extended header, 24 bits each.
fn canvas(body: &[u8]) -> Result<(u32, u32), MediaError> {
    match *body {
        [_, _, _, _, w0, w1, w2, h0, h1, h2, ..] => {
            Ok((1 + u32::from_le_bytes([w0, w1, w2, 0]), 1 + u32::from_le_bytes([h0, h1, h2, 0])))
        }
        _ => Err(broken("the VP8X chunk is too short")),
    }
}

/// Width and height of a key frame (RFC 6386 §9.1), 14 bits each.
fn lossy(body: &[u8]) -> Result<(u32, u32), MediaError> {
    match *body {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] => {
            let extent = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Ok((extent(w0, w1), extent(h0, h1)))
        }
        _ => Err(broken("expected a VP8 key frame")),
    }
}

/// Width and height of lossless data, 14 bits each, less one.
fn lossless(body: &[u8]) -> Result<(u32, u32), MediaError> {
    match *body {
        [0x2f, b0, b1, b2, b3, ..] => {
            let bits = u32::from_le_bytes([b0, b1, b2, b3]);
            Ok((1 + (bits & 0x3fff), 1 + ((bits >> 14) & 0x3fff)))
        }
        _ => Err(broken("expected the signature of VP8L")),
    }
}
