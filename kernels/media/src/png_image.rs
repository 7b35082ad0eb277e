//! PNG (W3C, third edition): the header and the chunk list, then the crate `png`.

use crate::channels::{Channels, Layout, convert};
use crate::error::{Format, MediaError};
use crate::image::{Opened, check_pixels};
use crate::limits::Limits;
use crate::orientation::Orientation;
use png::{ColorType, DecodingError, Transformations};
use std::io::Cursor;

/// Bytes that a byte of deflated data can stand for (RFC 1951: 258 bytes in 2 bits).
const INFLATION_MAX: u64 = 1_032;
/// Tables, windows and buffers of the decoder beside its rows.
const TABLE_BYTES: usize = 512 << 10;

/// A file whose header was read.
#[derive(Debug)]
pub(crate) struct Png<'a> {
    data: &'a [u8],
    size: (u32, u32),
    /// Bytes of a row before expansion to bytes, without its filter byte.
    row_bytes: usize,
    interlaced: bool,
}

fn broken(reason: impl std::fmt::Display) -> MediaError {
    MediaError::broken(Format::Png, reason)
}

impl<'a> Png<'a> {
    pub(crate) fn open(data: &'a [u8], limits: &Limits) -> Result<Opened<Png<'a>>, MediaError> {
        let Some((header, _)) = data.get(8..).and_then(|rest| rest.split_first_chunk::<21>())
        else {
            let (what, takes, left) = ("the header", 29, data.len() as u64);
            return Err(MediaError::Truncated { format: Format::Png, what, takes, left });
        };
        let [0, 0, 0, 13, b'I', b'H', b'D', b'R', w @ .., depth, color, _, _, interlace] = *header
        else {
            return Err(broken("expected an IHDR chunk of 13 bytes first"));
        };
        let [w3, w2, w1, w0, h3, h2, h1, h0] = w;
        let size = (u32::from_be_bytes([w3, w2, w1, w0]), u32::from_be_bytes([h3, h2, h1, h0]));
        check_pixels(Format::Png, size, limits)?;
        let samples = match color {
            0 | 3 => 1,
            2 => 3,
            4 => 2,
            6 => 4,
            other => return Err(broken(format!("expected a color type of 0 to 6, got {other}"))),
        };
        let row_bytes = (u64::from(size.0) * samples * u64::from(depth)).div_ceil(8);
        let takes = (row_bytes * u64::from(size.1)).div_ceil(INFLATION_MAX);
        let left = data.len() as u64;
        if left < takes {
            let what = "a picture of that size";
            return Err(MediaError::Truncated { format: Format::Png, what, takes, left });
        }
        let row_bytes = row_bytes as usize;
        let coded = Png { data, size, row_bytes, interlaced: interlace != 0 };
        Ok(Opened { coded, size, orientation: orientation(data) })
    }

    fn pixels(&self) -> usize {
        self.size.0 as usize * self.size.1 as usize
    }

    pub(crate) fn working_bytes(&self, _: Channels) -> usize {
        // Rows are held a few times: as stored, unfiltered, expanded to four bytes a pixel.
        let rows = 8 * self.row_bytes + 8 * self.size.0 as usize;
        let whole = if self.interlaced { 4 * self.pixels() } else { 0 };
        TABLE_BYTES + rows + whole + self.data.len()
    }

    pub(crate) fn decode(&self, channels: Channels, out: &mut [u8]) -> Result<(), MediaError> {
        let limits = png::Limits { bytes: self.working_bytes(channels) };
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(self.data), limits);
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
        let mut reader = decoder.read_info().map_err(refused)?;
        let layout = match reader.output_color_type().0 {
            ColorType::Grayscale => Layout::Gray,
            ColorType::GrayscaleAlpha => Layout::GrayAlpha,
            ColorType::Rgb => Layout::Rgb,
            ColorType::Rgba => Layout::Rgba,
            ColorType::Indexed => return Err(broken("expected a palette")),
        };
        let bytes = self.pixels() * layout.count();
        if reader.output_buffer_size() != Some(bytes) {
            return Err(broken("expected one picture of the size that its header says"));
        }
        if layout.is(channels) {
            reader.next_frame(out).map_err(refused)?;
        } else if self.interlaced {
            let mut pixels = vec![0; bytes];
            reader.next_frame(&mut pixels).map_err(refused)?;
            convert(layout, &pixels, channels, out);
        } else {
            for line in out.chunks_exact_mut(self.size.0 as usize * channels.count()) {
                let row = reader.next_row().map_err(refused)?;
                let row = row.ok_or_else(|| broken("expected more rows"))?;
                convert(layout, row.data(), channels, line);
            }
        }
        Ok(())
    }
}

fn refused(error: DecodingError) -> MediaError {
    broken(error)
}

/// From the first eXIf chunk, wherever it is.
fn orientation(data: &[u8]) -> Orientation {
    let mut rest = data.get(8..).unwrap_or_default();
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let [l3, l2, l1, l0, name @ ..] = *head;
        let len = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
        let Some(body) = after.get(..len) else { break };
        if name == *b"eXIf" {
            return Orientation::of_exif(body);
        }
        rest = after.get(len.saturating_add(4)..).unwrap_or_default();
    }
    Orientation::default()
}
