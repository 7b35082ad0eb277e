//! Maps to boxes: what is connected, the smallest rectangle around it, its score, and how it grows.

use crate::geometry::{Point, area_and_circumference, distance, hull, ordered, smallest_rectangle};

/// Boxes of a map at most.
const BOXES_MAX: usize = 1000;

/// Points on the circle around each corner of a box that grows.
const CIRCLE_POINTS: usize = 32;

/// How boxes are found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finder {
    pub(crate) threshold: f32,
    pub(crate) box_threshold: f64,
    pub(crate) unclip_ratio: f64,
    pub(crate) dilate: bool,
    pub(crate) size_min: f64,
}

/// A box in pixels of the map.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TextBox {
    /// Top left, then clockwise.
    pub(crate) corners: [Point; 4],
    pub(crate) score: f64,
}

impl Finder {
    /// The boxes of a map, in the order of their first pixels.
    pub(crate) fn find(&self, map: &[f32], width: usize) -> Vec<TextBox> {
        let mut mask = self.mask(map, width);
        let mut found = Vec::new();
        let mut stack = Vec::new();
        for start in 0..mask.len() {
            if !mask[start] {
                continue;
            }
            let points = take_connected(&mut mask, width, start, &mut stack);
            found.extend(self.text_box(map, width, points));
            if found.len() == BOXES_MAX {
                break;
            }
        }
        found
    }

    /// Which pixels are text. NaN is none.
    fn mask(&self, map: &[f32], width: usize) -> Vec<bool> {
        let text: Vec<bool> = map.iter().map(|value| *value > self.threshold).collect();
        if !self.dilate {
            return text;
        }
        let mut grown = text.clone();
        for (at, _) in text.iter().enumerate().filter(|(_, is_text)| **is_text) {
            let right = at % width + 1 < width;
            let places = [(right, at + 1), (true, at + width), (right, at + width + 1)];
            for (_, place) in places.into_iter().filter(|(inside, at)| *inside && *at < text.len())
            {
                grown[place] = true;
            }
        }
        grown
    }

    fn text_box(&self, map: &[f32], width: usize, points: Vec<Point>) -> Option<TextBox> {
        let rectangle = ordered(smallest_rectangle(&hull(points)));
        if shorter_side(&rectangle) < self.size_min {
            return None;
        }
        let score = mean_inside(map, width, &rectangle);
        if score.is_nan() || score < self.box_threshold {
            return None;
        }
        let corners = ordered(smallest_rectangle(&hull(self.grown(&rectangle))));
        (shorter_side(&corners) >= self.size_min + 2.0).then_some(TextBox { corners, score })
    }

    /// Points around the rectangle at the distance that it grows by, in whole pixels.
    fn grown(&self, rectangle: &[Point; 4]) -> Vec<Point> {
        let (area, circumference) = area_and_circumference(rectangle);
        let by = area * self.unclip_ratio / circumference;
        let angle = |step: usize| step as f64 * core::f64::consts::TAU / CIRCLE_POINTS as f64;
        let circle: Vec<_> = (0..CIRCLE_POINTS).map(|step| angle(step).sin_cos()).collect();
        let around = |corner: &Point| {
            let [x, y] = [corner[0].trunc(), corner[1].trunc()];
            let at =
                move |(sin, cos): &(f64, f64)| [(x + by * cos).round(), (y + by * sin).round()];
            circle.iter().map(at).collect::<Vec<_>>()
        };
        rectangle.iter().flat_map(around).collect()
    }
}

fn shorter_side(corners: &[Point; 4]) -> f64 {
    distance(corners[0], corners[1]).min(distance(corners[1], corners[2]))
}

/// Takes what is connected with `start`, diagonals included, out of the mask; of each run of pixels in a
/// row only both ends are kept, which is enough for a hull.
fn take_connected(
    mask: &mut [bool],
    width: usize,
    start: usize,
    stack: &mut Vec<usize>,
) -> Vec<Point> {
    let mut points = Vec::new();
    stack.push(start);
    while let Some(seed) = stack.pop() {
        if !mask[seed] {
            continue;
        }
        let row = seed / width * width;
        let (mut first, mut last) = (seed, seed);
        while first > row && mask[first - 1] {
            first -= 1;
        }
        while last + 1 < row + width && mask[last + 1] {
            last += 1;
        }
        mask[first..=last].fill(false);
        let y = (row / width) as f64;
        points.extend([[(first - row) as f64, y], [(last - row) as f64, y]]);
        let (left, right) = (first.max(row + 1) - 1, (last + 1).min(row + width - 1));
        if row >= width {
            push_runs(mask, left - width, right - width, stack);
        }
        if row + width < mask.len() {
            push_runs(mask, left + width, right + width, stack);
        }
    }
    points
}

/// Pushes the first pixel of every run in `left..=right`.
fn push_runs(mask: &[bool], left: usize, right: usize, stack: &mut Vec<usize>) {
    for at in left..=right {
        if mask[at] && (at == left || !mask[at - 1]) {
            stack.push(at);
        }
    }
}

/// Mean of the map over the pixels in a convex polygon, whose corners are cut to whole pixels first.
fn mean_inside(map: &[f32], width: usize, corners: &[Point; 4]) -> f64 {
    let height = map.len() / width;
    let floor = |axis: usize, side: usize| {
        let lowest = corners.iter().map(|it| it[axis]).fold(f64::INFINITY, f64::min);
        lowest.floor().clamp(0.0, side as f64 - 1.0)
    };
    let (left, top) = (floor(0, width), floor(1, height));
    let corners = corners.map(|[x, y]| [left + (x - left).trunc(), top + (y - top).trunc()]);
    let bottom = corners.iter().map(|it| it[1]).fold(0.0, f64::max).min(height as f64 - 1.0);
    let (mut sum, mut count) = (0.0, 0_usize);
    for y in top as usize..=bottom as usize {
        let Some((first, last)) = crossing(&corners, y as f64) else { continue };
        let last = (last.round().max(0.0) as usize).min(width - 1);
        let first = (first.round().max(0.0) as usize).min(last);
        let row = &map[y * width + first..=y * width + last];
        sum += row.iter().map(|value| f64::from(*value)).sum::<f64>();
        count += row.len();
    }
    sum / count as f64
}

/// Where a row of pixels enters and leaves a convex polygon. A row is one high, so that an edge that is
/// nearly level counts as wide as it is drawn.
fn crossing(corners: &[Point; 4], y: f64) -> Option<(f64, f64)> {
    let mut span: Option<(f64, f64)> = None;
    for (index, a) in corners.iter().enumerate() {
        let b = corners[(index + 1) % 4];
        let (low, high) = (a[1].min(b[1]).max(y - 0.5), a[1].max(b[1]).min(y + 0.5));
        if low > high {
            continue;
        }
        let at = |y: f64| a[0] + (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]);
        let ends = if a[1] == b[1] { [a[0], b[0]] } else { [at(low), at(high)] };
        for x in ends {
            span = Some(span.map_or((x, x), |(first, last)| (first.min(x), last.max(x))));
        }
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FINDER: Finder = Finder {
        threshold: 0.3,
        box_threshold: 0.5,
        unclip_ratio: 0.0,
        dilate: false,
        size_min: 3.0,
    };

    /// A map of `width` x `height` with rectangles (x, y, width, height) of a value.
    fn map(width: usize, height: usize, parts: &[(usize, usize, usize, usize, f32)]) -> Vec<f32> {
        let mut map = vec![0.0; width * height];
        for (x, y, w, h, value) in parts {
            for row in *y..y + h {
                map[row * width + x..row * width + x + w].fill(*value);
            }
        }
        map
    }

    #[test]
    fn every_part_has_its_box_and_score() {
        let map = map(60, 40, &[(5, 4, 20, 10, 0.9), (30, 20, 12, 8, 0.6), (50, 2, 8, 8, 0.4)]);
        let found = FINDER.find(&map, 60);
        let corners: Vec<_> = found.iter().map(|found| found.corners).collect();
        assert_eq!(corners[0], [[5.0, 4.0], [24.0, 4.0], [24.0, 13.0], [5.0, 13.0]]);
        assert_eq!(corners[1], [[30.0, 20.0], [41.0, 20.0], [41.0, 27.0], [30.0, 27.0]]);
        assert_eq!(found.len(), 2);
        assert!((found[0].score - 0.9).abs() < 1e-6 && (found[1].score - 0.6).abs() < 1e-6);
    }

    #[test]
    fn boxes_grow_by_area_over_circumference() {
        let map = map(60, 40, &[(20, 15, 21, 11, 1.0)]);
        let found = Finder { unclip_ratio: 1.5, ..FINDER }.find(&map, 60);
        let by = 20.0 * 10.0 * 1.5 / 60.0;
        let expected = [[20.0 - by, 15.0 - by], [40.0 + by, 15.0 - by], [40.0 + by, 25.0 + by]];
        assert_eq!(found[0].corners[..3], expected);
    }

    #[test]
    fn dilation_joins_neighbors_and_small_parts_are_left_out() {
        let map = map(40, 12, &[(2, 2, 10, 7, 1.0), (13, 2, 10, 7, 1.0), (30, 2, 3, 3, 1.0)]);
        assert_eq!(FINDER.find(&map, 40).len(), 2);
        let joined = Finder { dilate: true, ..FINDER }.find(&map, 40);
        assert_eq!(joined[0].corners[0], [2.0, 2.0]);
        assert_eq!(joined[0].corners[2], [23.0, 9.0]);
        assert_eq!(joined.len(), 1);
    }

    #[test]
    fn a_map_has_at_most_1000_boxes() {
        let parts: Vec<_> = (0..1001).map(|i| (i % 40 * 10, i / 40 * 10, 7, 7, 1.0)).collect();
        let map = map(400, 270, &parts);
        assert_eq!(FINDER.find(&map, 400).len(), BOXES_MAX);
    }

    #[test]
    fn odd_values_are_no_text() {
        let map = [f32::NAN, f32::INFINITY, -1.0, f32::NEG_INFINITY].repeat(100);
        let found = Finder { dilate: true, ..FINDER }.find(&map, 20);
        assert!(found.len() <= 1);
        assert_eq!(FINDER.find(&[], 1), []);
    }

    proptest! {
        #[test]
        fn any_map_is_answered(
            width in 1usize..20,
            values in prop::collection::vec(0.0f32..1.0, 0..300),
            dilate: bool,
        ) {
            let map = &values[..values.len() / width * width];
            let finder = Finder { dilate, size_min: 1.0, unclip_ratio: 1.6, ..FINDER };
            for found in finder.find(map, width) {
                prop_assert!(found.score >= 0.5 && found.corners.as_flattened().iter().all(|v| v.is_finite()));
            }
        }
    }
}
