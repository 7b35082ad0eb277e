//! Cutting a box that leans out of a picture, and standing it upright.

use crate::geometry::{Quad, is_upright};
use crate::pixels::Pixels;

/// Pixels across a line that is cut at most: ten times what models see.
const ACROSS_MAX: f64 = 480.0;
/// Pixels along a line that is cut at most.
const ALONG_MAX: f64 = 32_768.0;
/// The parameter of cubic convolution that OpenCV's `INTER_CUBIC` has.
const CUBIC: f32 = -0.75;

/// The line in a box, from left to right.
pub(crate) fn cut(picture: &Pixels, quad: &Quad) -> Pixels {
    let [width, height] = quad.size();
    let (across, along) = (width.min(height), width.max(height));
    let scale = (ACROSS_MAX / across).min(ALONG_MAX / along).min(1.0);
    let [columns, rows] = [width, height].map(|side| (side * scale).max(1.0) as usize);
    let map = Projection::onto(quad);
    let mut bytes = Vec::with_capacity(3 * columns * rows);
    for y in 0..rows {
        for x in 0..columns {
            let place = map.at(x as f64 / columns as f64, y as f64 / rows as f64);
            bytes.extend(cubic(picture, place));
        }
    }
    let line = Pixels::new(columns, rows, bytes);
    if is_upright(width, height) { line.turned_left() } else { line }
}

/// The projective map from the unit square to a box (P. Heckbert, "Fundamentals of texture mapping and image
/// warping", 1989, §2.2.3): `((a u + b v + c) / w, (d u + e v + f) / w)` with `w = g u + h v + 1`.
struct Projection {
    x: [f64; 3],
    y: [f64; 3],
    w: [f64; 2],
}

impl Projection {
    fn onto(Quad([p0, p1, p2, p3]): &Quad) -> Projection {
        let less = |a: &[f64; 2], b: &[f64; 2]| [a[0] - b[0], a[1] - b[1]];
        let cross = |a: [f64; 2], b: [f64; 2]| a[0] * b[1] - a[1] * b[0];
        let (d1, d2) = (less(p1, p2), less(p3, p2));
        let sum = [p0[0] - p1[0] + p2[0] - p3[0], p0[1] - p1[1] + p2[1] - p3[1]];
        let area = cross(d1, d2);
        // A box without area is a line, which is straight.
        let (g, h) =
            if area == 0.0 { (0.0, 0.0) } else { (cross(sum, d2) / area, cross(d1, sum) / area) };
        let row = |axis: usize| {
            [p1[axis] - p0[axis] + g * p1[axis], p3[axis] - p0[axis] + h * p3[axis], p0[axis]]
        };
        Projection { x: row(0), y: row(1), w: [g, h] }
    }

    fn at(&self, u: f64, v: f64) -> [f64; 2] {
        let w = self.w[0] * u + self.w[1] * v + 1.0;
        [self.x, self.y].map(|[a, b, c]| (a * u + b * v + c) / w)
    }
}

/// The color between the sixteen nearest pixels.
fn cubic(picture: &Pixels, [x, y]: [f64; 2]) -> [u8; 3] {
    let weights = |place: f64| {
        let t = (place - place.floor()) as f32;
        [1.0 + t, t, 1.0 - t, 2.0 - t].map(weight)
    };
    let (columns, rows) = (weights(x), weights(y));
    let (left, top) = (x.floor() as i64 - 1, y.floor() as i64 - 1);
    let mut sums = [0.0; 3];
    for (row, down) in (0..).zip(rows) {
        for (column, right) in (0..).zip(columns) {
            let pixel = picture.at(left + column, top + row);
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += f32::from(value) * right * down;
            }
        }
    }
    sums.map(|sum| sum.round() as u8)
}

/// Cubic convolution (R. Keys, 1981, eq. 4) at a distance of 0 to 2 pixels.
fn weight(distance: f32) -> f32 {
    let (a, d) = (CUBIC, distance);
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Red tells the column, green the row.
    fn grid(width: usize, height: usize) -> Pixels {
        let place = |at: usize| [(at % width * 4) as u8, (at / width * 4) as u8, 7];
        Pixels::new(width, height, (0..width * height).flat_map(place).collect())
    }

    #[test]
    fn a_box_along_the_axes_is_cut_as_it_stands() {
        let quad = Quad([[3.0, 2.0], [23.0, 2.0], [23.0, 12.0], [3.0, 12.0]]);
        let line = cut(&grid(40, 30), &quad);
        assert_eq!((line.width, line.height), (20, 10));
        assert_eq!((line.at(0, 0), line.at(19, 9)), ([12, 8, 7], [88, 44, 7]));
    }

    #[test]
    fn a_high_box_is_laid_down_to_the_left() {
        let quad = Quad([[3.0, 2.0], [13.0, 2.0], [13.0, 22.0], [3.0, 22.0]]);
        let line = cut(&grid(40, 30), &quad);
        assert_eq!((line.width, line.height), (20, 10));
        assert_eq!((line.at(0, 0), line.at(19, 0)), ([48, 8, 7], [48, 84, 7]));
    }

    #[test]
    fn corners_are_met_by_the_projection() {
        let quad = Quad([[1.0, 2.0], [30.0, 4.0], [28.0, 20.0], [3.0, 15.0]]);
        let map = Projection::onto(&quad);
        for ((u, v), corner) in
            [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)].into_iter().zip(quad.0)
        {
            let found = map.at(u, v);
            assert!(
                (0..2).all(|axis| (found[axis] - corner[axis]).abs() < 1e-9),
                "{found:?} {corner:?}"
            );
        }
    }

    #[test]
    fn lines_that_are_cut_have_bounds() {
        let quad = |width: f64, height: f64| {
            Quad([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])
        };
        let size = |width, height| {
            let line = cut(&grid(2, 2), &quad(width, height));
            (line.width, line.height)
        };
        assert_eq!(size(960.0, 960.0), (480, 480));
        assert_eq!(size(480.0, 481.0), (480, 481));
        assert_eq!(size(65_536.0, 4.0), (32_768, 2));
        assert_eq!(size(0.0, 0.0), (1, 1));
    }

    proptest! {
        #[test]
        fn any_box_is_cut(numbers in prop::collection::vec(-50.0f64..50.0, 8)) {
            let corner = |at: usize| [numbers[2 * at], numbers[2 * at + 1]];
            let line = cut(&grid(9, 9), &Quad(core::array::from_fn(corner)));
            prop_assert_eq!(line.bytes.len(), 3 * line.width * line.height);
        }
    }
}
