//! Finds the boxes of text lines in the map of a text detector with differentiable binarization
//! (arXiv:1911.08947 §3.3), such as PaddleOCR's.
//!
//! | tensor    | shape                       | dtype |                                                   |
//! |-----------|-----------------------------|-------|---------------------------------------------------|
//! | `map`     | `[batch, 1, height, width]` | f32   | how likely each pixel is text; at most 4,194,304 each |
//! | `boxes`   | `[boxes, 4, 2]`             | f32   | corners (x, y): top left, then clockwise          |
//! | `score`   | `[boxes]`                   | f32   | mean of the map inside                            |
//! | `offsets` | `[batch + 1]`               | u32   | where each map's boxes start                      |
//!
//! Boxes are in pixels of the map; the parameters `width` and `height` of a request scale them to its
//! picture. A map has at most 1,000 boxes.

mod boxes;
mod geometry;

use aimass_sdk::prelude::*;
use serde::Deserialize;

use boxes::{Finder, TextBox};

/// Pixels of a map at most.
const PIXELS_MAX: u64 = 4 << 20;

/// Width and height of a picture at most.
const SIDE_MAX: i64 = 1 << 20;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    threshold: f32,
    box_threshold: f64,
    unclip_ratio: f64,
    dilate: bool,
    size_min: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            threshold: 0.3,
            box_threshold: 0.5,
            unclip_ratio: 1.6,
            dilate: true,
            size_min: 3.0,
        }
    }
}

/// The plugin, as configured.
#[derive(Debug)]
pub struct TextBoxes {
    finder: Finder,
}

impl Processor for TextBoxes {
    fn init(config: Config) -> Result<Self> {
        Ok(TextBoxes { finder: config.parse::<Settings>()?.finder() })
    }

    fn describe(&self) -> Signature {
        let map = [Dim::Batch, Dim::Fixed(1), Dim::dynamic("height"), Dim::dynamic("width")];
        let boxes = || Dim::dynamic("boxes");
        Signature::new()
            .input(TensorSpec::new("map", DType::F32, map))
            .output(TensorSpec::new("boxes", DType::F32, [boxes(), Dim::Fixed(4), Dim::Fixed(2)]))
            .output(TensorSpec::new("score", DType::F32, [boxes()]))
            .output(TensorSpec::new("offsets", DType::U32, [Dim::dynamic("offsets+1")]))
    }

    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
        let map = inputs.get("map")?;
        let [batch, _, height, width] = map.extents()?;
        check_pixels(height, width)?;
        let scale = [
            scale("width", parameters.integer("width")?, width)?,
            scale("height", parameters.integer("height")?, height)?,
        ];
        let mut found = Vec::new();
        let mut offsets = vec![0];
        for row in 0..batch {
            let pixels = map.rows(row, row + 1)?.to_vec::<f32>()?;
            found.extend(self.finder.find(&pixels, width as usize));
            offsets.push(found.len() as u32);
        }
        let count = found.len() as u64;
        let corners = |found: &TextBox| found.corners.map(|[x, y]| scaled([x, y], scale));
        let corners: Vec<f32> = found.iter().flat_map(corners).flatten().collect();
        let scores: Vec<f32> = found.iter().map(|found| found.score as f32).collect();
        Ok(Outputs::from([
            ("boxes", Tensor::from_slice(&[count, 4, 2], &corners)?),
            ("score", Tensor::from_slice(&[count], &scores)?),
            ("offsets", Tensor::from_slice(&[batch + 1], &offsets)?),
        ]))
    }
}

aimass_sdk::export_processor!(TextBoxes);

impl Settings {
    fn finder(&self) -> Finder {
        Finder {
            threshold: self.threshold,
            box_threshold: self.box_threshold,
            unclip_ratio: self.unclip_ratio,
            dilate: self.dilate,
            size_min: self.size_min,
        }
    }
}

fn check_pixels(height: u64, width: u64) -> Result<()> {
    match height.checked_mul(width) {
        Some(pixels) if pixels <= PIXELS_MAX => Ok(()),
        Some(_) | None => {
            let message =
                format!("map: expected at most {PIXELS_MAX} pixels, got {height} x {width}");
            Err(Error::input("pixels", message))
        }
    }
}

/// Pixels of the picture for one of the map, and the picture's last coordinate.
fn scale(name: &str, wanted: Option<i64>, own: u64) -> Result<(f64, f64)> {
    let side = match wanted {
        None => own as f64,
        Some(side) if (1..=SIDE_MAX).contains(&side) => side as f64,
        Some(side) => {
            let message = format!("parameter {name}: expected 1 to {SIDE_MAX}, got {side}");
            return Err(Error::input("parameter", message));
        }
    };
    Ok((side / (own.max(1) as f64), side))
}

fn scaled(point: [f64; 2], scale: [(f64, f64); 2]) -> [f32; 2] {
    let one = |value: f64, (factor, last): (f64, f64)| (value * factor).round().clamp(0.0, last);
    [one(point[0], scale[0]) as f32, one(point[1], scale[1]) as f32]
}

#[cfg(test)]
mod reference_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_have_at_most_4_194_304_pixels() {
        assert_eq!(check_pixels(2048, 2048), Ok(()));
        assert_eq!(check_pixels(2048, 2049).unwrap_err().code, "pixels");
        assert_eq!(check_pixels(u64::MAX, 2).unwrap_err().code, "pixels");
    }

    #[test]
    fn pictures_have_sides_of_1_to_1_048_576() {
        assert_eq!(scale("width", Some(SIDE_MAX), 1024), Ok((1024.0, SIDE_MAX as f64)));
        assert_eq!(scale("width", None, 0), Ok((0.0, 0.0)));
        for bad in [0, -1, SIDE_MAX + 1] {
            assert_eq!(scale("width", Some(bad), 8).unwrap_err().code, "parameter");
        }
        assert_eq!(scaled([1.26, -3.0], [(2.0, 10.0), (1.0, 10.0)]), [3.0, 0.0]);
        assert_eq!(scaled([9.0, 9.0], [(2.0, 10.0), (1.0, 10.0)]), [10.0, 9.0]);
    }
}
