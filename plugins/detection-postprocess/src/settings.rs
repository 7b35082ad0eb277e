//! The configuration, and what it comes to.

use aimass_sdk::files::File;
use aimass_sdk::{Error, Result};
use serde::Deserialize;

/// Bytes of a file of names at most.
const LABEL_BYTES_MAX: u64 = 16 << 20;
/// Anchors at most.
const ANCHORS_MAX: u64 = 1 << 20;
/// Boxes of a picture at most.
const DETECTIONS_MAX: usize = 1_000;
/// Pixels of a side of the model's input at most.
const SIDE_MAX: u32 = 1 << 16;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    head: HeadName,
    layout: Layout,
    objectness: bool,
    boxes: Corners,
    normalized: bool,
    scores: Activation,
    background: bool,
    anchors_file: Option<String>,
    variances: [f32; 2],
    threshold: f32,
    iou_threshold: f32,
    max_detections: usize,
    multi_label: bool,
    class_agnostic: bool,
    input: Size,
    fit: Fit,
    labels: Option<Vec<String>>,
    labels_file: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            head: HeadName::Yolo,
            layout: Layout::ChannelsFirst,
            objectness: false,
            boxes: Corners::Center,
            normalized: false,
            scores: Activation::Probability,
            background: false,
            anchors_file: None,
            variances: [0.1, 0.2],
            threshold: 0.25,
            iou_threshold: 0.45,
            max_detections: 300,
            multi_label: false,
            class_agnostic: false,
            input: Size { width: 640, height: 640 },
            fit: Fit::Letterbox,
            labels: None,
            labels_file: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum HeadName {
    Yolo,
    Ssd,
}

/// Order of the axes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Layout {
    ChannelsFirst,
    ChannelsLast,
}

/// What the four numbers of a box are.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Corners {
    /// Center x, center y, width, height.
    Center,
    /// x1, y1, x2, y2.
    Corners,
}

/// What is done to scores first.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Activation {
    Probability,
    Sigmoid,
    Softmax,
}

/// Pixels.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
}

/// How pictures were brought to the size of the model's input.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fit {
    /// With their proportion, in the middle.
    Letterbox,
    /// Each axis for itself.
    Stretch,
}

/// How boxes are written.
#[derive(Debug)]
pub(crate) enum Head {
    /// Boxes and scores in one tensor.
    Yolo { layout: Layout, objectness: bool, boxes: Corners, normalized: bool },
    /// Offsets from anchors (arXiv:1512.02325 §2.2): center x, center y, width, height of 0 to 1.
    Ssd { anchors: Vec<[f32; 4]>, variances: [f32; 2] },
}

/// A configuration that was checked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) head: Head,
    pub(crate) activation: Activation,
    pub(crate) background: bool,
    pub(crate) threshold: f32,
    pub(crate) iou_threshold: f32,
    pub(crate) max_detections: usize,
    pub(crate) multi_label: bool,
    pub(crate) class_agnostic: bool,
    pub(crate) input: Size,
    pub(crate) fit: Fit,
    pub(crate) labels: Option<Vec<String>>,
}

impl Settings {
    /// Checks what no schema can say, and reads the files.
    ///
    /// # Errors
    /// `input/config`, which says what was expected; those of the files.
    pub(crate) fn plan(self) -> Result<Plan> {
        for (name, value) in [("threshold", self.threshold), ("iou_threshold", self.iou_threshold)]
        {
            if !(0.0..=1.0).contains(&value) {
                return Err(refused(format!("{name}: expected 0 to 1, got {value}")));
            }
        }
        if !(1..=DETECTIONS_MAX).contains(&self.max_detections) {
            let got = self.max_detections;
            return Err(refused(format!(
                "max_detections: expected 1 to {DETECTIONS_MAX}, got {got}"
            )));
        }
        let Size { width, height } = self.input;
        if ![width, height].iter().all(|side| (1..=SIDE_MAX).contains(side)) {
            return Err(refused(format!(
                "input: expected 1 to {SIDE_MAX}, got {width} x {height}"
            )));
        }
        Ok(Plan {
            head: self.head()?,
            activation: self.scores,
            background: self.background,
            threshold: self.threshold,
            iou_threshold: self.iou_threshold,
            max_detections: self.max_detections,
            multi_label: self.multi_label,
            class_agnostic: self.class_agnostic,
            input: self.input,
            fit: self.fit,
            labels: labels(self.labels, self.labels_file)?,
        })
    }

    fn head(&self) -> Result<Head> {
        match (self.head, &self.anchors_file) {
            (HeadName::Yolo, None) => Ok(Head::Yolo {
                layout: self.layout,
                objectness: self.objectness,
                boxes: self.boxes,
                normalized: self.normalized,
            }),
            (HeadName::Yolo, Some(_)) => {
                Err(refused("anchors_file: expected none for yolo, whose boxes are decoded"))
            }
            (HeadName::Ssd, None) => {
                Err(refused("anchors_file: expected a file for ssd, got none"))
            }
            (HeadName::Ssd, Some(_)) if self.objectness => {
                Err(refused("objectness: expected false for ssd, got true"))
            }
            (HeadName::Ssd, Some(name)) => {
                let bytes = File::open(name)?.read_all(16 * ANCHORS_MAX)?;
                Ok(Head::Ssd { anchors: anchors(&bytes)?, variances: self.variances })
            }
        }
    }
}

fn anchors(bytes: &[u8]) -> Result<Vec<[f32; 4]>> {
    let (anchors, rest) = bytes.as_chunks::<16>();
    if anchors.is_empty() || !rest.is_empty() {
        let got = bytes.len();
        return Err(refused(format!("anchors_file: expected 16 bytes an anchor, got {got} bytes")));
    }
    let number = |bytes: &[u8]| bytes.try_into().map_or(f32::NAN, f32::from_le_bytes);
    let anchor = |bytes: &[u8; 16]| core::array::from_fn(|at| number(&bytes[4 * at..4 * at + 4]));
    let anchors: Vec<[f32; 4]> = anchors.iter().map(anchor).collect();
    match anchors.as_flattened().iter().find(|value| !value.is_finite()) {
        Some(value) => Err(refused(format!("anchors_file: expected numbers, got {value}"))),
        None => Ok(anchors),
    }
}

fn labels(inline: Option<Vec<String>>, file: Option<String>) -> Result<Option<Vec<String>>> {
    match (inline, file) {
        (Some(_), Some(_)) => {
            Err(refused("labels: expected either labels or labels_file, got both"))
        }
        (Some(labels), None) => Ok(Some(labels)),
        (None, Some(name)) => {
            let bytes = File::open(&name)?.read_all(LABEL_BYTES_MAX)?;
            let text = core::str::from_utf8(&bytes)
                .map_err(|error| refused(format!("labels_file: expected UTF-8: {error}")))?;
            Ok(Some(text.lines().map(str::to_owned).collect()))
        }
        (None, None) => Ok(None),
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::input("config", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_sdk::testing::Host;

    fn plan(config: &str) -> Result<Plan> {
        let bytes: Vec<u8> =
            [0.5f32, 0.5, 0.25, 0.25].iter().flat_map(|v| v.to_le_bytes()).collect();
        let host = Host::new().config(config).file("anchors.f32", bytes).file("odd", [0; 17]);
        host.enter().config().parse::<Settings>()?.plan()
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_was_expected() {
        for (config, expected) in [
            (r#"{"threshold": 1.5}"#, "threshold: expected 0 to 1, got 1.5"),
            (r#"{"max_detections": 1001}"#, "max_detections: expected 1 to 1000, got 1001"),
            (r#"{"max_detections": 0}"#, "got 0"),
            (r#"{"input": {"width": 65537, "height": 1}}"#, "got 65537 x 1"),
            (r#"{"head": "ssd"}"#, "anchors_file: expected a file"),
            (r#"{"anchors_file": "anchors.f32"}"#, "expected none for yolo"),
            (r#"{"head": "ssd", "anchors_file": "odd"}"#, "got 17 bytes"),
            (r#"{"head": "ssd", "anchors_file": "anchors.f32", "objectness": true}"#, "objectness"),
            (r#"{"labels": [], "labels_file": "x"}"#, "got both"),
        ] {
            let error = plan(config).unwrap_err();
            assert!(error.message.contains(expected), "{config}: {error}");
        }
        assert!(
            plan(r#"{"max_detections": 1000, "input": {"width": 65536, "height": 1}}"#).is_ok()
        );
    }

    #[test]
    fn anchors_are_read_as_little_endian_numbers() {
        let plan = plan(r#"{"head": "ssd", "anchors_file": "anchors.f32"}"#).unwrap();
        assert!(
            matches!(plan.head, Head::Ssd { anchors, .. } if anchors == [[0.5, 0.5, 0.25, 0.25]])
        );
        assert!(anchors(&f32::NAN.to_le_bytes().repeat(4)).is_err());
    }
}
