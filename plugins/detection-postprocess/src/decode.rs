//! Predictions of one picture to candidates: a box in pixels of the model's input, a class, a score.

use crate::settings::{Corners, Head, Plan};
use crate::suppress::{Best, Detection};

/// Predictions of one picture, a row a candidate.
pub(crate) struct Rows<'a> {
    /// `[count, 4]`.
    pub(crate) boxes: &'a [f32],
    /// `[count]`, multiplied with the scores.
    pub(crate) objectness: Option<Vec<f32>>,
    /// `[count, classes]`.
    pub(crate) scores: &'a [f32],
    pub(crate) count: usize,
    pub(crate) classes: usize,
}

impl Rows<'_> {
    /// The candidates above the threshold, the best first. Scores that are NaN and boxes that are not
    /// finite do not count; of equal scores the first candidate, then the first class comes first.
    pub(crate) fn candidates(&self, plan: &Plan) -> Vec<Detection> {
        let mut best = Best::default();
        let from = usize::from(plan.background);
        for index in 0..self.count {
            let scores = &self.scores[index * self.classes..(index + 1) * self.classes];
            let factor = self.objectness.as_ref().map_or(1.0, |all| all[index]);
            let wanted =
                scores.iter().enumerate().skip(from).map(|(class, it)| (class, it * factor));
            let above = wanted.filter(|(_, score)| *score > plan.threshold);
            let push = |best: &mut Best, (class, score): (usize, f32)| {
                let corners = self.corners(plan, index);
                if corners.iter().all(|value| value.is_finite()) {
                    let class = (class - from) as u32;
                    best.push(Detection { corners, score, class, candidate: index as u32 });
                }
            };
            if plan.multi_label {
                above.for_each(|it| push(&mut best, it));
            } else {
                let first = |a: (usize, f32), b: (usize, f32)| if b.1 > a.1 { b } else { a };
                above.reduce(first).into_iter().for_each(|it| push(&mut best, it));
            }
        }
        best.into_sorted()
    }

    /// x1, y1, x2, y2 in pixels of the model's input.
    fn corners(&self, plan: &Plan, index: usize) -> [f32; 4] {
        let raw: [f32; 4] = core::array::from_fn(|at| self.boxes[4 * index + at]);
        let sides = [plan.input.width as f32, plan.input.height as f32];
        match &plan.head {
            Head::Yolo { boxes, normalized, .. } => {
                let corners = match boxes {
                    Corners::Center => of_center(raw),
                    Corners::Corners => upright(raw),
                };
                if *normalized { times(corners, sides) } else { corners }
            }
            Head::Ssd { anchors, variances: [center, size] } => {
                let [x, y, width, height] = anchors[index];
                let decoded = [
                    x + raw[0] * center * width,
                    y + raw[1] * center * height,
                    width * (raw[2] * size).exp(),
                    height * (raw[3] * size).exp(),
                ];
                times(of_center(decoded), sides)
            }
        }
    }
}

fn of_center([x, y, width, height]: [f32; 4]) -> [f32; 4] {
    upright([x - width / 2.0, y - height / 2.0, x + width / 2.0, y + height / 2.0])
}

/// The smaller coordinates first; NaN stays.
fn upright([x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
    let ordered = |a: f32, b: f32| if a > b { [b, a] } else { [a, b] };
    let ([x1, x2], [y1, y2]) = (ordered(x1, x2), ordered(y1, y2));
    [x1, y1, x2, y2]
}

fn times([x1, y1, x2, y2]: [f32; 4], [width, height]: [f32; 2]) -> [f32; 4] {
    [x1 * width, y1 * height, x2 * width, y2 * height]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::settings::{Activation, Fit, Layout, Size};

    pub(crate) fn plan() -> Plan {
        let (boxes, layout) = (Corners::Center, Layout::ChannelsLast);
        Plan {
            head: Head::Yolo { layout, objectness: false, boxes, normalized: false },
            activation: Activation::Probability,
            background: false,
            threshold: 0.25,
            iou_threshold: 0.45,
            max_detections: 300,
            multi_label: false,
            class_agnostic: false,
            input: Size { width: 640, height: 640 },
            fit: Fit::Letterbox,
            labels: None,
        }
    }

    fn candidates(plan: &Plan, boxes: &[f32], scores: &[f32], classes: usize) -> Vec<Detection> {
        let count = boxes.len() / 4;
        Rows { boxes, objectness: None, scores, count, classes }.candidates(plan)
    }

    #[test]
    fn the_best_class_counts_or_every_one_above_the_threshold() {
        let boxes = [10.0, 20.0, 4.0, 6.0];
        let scores = [0.3, 0.9, 0.25, 0.9];
        let found = candidates(&plan(), &boxes, &scores, 4);
        assert_eq!(
            (found.len(), found[0].class, found[0].score),
            (1, 1, 0.9),
            "the first of equals"
        );
        assert_eq!(found[0].corners, [8.0, 17.0, 12.0, 23.0]);
        let found = candidates(&Plan { multi_label: true, ..plan() }, &boxes, &scores, 4);
        let classes: Vec<u32> = found.iter().map(|found| found.class).collect();
        assert_eq!(classes, [1, 3, 0], "0.25 is not above the threshold");
    }

    #[test]
    fn background_never_wins_and_classes_count_after_it() {
        let with = Plan { background: true, ..plan() };
        let found = candidates(&with, &[1.0; 4], &[0.9, 0.1, 0.3], 3);
        assert_eq!((found[0].class, found[0].score), (1, 0.3));
        assert!(candidates(&with, &[1.0; 4], &[0.9], 1).is_empty());
    }

    #[test]
    fn nan_and_infinite_boxes_do_not_count() {
        let boxes = [f32::NAN, 1.0, 1.0, 1.0, 1.0, 1.0, f32::INFINITY, 1.0, 1.0, 1.0, 1.0, 1.0];
        assert_eq!(candidates(&plan(), &boxes, &[0.9, 0.9, f32::NAN], 1), []);
        let found = candidates(&plan(), &boxes[8..], &[f32::NAN, 0.5], 2);
        assert_eq!((found.len(), found[0].class), (1, 1));
        assert_eq!(candidates(&plan(), &[], &[], 0), []);
    }

    #[test]
    fn objectness_is_a_factor() {
        let (boxes, scores) = ([1.0; 8], [0.5, 0.5]);
        let objectness = Some(vec![0.4, 0.8]);
        let rows = Rows { boxes: &boxes, objectness, scores: &scores, count: 2, classes: 1 };
        let found = rows.candidates(&plan());
        assert_eq!((found.len(), found[0].candidate, found[0].score), (1, 1, 0.4));
    }

    #[test]
    fn corners_and_anchors_come_to_pixels() {
        let (layout, boxes) = (Layout::ChannelsLast, Corners::Corners);
        let head = Head::Yolo { layout, objectness: false, boxes, normalized: true };
        let input = Size { width: 100, height: 200 };
        let found = candidates(&Plan { head, input, ..plan() }, &[0.5, 0.5, 0.25, 1.0], &[0.5], 1);
        assert_eq!(found[0].corners, [25.0, 100.0, 50.0, 200.0], "x1 and x2 had changed places");
        let head = Head::Ssd { anchors: vec![[0.5, 0.5, 0.2, 0.4]], variances: [0.1, 0.2] };
        let found = candidates(&Plan { head, input, ..plan() }, &[1.0, 0.0, 0.0, 0.0], &[0.5], 1);
        let expected = [42.0, 60.0, 62.0, 140.0];
        let near =
            found[0].corners.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-3);
        assert!(near, "{found:?}");
    }
}
