//! Sizes and boxes: what the detector is shown, which of its boxes are read, and in which order.

/// Pixels that the detector sees at most: those that `text-boxes` takes.
const DETECTOR_PIXELS_MAX: usize = 4 << 20;
/// What sides of the detector's input are multiples of.
const DETECTOR_STEP: usize = 32;
/// A picture this many times as wide as high, or wider, gets black rows above and below.
const RATIO_MAX: usize = 8;
/// A picture that is not higher gets them, too.
const HEIGHT_MIN: usize = 30;
/// Shorter side of a box at least.
const SIDE_MIN: f64 = 4.0;
/// Boxes whose tops are nearer than this stand in one row.
const ROW_HEIGHT: f64 = 10.0;

/// Corners (x, y) of a box: top left, then clockwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quad(pub(crate) [[f64; 2]; 4]);

impl Quad {
    /// Of eight numbers, in a picture that has `above` rows more at its top.
    pub(crate) fn of_numbers(numbers: &[f32], above: usize) -> Quad {
        let number = |at: usize| numbers.get(at).map_or(f64::NAN, |value| f64::from(*value));
        let corner = |at: usize| [number(2 * at), number(2 * at + 1) - above as f64];
        Quad(core::array::from_fn(corner))
    }

    /// Width and height in whole pixels, at least 1.
    pub(crate) fn size(&self) -> [f64; 2] {
        let [a, b, c, d] = self.0;
        let longer = |one: f64, other: f64| one.max(other).trunc().max(1.0);
        [longer(distance(a, b), distance(c, d)), longer(distance(a, d), distance(b, c))]
    }

    /// Width by height of the line as it is read.
    pub(crate) fn ratio(&self) -> f64 {
        let [width, height] = self.size();
        if is_upright(width, height) { height / width } else { width / height }
    }
}

/// Whether a box of this size is a line that runs from the bottom to the top.
pub(crate) fn is_upright(width: f64, height: f64) -> bool {
    height / width >= 1.5
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Rows that a low or wide picture gets above and below, so that its lines are not all of it.
pub(crate) fn padding(width: usize, height: usize) -> usize {
    if height > HEIGHT_MIN && width <= RATIO_MAX * height {
        return 0;
    }
    let wanted = 2 * (width / RATIO_MAX).max(HEIGHT_MIN);
    wanted.abs_diff(height) / 2
}

/// Width and height that a picture has for the detector: its shorter side `least` or more, its longer one
/// `most` or less, both multiples of 32.
pub(crate) fn detector_size(picture: [usize; 2], least: u32, most: u32) -> (usize, usize) {
    let [width, height] = picture.map(|side| side as f64);
    let wanted = (f64::from(least) / width.min(height)).max(1.0);
    let by_side = f64::from(most) / width.max(height);
    let by_area = (DETECTOR_PIXELS_MAX as f64 / (width * height)).sqrt();
    let ratio = wanted.min(by_side).min(by_area);
    let step = DETECTOR_STEP as f64;
    let fit = |side: f64| {
        ((side * ratio).trunc() / step).round_ties_even().max(1.0) as usize * DETECTOR_STEP
    };
    let (mut width, mut height) = (fit(width), fit(height));
    while width * height > DETECTOR_PIXELS_MAX {
        *(if width > height { &mut width } else { &mut height }) -= DETECTOR_STEP;
    }
    (width, height)
}

/// The boxes that can be read: cut to whole pixels of the picture, and not too small.
pub(crate) fn usable(boxes: impl Iterator<Item = Quad>, width: usize, height: usize) -> Vec<Quad> {
    let last = [width, height].map(|side| side as f64 - 1.0);
    let inside = |corner: [f64; 2]| [0, 1].map(|axis| corner[axis].clamp(0.0, last[axis]).trunc());
    let whole = boxes.filter(|quad| quad.0.as_flattened().iter().all(|value| value.is_finite()));
    let cut = whole.map(|quad| Quad(quad.0.map(inside)));
    let readable = |quad: &Quad| {
        let [a, b, _, d] = quad.0;
        distance(a, b) >= SIDE_MIN && distance(a, d) >= SIDE_MIN
    };
    cut.filter(readable).collect()
}

/// Boxes from top to bottom, those of one row from left to right.
pub(crate) fn line_order(mut boxes: Vec<Quad>) -> Vec<Quad> {
    let top = |quad: &Quad| quad.0[0];
    boxes.sort_by(|a, b| top(a)[1].total_cmp(&top(b)[1]).then(top(a)[0].total_cmp(&top(b)[0])));
    for index in 1..boxes.len() {
        let before = |a: &Quad, b: &Quad| {
            (top(a)[1] - top(b)[1]).abs() < ROW_HEIGHT && top(b)[0] < top(a)[0]
        };
        let mut at = index;
        while at > 0 && before(&boxes[at - 1], &boxes[at]) {
            boxes.swap(at - 1, at);
            at -= 1;
        }
    }
    boxes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quad(x: f64, y: f64, width: f64, height: f64) -> Quad {
        Quad([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])
    }

    #[test]
    fn the_detector_sees_multiples_of_32_within_bounds() {
        for (picture, expected) in [
            ([820, 330], (1824, 736)),
            ([736, 736], (736, 736)),
            ([1000, 2000], (992, 1984)),
            ([4096, 4096], (2048, 2048)),
            ([100_000, 100], (4096, 32)),
            ([1, 1], (736, 736)),
        ] {
            assert_eq!(detector_size(picture, 736, 4_096), expected, "{picture:?}");
        }
        for width in (1..5_000).step_by(37) {
            let (w, h) = detector_size([width, 3_000], 736, 8_192);
            assert!(w * h <= DETECTOR_PIXELS_MAX && w % 32 == 0 && h % 32 == 0, "{width}");
        }
    }

    #[test]
    fn low_and_wide_pictures_are_padded() {
        assert_eq!((padding(240, 31), padding(248, 31), padding(249, 31)), (0, 0, 15));
        assert_eq!(padding(100, 30), 15);
        assert_eq!(padding(1600, 100), 150);
    }

    #[test]
    fn boxes_are_cut_and_small_or_odd_ones_left_out() {
        let odd = Quad([[f64::NAN, 0.0], [9.0, 0.0], [9.0, 9.0], [0.0, 9.0]]);
        let all = [
            quad(-5.0, 2.7, 20.0, 10.0),
            quad(1.0, 1.0, 3.9, 50.0),
            quad(1.0, 1.0, 50.0, 2.0),
            odd,
        ];
        assert_eq!(usable(all.into_iter(), 10, 100), [quad(0.0, 2.0, 9.0, 10.0)]);
        let numbers = [1.0, 20.0, 9.0, 20.0, 9.0, 29.0, 1.0, 29.0];
        assert_eq!(Quad::of_numbers(&numbers, 15), quad(1.0, 5.0, 8.0, 9.0));
    }

    #[test]
    fn lines_come_from_the_top_and_in_a_row_from_the_left() {
        let all = vec![
            quad(50.0, 5.0, 9.0, 9.0),
            quad(5.0, 9.0, 9.0, 9.0),
            quad(1.0, 40.0, 9.0, 9.0),
            quad(30.0, 0.0, 9.0, 9.0),
        ];
        let tops: Vec<[f64; 2]> = line_order(all).iter().map(|quad| quad.0[0]).collect();
        assert_eq!(tops, [[5.0, 9.0], [30.0, 0.0], [50.0, 5.0], [1.0, 40.0]]);
    }

    #[test]
    fn a_high_box_is_read_along_its_height() {
        assert_eq!(quad(0.0, 0.0, 10.0, 40.0).ratio(), 4.0);
        assert_eq!(quad(0.0, 0.0, 40.0, 10.0).ratio(), 4.0);
        assert!(!is_upright(10.0, 14.9) && is_upright(10.0, 15.0));
    }
}
