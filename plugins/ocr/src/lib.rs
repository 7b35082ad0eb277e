//! Reads the text in pictures: asks one model where lines are, another whether they are upside down, and a third what
//! they say.
//!
//! | tensor    | shape           | dtype |                                                   |
//! |-----------|-----------------|-------|---------------------------------------------------|
//! | `image`   | `[batch]`       | bytes | JPEG, PNG or WebP files, at most 16 Mi pixels each |
//! | `text`    | `[lines]`       | bytes | what each line says, from the top                 |
//! | `score`   | `[lines]`       | f32   | how sure the recognizer is                        |
//! | `boxes`   | `[lines, 4, 2]` | f32   | corners (x, y) in pixels: top left, then clockwise |
//! | `offsets` | `[batch + 1]`   | u32   | where each picture's lines start                  |
//!
//! The models are served, and named by the step of the package that uses this plugin. Sizes and order follow RapidOCR,
//! which PaddleOCR's models are used with.

mod crop;
mod geometry;
mod pixels;

use aimass_sdk::Parameter;
use aimass_sdk::base64;
use aimass_sdk::image::{Filter, Picture};
use aimass_sdk::media::{Color, decode_image};
use aimass_sdk::models;
use aimass_sdk::prelude::*;
use serde::Deserialize;

use crop::cut;
use geometry::{Quad, detector_size, line_order, padding, usable};
use pixels::Pixels;

/// Pixels of a picture at most, which lie in the plugin's memory.
const PIXELS_MAX: u64 = 16 << 20;
/// Pictures of a request at most.
const PICTURES_MAX: usize = 16;
/// Lines that are read at once.
const LINES_AT_ONCE: usize = 6;
/// Height of a line, as the models want it.
const LINE_HEIGHT: usize = 48;
/// Width of a line for the classifier.
const TURN_WIDTH: usize = 192;
/// Width of a line for the recognizer, at least and at most.
const LINE_WIDTHS: [usize; 2] = [320, 3_200];

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    Raw,
    Base64,
}

/// The plugin, as configured.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ocr {
    detect: String,
    turn: Option<String>,
    recognize: String,
    #[serde(default = "side_min")]
    side_min: u32,
    #[serde(default = "side_max")]
    side_max: u32,
    #[serde(default = "score")]
    score: f32,
    #[serde(default = "turn_score")]
    turn_score: f32,
    #[serde(default = "lines_max")]
    lines_max: usize,
    #[serde(default = "encoding")]
    encoding: Encoding,
}

fn side_min() -> u32 {
    736
}

fn side_max() -> u32 {
    4_096
}

fn score() -> f32 {
    0.5
}

fn turn_score() -> f32 {
    0.9
}

fn lines_max() -> usize {
    500
}

fn encoding() -> Encoding {
    Encoding::Raw
}

/// A line that was read.
struct Line {
    corners: Quad,
    text: Vec<u8>,
    score: f32,
}

impl Model for Ocr {
    fn init(config: Config) -> Result<Self> {
        config.parse()
    }

    fn describe(&self) -> Signature {
        let lines = || Dim::dynamic("lines");
        let boxes = [lines(), Dim::Fixed(4), Dim::Fixed(2)];
        Signature::new()
            .input(TensorSpec::new("image", DType::Bytes, [Dim::Batch]))
            .output(TensorSpec::new("text", DType::Bytes, [lines()]))
            .output(TensorSpec::new("score", DType::F32, [lines()]))
            .output(TensorSpec::new("boxes", DType::F32, boxes))
            .output(TensorSpec::new("offsets", DType::U32, [Dim::dynamic("offsets+1")]))
    }

    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
        let encoding = match parameters.text("encoding")? {
            None => self.encoding,
            Some("raw") => Encoding::Raw,
            Some("base64") => Encoding::Base64,
            Some(other) => {
                let message = format!("encoding: expected raw or base64, got {other}");
                return Err(Error::input("parameter", message));
            }
        };
        let files = inputs.get("image")?.as_strings()?;
        if files.len() > PICTURES_MAX {
            let message =
                format!("image: expected at most {PICTURES_MAX} pictures, got {}", files.len());
            return Err(Error::input("images", message));
        }
        let (mut lines, mut offsets) = (Vec::new(), vec![0]);
        for (index, file) in files.iter().enumerate() {
            let read = self.read(file, encoding).map_err(|error| Error {
                message: format!("image[{index}]: {}", error.message),
                ..error
            })?;
            lines.extend(read);
            offsets.push(lines.len() as u32);
        }
        outputs(&lines, &offsets)
    }
}

aimass_sdk::export_model!(Ocr);

impl Ocr {
    /// The lines of one picture, from the top.
    fn read(&self, file: &[u8], encoding: Encoding) -> Result<Vec<Line>> {
        let decoded;
        let file = match encoding {
            Encoding::Raw => file,
            Encoding::Base64 => {
                decoded = base64::decode(file)?;
                &decoded
            }
        };
        let pixels = decode_image(file, Color::Rgb)?;
        let [height, width, _] = pixels.extents()?;
        check_pixels(height, width)?;
        let picture = Pixels::new(width as usize, height as usize, pixels.to_bytes()?);
        let mut boxes = self.find(&picture)?;
        boxes.truncate(self.lines_max);
        // Lines of about one length are read together.
        let mut order: Vec<usize> = (0..boxes.len()).collect();
        order.sort_by(|a, b| boxes[*a].ratio().total_cmp(&boxes[*b].ratio()));
        let mut read: Vec<Option<Line>> = boxes.iter().map(|_| None).collect();
        for group in order.chunks(LINES_AT_ONCE) {
            let mut cuts: Vec<Pixels> = group.iter().map(|at| cut(&picture, &boxes[*at])).collect();
            self.turn_upright(&mut cuts)?;
            for (at, (text, score)) in group.iter().zip(self.recognized(&cuts)?) {
                let corners = boxes[*at];
                read[*at] = (score >= self.score).then_some(Line { corners, text, score });
            }
        }
        Ok(read.into_iter().flatten().collect())
    }

    /// The boxes of lines, from the top.
    fn find(&self, picture: &Pixels) -> Result<Vec<Quad>> {
        let above = padding(picture.width, picture.height);
        let padded = if above > 0 { &picture.padded(above) } else { picture };
        let (width, height) =
            detector_size([padded.width, padded.height], self.side_min, self.side_max);
        let shape = [padded.height as u64, padded.width as u64, 3];
        let pixels = Tensor::from_slice(&shape, &padded.bytes)?;
        let x = Picture::of_pixels(&pixels)?
            .resize(height as u64, width as u64, Filter::Bilinear)?
            .reverse_channels()?
            .normalize(1.0 / 255.0, &[0.5; 3], &[0.5; 3])?
            .into_planes()?;
        let size = [("width", padded.width), ("height", padded.height)];
        let size = size.map(|(name, value)| (name, Parameter::Integer(value as i64)));
        let found = models::call_with(&self.detect, &[("x", &x)], &size)?;
        let ([_, corners, axes], numbers) = found.read::<f32, 3>("boxes")?;
        if [corners, axes] != [4, 2] {
            let message = format!("{}: expected boxes of [lines, 4, 2]", self.detect);
            return Err(Error::internal("boxes", message));
        }
        let quads = numbers.chunks_exact(8).map(|it| Quad::of_numbers(it, above));
        Ok(line_order(usable(quads, picture.width, picture.height)))
    }

    /// Turns the lines that are upside down.
    fn turn_upright(&self, lines: &mut [Pixels]) -> Result<()> {
        let Some(model) = &self.turn else { return Ok(()) };
        let x = tensor(lines, TURN_WIDTH)?;
        let ([rows, classes], scores) =
            models::call(model, &[("x", &x)])?.read::<f32, 2>("turned")?;
        if [rows, classes] != [lines.len() as u64, 2] {
            let message = format!("{model}: expected turned of [{}, 2]", lines.len());
            return Err(Error::internal("turned", message));
        }
        for (line, scores) in lines.iter_mut().zip(scores.chunks_exact(2)) {
            if scores[1] > scores[0] && scores[1] > self.turn_score {
                line.turn_around();
            }
        }
        Ok(())
    }

    /// Text and score of each line.
    fn recognized(&self, lines: &[Pixels]) -> Result<Vec<(Vec<u8>, f32)>> {
        let widest = lines.iter().map(|line| line.width as f64 / line.height as f64);
        let width = (LINE_HEIGHT as f64 * widest.fold(0.0, f64::max)) as usize;
        let width = width.clamp(LINE_WIDTHS[0], LINE_WIDTHS[1]);
        let found = models::call(&self.recognize, &[("x", &tensor(lines, width)?)])?;
        let ([scores_len], scores) = found.read::<f32, 1>("score")?;
        let texts = found.get("text")?.as_strings()?;
        if [texts.len() as u64, scores_len] != [lines.len() as u64; 2] {
            let message = format!("{}: expected {} texts and scores", self.recognize, lines.len());
            return Err(Error::internal("texts", message));
        }
        Ok(texts.iter().map(<[u8]>::to_vec).zip(scores).collect())
    }
}

/// Lines as a model wants them: f32 `[lines, 3, 48, width]`, blue first, -1 to 1, zeros after their ends.
fn tensor(lines: &[Pixels], width: usize) -> Result<Tensor> {
    let plane = LINE_HEIGHT * width;
    let mut data = vec![0.0; lines.len() * 3 * plane];
    for (line, planes) in lines.iter().zip(data.chunks_mut(3 * plane)) {
        let own = (LINE_HEIGHT as f64 * line.width as f64 / line.height as f64).ceil() as usize;
        let line = line.resized(own.clamp(1, width), LINE_HEIGHT);
        for (place, pixel) in line.bytes.chunks_exact(3).enumerate() {
            let at = place / line.width * width + place % line.width;
            for (channel, value) in pixel.iter().rev().enumerate() {
                planes[channel * plane + at] = f32::from(*value) / 127.5 - 1.0;
            }
        }
    }
    Tensor::from_slice(&[lines.len() as u64, 3, LINE_HEIGHT as u64, width as u64], &data)
}

fn check_pixels(height: u64, width: u64) -> Result<()> {
    match height.checked_mul(width) {
        Some(pixels) if pixels <= PIXELS_MAX => Ok(()),
        Some(_) | None => {
            let message = format!("expected at most {PIXELS_MAX} pixels, got {width} x {height}");
            Err(Error::input("pixels", message))
        }
    }
}

fn outputs(lines: &[Line], offsets: &[u32]) -> Result<Outputs> {
    let count = lines.len() as u64;
    let corners: Vec<f32> =
        lines.iter().flat_map(|it| it.corners.0).flatten().map(|value| value as f32).collect();
    let scores: Vec<f32> = lines.iter().map(|it| it.score).collect();
    Ok(Outputs::from([
        ("text", Tensor::strings(&[count], lines.iter().map(|it| &it.text))?),
        ("score", Tensor::from_slice(&[count], &scores)?),
        ("boxes", Tensor::from_slice(&[count, 4, 2], &corners)?),
        ("offsets", Tensor::from_slice(&[offsets.len() as u64], offsets)?),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_at_most_16_mi_pixels() {
        assert_eq!(check_pixels(4096, 4096), Ok(()));
        assert_eq!(check_pixels(4096, 4097).unwrap_err().code, "pixels");
        assert_eq!(check_pixels(u64::MAX, 2).unwrap_err().code, "pixels");
    }

    #[test]
    fn lines_are_normalized_blue_first_with_zeros_after_their_ends() {
        let line = Pixels::new(2, 2, [255, 0, 51].repeat(4));
        let x = tensor(&[line], 100).unwrap();
        assert_eq!(x.shape(), [1, 3, 48, 100]);
        let values = x.to_vec::<f32>().unwrap();
        let at =
            |channel: usize, row: usize, column: usize| values[(channel * 48 + row) * 100 + column];
        assert_eq!([at(0, 47, 47), at(1, 0, 0), at(2, 20, 20)], [-0.6, -1.0, 1.0]);
        assert_eq!([at(0, 0, 48), at(2, 47, 99)], [0.0; 2]);
    }
}
