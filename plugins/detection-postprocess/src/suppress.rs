//! Which candidates stay: the best of those that overlap.

use crate::settings::Plan;

/// Candidates that are compared at most; the best ones are.
const CANDIDATES_MAX: usize = 30_000;

/// A box of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Detection {
    /// x1, y1, x2, y2, all finite.
    pub(crate) corners: [f32; 4],
    pub(crate) score: f32,
    pub(crate) class: u32,
    /// Place among the predictions.
    pub(crate) candidate: u32,
}

impl Detection {
    /// The better score first; of equal ones the first candidate, then the first class.
    fn order(&self, other: &Detection) -> core::cmp::Ordering {
        let place = |it: &Detection| (it.candidate, it.class);
        other.score.total_cmp(&self.score).then(place(self).cmp(&place(other)))
    }
}

/// The best candidates, at most 30,000.
#[derive(Default)]
pub(crate) struct Best(Vec<Detection>);

impl Best {
    pub(crate) fn push(&mut self, detection: Detection) {
        if self.0.len() == 2 * CANDIDATES_MAX {
            self.0.select_nth_unstable_by(CANDIDATES_MAX, Detection::order);
            self.0.truncate(CANDIDATES_MAX);
        }
        self.0.push(detection);
    }

    /// The best first.
    pub(crate) fn into_sorted(mut self) -> Vec<Detection> {
        self.0.sort_unstable_by(Detection::order);
        self.0.truncate(CANDIDATES_MAX);
        self.0
    }
}

/// Greedy non-maximum suppression over candidates whose best come first: each stays unless it overlaps
/// one that stayed, of its class unless classes do not matter.
pub(crate) fn suppressed(candidates: Vec<Detection>, plan: &Plan) -> Vec<Detection> {
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in candidates {
        if kept.len() == plan.max_detections {
            break;
        }
        let rivals = kept.iter().filter(|it| plan.class_agnostic || it.class == candidate.class);
        let hidden = rivals.into_iter().any(|it| overlap(it, &candidate) > plan.iou_threshold);
        if !hidden {
            kept.push(candidate);
        }
    }
    kept
}

/// Intersection over union; NaN, which is above nothing, of two boxes without area.
fn overlap(a: &Detection, b: &Detection) -> f32 {
    let ([ax1, ay1, ax2, ay2], [bx1, by1, bx2, by2]) = (a.corners, b.corners);
    let width = (ax2.min(bx2) - ax1.max(bx1)).max(0.0);
    let height = (ay2.min(by2) - ay1.max(by1)).max(0.0);
    let shared = width * height;
    shared / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::tests::plan;
    use proptest::prelude::*;

    fn detection(candidate: u32, score: f32, class: u32, corners: [f32; 4]) -> Detection {
        Detection { corners, score, class, candidate }
    }

    #[test]
    fn boxes_of_one_class_suppress_each_other() {
        let all = vec![
            detection(0, 0.9, 0, [0.0, 0.0, 10.0, 10.0]),
            detection(1, 0.8, 0, [0.0, 0.0, 10.0, 9.0]),
            detection(2, 0.7, 1, [0.0, 0.0, 10.0, 10.0]),
            detection(3, 0.6, 0, [5.0, 0.0, 15.0, 10.0]),
        ];
        let left = |plan: &Plan| -> Vec<u32> {
            suppressed(all.clone(), plan).iter().map(|it| it.candidate).collect()
        };
        assert_eq!(left(&plan()), [0, 2, 3], "a third shared is not above 0.45");
        assert_eq!(left(&Plan { class_agnostic: true, ..plan() }), [0, 3]);
        assert_eq!(left(&Plan { max_detections: 2, ..plan() }), [0, 2]);
        assert_eq!(left(&Plan { iou_threshold: 0.3, ..plan() }), [0, 2]);
    }

    #[test]
    fn an_overlap_of_just_the_threshold_stays() {
        let half = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0]];
        let all = vec![detection(0, 0.9, 0, half[0]), detection(1, 0.8, 0, half[1])];
        let with = |iou_threshold| suppressed(all.clone(), &Plan { iou_threshold, ..plan() }).len();
        assert_eq!((with(0.5), with(0.499)), (2, 1));
    }

    #[test]
    fn boxes_without_area_hide_nothing() {
        let all: Vec<_> = (0..3).map(|at| detection(at, 0.5, 0, [4.0; 4])).collect();
        assert_eq!(suppressed(all.clone(), &Plan { iou_threshold: 0.0, ..plan() }), all);
    }

    #[test]
    fn the_best_30_000_are_kept_whenever_they_come() {
        let score = |at: u32| (at.wrapping_mul(2_654_435_761) >> 8) as f32;
        let mut all: Vec<f32> = (0..100_000).map(score).collect();
        let mut best = Best::default();
        for (at, score) in (0..).zip(&all) {
            best.push(detection(at, *score, 0, [0.0; 4]));
        }
        all.sort_by(|a, b| b.total_cmp(a));
        let kept: Vec<f32> = best.into_sorted().iter().map(|it| it.score).collect();
        assert_eq!(kept, all[..CANDIDATES_MAX]);
    }

    proptest! {
        #[test]
        fn no_two_that_stay_overlap_and_all_others_are_hidden_by_a_better_one(
            raw in prop::collection::vec((0u8..40, 0u8..40, 1u8..20, 1u8..20, 0u8..10, 0u32..3), 0..60),
        ) {
            let mut best = Best::default();
            for (at, (x, y, w, h, score, class)) in (0..).zip(&raw) {
                let corners = [*x, *y, x + w, y + h].map(f32::from);
                best.push(detection(at, f32::from(*score) / 10.0, *class, corners));
            }
            let all = best.into_sorted();
            let kept = suppressed(all.clone(), &plan());
            let hides = |a: &Detection, b: &Detection| a.class == b.class && overlap(a, b) > 0.45;
            for one in &all {
                let better = kept.iter().filter(|it| it.order(one).is_lt());
                prop_assert_eq!(kept.contains(one), !better.into_iter().any(|it| hides(it, one)));
            }
        }
    }
}
