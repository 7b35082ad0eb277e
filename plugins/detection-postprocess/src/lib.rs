//! Turns the output of an object detector into boxes in pixels of the picture: decodes, keeps scores above
//! a threshold, lets overlapping boxes of one class suppress each other, and scales back.
//!
//! | tensor        | shape                          | dtype |                                                |
//! |---------------|--------------------------------|-------|------------------------------------------------|
//! | `predictions` | `[batch, channels, candidates]`| f32   | head `yolo`; or `[batch, candidates, channels]`|
//! | `locations`   | `[batch, anchors, 4]`          | f32   | head `ssd`                                     |
//! | `confidences` | `[batch, anchors, classes]`    | f32   | head `ssd`                                     |
//! | `boxes`       | `[boxes, 4]`                   | f32   | x1, y1, x2, y2                                 |
//! | `scores`      | `[boxes]`                      | f32   | falling within a picture                       |
//! | `classes`     | `[boxes]`                      | i32   | without background                             |
//! | `labels`      | `[boxes]`                      | bytes | their names; only if names are configured      |
//! | `offsets`     | `[batch + 1]`                  | u32   | where each picture's boxes start               |
//!
//! Boxes are in pixels of the model's input; the parameters `width` and `height` of a request bring them to
//! its picture. A picture may have 8,388,608 numbers of predictions. Host kernels transpose and activate.

mod decode;
mod frame;
mod settings;
mod suppress;

use aimass_sdk::Parameter;
use aimass_sdk::ops;
use aimass_sdk::prelude::*;

use decode::Rows;
use frame::Frame;
use settings::{Activation, Head, Layout, Plan, Settings};
use suppress::Detection;

/// Numbers of one picture's predictions at most.
const ELEMENTS_MAX: u64 = 8 << 20;

/// The plugin, as configured.
#[derive(Debug)]
pub struct DetectionPostprocess {
    plan: Plan,
}

/// Boxes, objectness and scores by candidate, in the host.
struct Predictions {
    /// `[batch, candidates, 4]`.
    boxes: Tensor,
    /// `[batch, candidates, 1]`.
    objectness: Option<Tensor>,
    /// `[batch, candidates, classes]`.
    scores: Tensor,
}

impl Processor for DetectionPostprocess {
    fn init(config: Config) -> Result<Self> {
        Ok(DetectionPostprocess { plan: config.parse::<Settings>()?.plan()? })
    }

    fn describe(&self) -> Signature {
        let dynamic = Dim::dynamic;
        let signature = match &self.plan.head {
            Head::Yolo { layout, .. } => {
                let (first, second) = match layout {
                    Layout::ChannelsFirst => ("channels", "candidates"),
                    Layout::ChannelsLast => ("candidates", "channels"),
                };
                let dims = [Dim::Batch, dynamic(first), dynamic(second)];
                Signature::new().input(TensorSpec::new("predictions", DType::F32, dims))
            }
            Head::Ssd { anchors, .. } => {
                let rows = |last| [Dim::Batch, Dim::Fixed(anchors.len() as u64), last];
                Signature::new()
                    .input(TensorSpec::new("locations", DType::F32, rows(Dim::Fixed(4))))
                    .input(TensorSpec::new("confidences", DType::F32, rows(dynamic("classes"))))
            }
        };
        let boxes = || dynamic("boxes");
        let signature = signature
            .output(TensorSpec::new("boxes", DType::F32, [boxes(), Dim::Fixed(4)]))
            .output(TensorSpec::new("scores", DType::F32, [boxes()]))
            .output(TensorSpec::new("classes", DType::I32, [boxes()]))
            .output(TensorSpec::new("offsets", DType::U32, [dynamic("offsets+1")]));
        match &self.plan.labels {
            Some(_) => signature.output(TensorSpec::new("labels", DType::Bytes, [boxes()])),
            None => signature,
        }
    }

    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs> {
        let picture = (parameters.integer("width")?, parameters.integer("height")?);
        let frame = Frame::new(self.plan.input, self.plan.fit, picture)?;
        let predictions = self.predictions(&inputs)?;
        let [batch, candidates, classes] = predictions.scores.extents()?;
        let mut found = Vec::new();
        let mut offsets = vec![0];
        for row in 0..batch {
            let read = |tensor: &Tensor| tensor.rows(row, row + 1)?.to_vec::<f32>();
            let rows = Rows {
                boxes: &read(&predictions.boxes)?,
                objectness: predictions.objectness.as_ref().map(read).transpose()?,
                scores: &read(&predictions.scores)?,
                count: candidates as usize,
                classes: classes as usize,
            };
            let kept = suppress::suppressed(rows.candidates(&self.plan), &self.plan);
            found.extend(kept.into_iter().map(|detection| frame.scaled(detection)));
            offsets.push(found.len() as u32);
        }
        self.outputs(&found, &offsets)
    }
}

aimass_sdk::export_processor!(DetectionPostprocess);

impl DetectionPostprocess {
    fn predictions(&self, inputs: &Inputs) -> Result<Predictions> {
        let (boxes, objectness, scores) = match &self.plan.head {
            Head::Yolo { layout, objectness, .. } => {
                let x = inputs.get("predictions")?;
                let [_, first, second] = x.extents()?;
                check_elements(first, second)?;
                let by_candidate = match layout {
                    Layout::ChannelsFirst => transposed(x)?,
                    Layout::ChannelsLast => x.share()?,
                };
                let [_, _, channels] = by_candidate.extents()?;
                let scores = 4 + u64::from(*objectness);
                if channels <= scores {
                    let message = format!(
                        "predictions: expected more than {scores} channels, got {channels} \
                         (see `layout`)"
                    );
                    return Err(Error::input("channels", message));
                }
                let part = |from, to| ops::slice(&by_candidate, 2, from, to, 1);
                let objectness = objectness.then(|| part(4, 5)).transpose()?;
                (part(0, 4)?, objectness, part(scores, channels)?)
            }
            Head::Ssd { anchors, .. } => {
                let (boxes, scores) = (inputs.get("locations")?, inputs.get("confidences")?);
                let [rows, count, _] = boxes.extents()?;
                let [batch, candidates, classes] = scores.extents()?;
                check_elements(candidates, classes.saturating_add(4))?;
                if count != anchors.len() as u64 || [rows, count] != [batch, candidates] {
                    let message = format!(
                        "expected locations and confidences of {} anchors, got shapes {:?} and {:?}",
                        anchors.len(),
                        boxes.shape(),
                        scores.shape()
                    );
                    return Err(Error::input("anchors", message));
                }
                (boxes.share()?, None, scores.share()?)
            }
        };
        let scores = self.activated(scores)?;
        let objectness = objectness.map(|it| self.activated(it)).transpose()?;
        Ok(Predictions { boxes, objectness, scores })
    }

    fn activated(&self, x: Tensor) -> Result<Tensor> {
        if x.byte_len() == 0 {
            return Ok(x);
        }
        match self.plan.activation {
            Activation::Probability => Ok(x),
            Activation::Sigmoid => ops::run_one("sigmoid", &[&x], &[]),
            Activation::Softmax => ops::softmax(&x, 2),
        }
    }

    fn outputs(&self, found: &[Detection], offsets: &[u32]) -> Result<Outputs> {
        let count = found.len() as u64;
        let corners: Vec<f32> = found.iter().flat_map(|it| it.corners).collect();
        let scores: Vec<f32> = found.iter().map(|it| it.score).collect();
        let classes: Vec<i32> = found.iter().map(|it| it.class as i32).collect();
        let mut outputs = Outputs::from([
            ("boxes", Tensor::from_slice(&[count, 4], &corners)?),
            ("scores", Tensor::from_slice(&[count], &scores)?),
            ("classes", Tensor::from_slice(&[count], &classes)?),
            ("offsets", Tensor::from_slice(&[offsets.len() as u64], offsets)?),
        ]);
        if let Some(labels) = &self.plan.labels {
            let names =
                found.iter().map(|it| name(labels, it.class)).collect::<Result<Vec<_>>>()?;
            outputs.push("labels", Tensor::strings(&[count], names)?);
        }
        Ok(outputs)
    }
}

fn transposed(x: &Tensor) -> Result<Tensor> {
    if x.byte_len() == 0 {
        let [batch, channels, candidates] = x.extents()?;
        return x.reshape(&[batch, candidates, channels]);
    }
    ops::run_one("transpose", &[x], &[("permutation", Parameter::Integers(vec![0, 2, 1]))])
}

fn check_elements(rows: u64, columns: u64) -> Result<()> {
    match rows.checked_mul(columns) {
        Some(elements) if elements <= ELEMENTS_MAX => Ok(()),
        Some(_) | None => {
            let message = format!(
                "expected at most {ELEMENTS_MAX} numbers a picture, got {rows} x {columns}"
            );
            Err(Error::input("elements", message))
        }
    }
}

fn name(labels: &[String], class: u32) -> Result<&str> {
    labels.get(class as usize).map(String::as_str).ok_or_else(|| {
        let message = format!("labels: expected a name for class {class}, got {}", labels.len());
        Error::internal("labels", message)
    })
}

#[cfg(test)]
mod reference_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_at_most_8_388_608_numbers() {
        assert_eq!(check_elements(1 << 20, 8), Ok(()));
        assert_eq!(check_elements((1 << 20) + 1, 8).unwrap_err().code, "elements");
        assert_eq!(check_elements(u64::MAX, 2).unwrap_err().code, "elements");
    }

    #[test]
    fn a_class_without_a_name_is_the_operators_to_mend() {
        let labels = ["cat".to_owned()];
        assert_eq!(name(&labels, 0), Ok("cat"));
        let error = name(&labels, 1).unwrap_err();
        assert_eq!(error.message, "labels: expected a name for class 1, got 1");
    }
}
