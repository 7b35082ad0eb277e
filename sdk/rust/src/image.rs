//! From a decoded picture to what a vision model takes: resized, cropped, normalized, laid out.
//!
//! Every step is a host kernel on a handle; no pixel enters the plugin's memory.
//!
//! ```no_run
//! use aimass_sdk::image::{Filter, Picture};
//! use aimass_sdk::media::Color;
//! # fn preprocess(file: &[u8]) -> aimass_sdk::Result<aimass_sdk::Tensor> {
//! let [mean, deviation] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
//! Picture::decode(file, Color::Rgb)?
//!     .resize_short_edge(256, Filter::Bilinear)?
//!     .center_crop(224, 224)?
//!     .normalize(1.0 / 255.0, &mean, &deviation)?
//!     .into_planes()
//! # }
//! ```

use crate::call::Parameter;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::media::{Color, decode_image};
use crate::ops;
use crate::tensor::Tensor;

/// How a resize picks its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel; of two the upper or left one.
    Nearest,
    /// A triangle, widened when the picture shrinks: Pillow's `BILINEAR`, within 1.05 levels of 255,
    /// since nothing is rounded on the way.
    Bilinear,
    /// Cubic convolution, widened when the picture shrinks: Pillow's `BICUBIC`, within 1.25
    /// levels. What overshoots 0 and 255 is clamped after each axis, so resize before normalizing.
    Bicubic,
}

impl Filter {
    fn mode(self) -> &'static str {
        match self {
            Filter::Nearest => "nearest",
            Filter::Bilinear => "bilinear",
            Filter::Bicubic => "bicubic",
        }
    }
}

/// Pixels of a resized picture at most.
const PIXELS_MAX: u64 = 64 << 20;

/// A picture in the host: f32 `[height, width, channels]`, 0 to 255 until it is normalized.
#[derive(Debug)]
pub struct Picture {
    pixels: Tensor,
    height: u64,
    width: u64,
    channels: u64,
}

impl Picture {
    /// A JPEG, PNG or WebP file.
    ///
    /// # Errors
    /// As [`decode_image`].
    pub fn decode(file: &[u8], color: Color) -> Result<Picture> {
        Picture::of_pixels(&decode_image(file, color)?)
    }

    /// Pixels of any number type, `[height, width, channels]`.
    ///
    /// # Errors
    /// `input/shape` for another rank, or a picture without pixels.
    pub fn of_pixels(pixels: &Tensor) -> Result<Picture> {
        let [height, width, channels] = pixels.extents()?;
        if height * width * channels == 0 {
            let message = format!("expected pixels, got shape [{height}, {width}, {channels}]");
            return Err(Error::input("shape", message));
        }
        let dtype = [("dtype", Parameter::Text(DType::F32.name().to_owned()))];
        let pixels = ops::run_one("cast", &[pixels], &dtype)?;
        Ok(Picture { pixels, height, width, channels })
    }

    /// Rows.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.height
    }

    /// Columns.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.width
    }

    /// Numbers of each pixel.
    #[must_use]
    pub fn channels(&self) -> u64 {
        self.channels
    }

    /// The same picture with this many rows and columns.
    ///
    /// # Errors
    /// `input/shape` if one of them is 0; `limit/pixels` beyond 64 Mi; `limit/host-bytes`.
    pub fn resize(self, height: u64, width: u64, filter: Filter) -> Result<Picture> {
        if height == 0 || width == 0 {
            return Err(Error::input("shape", format!("a picture of {height} x {width}")));
        }
        if u128::from(height) * u128::from(width) > u128::from(PIXELS_MAX) {
            let message = format!("expected at most {PIXELS_MAX} pixels, got {height} x {width}");
            return Err(Error::limit("pixels", message));
        }
        let [own_height, own_width] = [self.height, self.width].map(u128::from);
        // Whichever axis leaves less for the other one goes first, as in Pillow 13.
        let rows_first = u128::from(height) * own_width <= own_height * u128::from(width);
        if rows_first {
            self.resize_rows(height, filter)?.resize_columns(width, filter)
        } else {
            self.resize_columns(width, filter)?.resize_rows(height, filter)
        }
    }

    /// Rows alone, a row being one long line.
    fn resize_rows(self, height: u64, filter: Filter) -> Result<Picture> {
        let line = self.width * self.channels;
        let rows = self.pixels.reshape(&[1, 1, self.height, line])?;
        let rows = resized(&rows, [height, line], filter)?;
        let pixels = rows.reshape(&[height, self.width, self.channels])?;
        Ok(Picture { pixels, height, ..self })
    }

    /// Columns alone.
    fn resize_columns(self, width: u64, filter: Filter) -> Result<Picture> {
        let columns = self.pixels.reshape(&[1, self.height, self.width, self.channels])?;
        let columns = resized(&columns, [width, self.channels], filter)?;
        let pixels = columns.reshape(&[self.height, width, self.channels])?;
        Ok(Picture { pixels, width, ..self })
    }

    /// Resized so that the shorter of height and width is `edge`, and the other keeps the proportion,
    /// rounded down.
    ///
    /// # Errors
    /// As [`Picture::resize`].
    pub fn resize_short_edge(self, edge: u64, filter: Filter) -> Result<Picture> {
        let (height, width) = short_edge(self.height, self.width, edge);
        self.resize(height, width, filter)
    }

    /// The part of `height` rows and `width` columns from (`top`, `left`).
    ///
    /// # Errors
    /// `input/out-of-range` if it is not inside the picture.
    pub fn crop(self, [top, left]: [u64; 2], height: u64, width: u64) -> Result<Picture> {
        let inside = |start: u64, extent: u64, whole: u64| {
            extent > 0 && start.checked_add(extent).is_some_and(|end| end <= whole)
        };
        if !inside(top, height, self.height) || !inside(left, width, self.width) {
            let (own_height, own_width) = (self.height, self.width);
            let message = format!(
                "a crop of {height} x {width} from ({top}, {left}) is not inside a picture of \
                 {own_height} x {own_width}"
            );
            return Err(Error::input("out-of-range", message));
        }
        let mut pixels = self.pixels;
        if height < self.height {
            pixels = pixels.rows(top, top + height)?;
        }
        if width < self.width {
            pixels = ops::slice(&pixels, 1, left, left + width, 1)?;
        }
        Ok(Picture { pixels, height, width, channels: self.channels })
    }

    /// The part of `height` rows and `width` columns in the middle; an odd rest goes below and right.
    ///
    /// # Errors
    /// As [`Picture::crop`].
    pub fn center_crop(self, height: u64, width: u64) -> Result<Picture> {
        let top = self.height.saturating_sub(height) / 2;
        let left = self.width.saturating_sub(width) / 2;
        self.crop([top, left], height, width)
    }

    /// `(x * scale - mean) / deviation`, with a mean and a deviation for each channel.
    ///
    /// # Errors
    /// `input/channels` for another number of them; `input/deviation` for one of 0.
    pub fn normalize(self, scale: f32, mean: &[f32], deviation: &[f32]) -> Result<Picture> {
        let channels = self.channels as usize;
        if mean.len() != channels || deviation.len() != channels {
            let (means, deviations) = (mean.len(), deviation.len());
            let message =
                format!("expected {channels} means and deviations, got {means} and {deviations}");
            return Err(Error::input("channels", message));
        }
        if let Some(wrong) = deviation.iter().find(|it| !it.is_normal()) {
            let message = format!("expected deviations that are not 0, got {wrong}");
            return Err(Error::input("deviation", message));
        }
        let factors: Vec<f32> = deviation.iter().map(|deviation| scale / deviation).collect();
        let shifts: Vec<f32> =
            mean.iter().zip(deviation).map(|(mean, deviation)| -mean / deviation).collect();
        let of_channels = |numbers: &[f32]| Tensor::from_f32(&[self.channels], numbers);
        let scaled = ops::run_one("mul", &[&self.pixels, &of_channels(&factors)?], &[])?;
        let pixels = ops::run_one("add", &[&scaled, &of_channels(&shifts)?], &[])?;
        Ok(Picture { pixels, ..self })
    }

    /// The channels in reverse order: BGR of RGB.
    ///
    /// # Errors
    /// `limit/host-bytes`.
    pub fn reverse_channels(self) -> Result<Picture> {
        let axis = [("axis", Parameter::Integer(2))];
        let pixels = ops::run_one("reverse", &[&self.pixels], &axis)?;
        Ok(Picture { pixels, ..self })
    }

    /// f32 `[1, channels, height, width]`.
    ///
    /// # Errors
    /// `limit/host-bytes`.
    pub fn into_planes(self) -> Result<Tensor> {
        let permutation = [("permutation", Parameter::Integers(vec![2, 0, 1]))];
        let planes = ops::run_one("transpose", &[&self.pixels], &permutation)?;
        planes.reshape(&[1, self.channels, self.height, self.width])
    }

    /// f32 `[1, height, width, channels]`.
    ///
    /// # Errors
    /// `limit/handles`.
    pub fn into_pixels(self) -> Result<Tensor> {
        self.pixels.reshape(&[1, self.height, self.width, self.channels])
    }
}

/// Pictures of one shape, `[1, ..]` each, as one tensor `[n, ..]`.
///
/// # Errors
/// `input/shape` if their shapes differ; `input/input-count` for none, or more than 64.
pub fn batch(pictures: &[Tensor]) -> Result<Tensor> {
    if let [one] = pictures {
        return one.share();
    }
    let all: Vec<&Tensor> = pictures.iter().collect();
    ops::run_one("concat", &all, &[("axis", Parameter::Integer(0))])
}

/// Height and width whose shorter one is `edge`.
fn short_edge(height: u64, width: u64, edge: u64) -> (u64, u64) {
    let longer = |long: u64, short: u64| {
        u64::try_from(u128::from(long) * u128::from(edge) / u128::from(short)).unwrap_or(u64::MAX)
    };
    if height <= width { (edge, longer(width, height)) } else { (longer(height, width), edge) }
}

fn resized(x: &Tensor, extents: [u64; 2], filter: Filter) -> Result<Tensor> {
    let extents = extents.map(|extent| i64::try_from(extent).unwrap_or(i64::MAX));
    let attributes = [
        ("extents", Parameter::Integers(extents.to_vec())),
        ("mode", Parameter::Text(filter.mode().to_owned())),
        ("antialias", Parameter::Boolean(filter != Filter::Nearest)),
    ];
    let resized = ops::run_one("resize", &[x], &attributes)?;
    match filter {
        Filter::Nearest | Filter::Bilinear => Ok(resized),
        Filter::Bicubic => {
            let bounds = [("low", Parameter::Float(0.0)), ("high", Parameter::Float(255.0))];
            ops::run_one("clamp", &[&resized], &bounds)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_edge_is_met_and_the_other_keeps_the_proportion() {
        assert_eq!(short_edge(480, 640, 256), (256, 341));
        assert_eq!(short_edge(640, 480, 256), (341, 256));
        assert_eq!(short_edge(7, 7, 3), (3, 3));
        assert_eq!(short_edge(1, u64::MAX, 2), (2, u64::MAX));
    }
}
