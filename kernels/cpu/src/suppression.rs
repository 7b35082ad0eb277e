//! Non-maximum suppression of boxes (ONNX `NonMaxSuppression-11`).
//!
//! Candidates of a class are taken by falling score, equal ones by rising index; one that overlaps
//! a chosen box too much is dropped. All arithmetic is f32, in the order of ONNX Runtime.

use crate::pool::Team;
use std::cmp::Ordering;

/// How boxes are written and when they are dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Suppression {
    /// Most boxes of a class.
    pub max_per_class: usize,
    /// Overlap (intersection over union) above which a box is dropped.
    pub iou: f32,
    /// A candidate has a higher score than this.
    pub score: f32,
    /// Boxes are `[x center, y center, width, height]`, else two corners `[y, x, y, x]`.
    pub centered: bool,
}

/// Boxes and the scores of every class.
#[derive(Clone, Copy, Debug)]
pub struct Detections<'a> {
    /// Number of images.
    pub batches: usize,
    /// Number of classes.
    pub classes: usize,
    /// Boxes of an image.
    pub boxes: usize,
    /// `[batches, boxes, 4]`.
    pub corners: &'a [f32],
    /// `[batches, classes, boxes]`.
    pub scores: &'a [f32],
}

/// Writes `[batch, class, box]` of every box that stays, class by class in the order of choice, and
/// zeros behind; answers how many they are.
///
/// Classes are shared out between the threads. Scratch: three numbers a candidate.
///
/// # Panics
/// If a slice has another size than the extents say; `out` is `[batches classes min(max_per_class,
/// boxes), 3]`.
pub fn non_max_suppression(
    team: Team<'_>,
    options: Suppression,
    all: Detections<'_>,
    out: &mut [i64],
) -> usize {
    let Detections { batches, classes, boxes, corners, scores } = all;
    assert_eq!(corners.len(), batches * boxes * 4, "boxes");
    assert_eq!(scores.len(), batches * classes * boxes, "scores");
    let most = options.max_per_class.min(boxes);
    assert_eq!(out.len(), batches * classes * most * 3, "indices");
    if out.is_empty() {
        return 0;
    }
    team.chunks([&mut *out], [most * 3], &|class, [out]| {
        let (batch, class) = (class / classes, class % classes);
        let corners = &corners[batch * boxes * 4..][..boxes * 4];
        let scores = &scores[(batch * classes + class) * boxes..][..boxes];
        let chosen = choose(options, corners, scores, most);
        let mut rows = out.chunks_exact_mut(3);
        for (index, row) in chosen.iter().zip(rows.by_ref()) {
            row.copy_from_slice(&[batch as i64, class as i64, *index as i64]);
        }
        // A mark that no box has: the rows of all classes are moved together below.
        rows.for_each(|row| row.fill(-1));
    });
    let mut count = 0;
    for from in (0..out.len()).step_by(3) {
        if out[from] >= 0 {
            out.copy_within(from..from + 3, count * 3);
            count += 1;
        }
    }
    out[count * 3..].fill(0);
    count
}

/// A box by its lower and upper corners.
#[derive(Clone, Copy)]
struct Area {
    low: [f32; 2],
    high: [f32; 2],
}

impl Area {
    fn of(corners: &[f32], centered: bool) -> Area {
        let [a, b, c, d] = [corners[0], corners[1], corners[2], corners[3]];
        if centered {
            let (width, height) = (c / 2.0, d / 2.0);
            return Area { low: [a - width, b - height], high: [a + width, b + height] };
        }
        let ordered = |a: f32, b: f32| if a > b { (b, a) } else { (a, b) };
        let ((x, x_end), (y, y_end)) = (ordered(b, d), ordered(a, c));
        Area { low: [x, y], high: [x_end, y_end] }
    }

    fn size(&self) -> f32 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    fn overlaps(&self, other: &Area, iou: f32) -> bool {
        let larger = |a: f32, b: f32| if a > b { a } else { b };
        let smaller = |a: f32, b: f32| if a < b { a } else { b };
        let width = smaller(self.high[0], other.high[0]) - larger(self.low[0], other.low[0]);
        let height = smaller(self.high[1], other.high[1]) - larger(self.low[1], other.low[1]);
        if !(width > 0.0 && height > 0.0) {
            return false;
        }
        let shared = width * height;
        let (own, theirs) = (self.size(), other.size());
        let union = own + theirs - shared;
        own > 0.0 && theirs > 0.0 && union > 0.0 && shared / union > iou
    }
}

/// Indices of the boxes of one class that stay.
fn choose(options: Suppression, corners: &[f32], scores: &[f32], most: usize) -> Vec<usize> {
    let mut candidates: Vec<usize> =
        (0..scores.len()).filter(|&index| scores[index] > options.score).collect();
    let by_score = |&a: &usize, &b: &usize| {
        let falling = scores[b].partial_cmp(&scores[a]).unwrap_or(Ordering::Equal);
        falling.then(a.cmp(&b))
    };
    candidates.sort_unstable_by(by_score);
    let mut chosen = Vec::with_capacity(most.min(candidates.len()));
    let mut areas: Vec<Area> = Vec::with_capacity(chosen.capacity());
    for index in candidates {
        if chosen.len() == most {
            break;
        }
        let area = Area::of(&corners[index * 4..][..4], options.centered);
        if !areas.iter().any(|known| known.overlaps(&area, options.iou)) {
            chosen.push(index);
            areas.push(area);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::KernelPool;

    const OPTIONS: Suppression =
        Suppression { max_per_class: 3, iou: 0.5, score: 0.0, centered: false };
    /// The boxes of the examples of ONNX.
    const CORNERS: [f32; 24] = [
        0.0, 0.0, 1.0, 1.0, 0.0, 0.1, 1.0, 1.1, 0.0, -0.1, 1.0, 0.9, 0.0, 10.0, 1.0, 11.0, 0.0,
        10.1, 1.0, 11.1, 0.0, 100.0, 1.0, 101.0,
    ];
    const SCORES: [f32; 6] = [0.9, 0.75, 0.6, 0.95, 0.5, 0.3];

    fn run(options: Suppression, corners: &[f32], scores: &[f32], batches: usize) -> Vec<i64> {
        let boxes = corners.len() / 4 / batches;
        let classes = scores.len() / boxes / batches;
        let all = Detections { batches, classes, boxes, corners, scores };
        let pool = KernelPool::new(2);
        let mut out = vec![7; batches * classes * options.max_per_class.min(boxes) * 3];
        let count = non_max_suppression(pool.team(2), options, all, &mut out);
        assert!(out[count * 3..].iter().all(|&rest| rest == 0));
        out.truncate(count * 3);
        out
    }

    #[test]
    fn the_best_of_overlapping_boxes_stay() {
        assert_eq!(run(OPTIONS, &CORNERS, &SCORES, 1), [0, 0, 3, 0, 0, 0, 0, 0, 5]);
        let few = Suppression { max_per_class: 2, ..OPTIONS };
        assert_eq!(run(few, &CORNERS, &SCORES, 1), [0, 0, 3, 0, 0, 0]);
        let high = Suppression { score: 0.4, ..OPTIONS };
        assert_eq!(run(high, &CORNERS, &SCORES, 1), [0, 0, 3, 0, 0, 0]);
        assert_eq!(run(Suppression { max_per_class: 0, ..OPTIONS }, &CORNERS, &SCORES, 1), []);
    }

    #[test]
    fn corners_may_be_turned_and_boxes_centered() {
        let turned: Vec<f32> =
            CORNERS.chunks_exact(4).flat_map(|b| [b[2], b[1], b[0], b[3]]).collect();
        assert_eq!(run(OPTIONS, &turned, &SCORES, 1), [0, 0, 3, 0, 0, 0, 0, 0, 5]);
        let centers: Vec<f32> = CORNERS
            .chunks_exact(4)
            .flat_map(|b| [(b[1] + b[3]) / 2.0, (b[0] + b[2]) / 2.0, 1.0, 1.0])
            .collect();
        let centered = Suppression { centered: true, ..OPTIONS };
        assert_eq!(run(centered, &centers, &SCORES, 1), [0, 0, 3, 0, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn equal_scores_keep_their_order_and_nan_is_no_candidate() {
        let scores = [0.5, f32::NAN, 0.4, 0.5, 0.9, f32::INFINITY];
        let loose = Suppression { max_per_class: 6, iou: 1.0, ..OPTIONS };
        let found = run(loose, &CORNERS, &scores, 1);
        assert_eq!(found.chunks(3).map(|row| row[2]).collect::<Vec<_>>(), [5, 4, 0, 3, 2]);
    }

    #[test]
    fn images_and_classes_are_apart() {
        let (corners, scores) = ([CORNERS, CORNERS].concat(), SCORES.repeat(4));
        let found = run(Suppression { max_per_class: 1, ..OPTIONS }, &corners, &scores, 2);
        assert_eq!(found, [0, 0, 3, 0, 1, 3, 1, 0, 3, 1, 1, 3]);
    }
}
