//! Convex hulls and the smallest rectangles around them.

/// A place (x, y).
pub(crate) type Point = [f64; 2];

fn cross(origin: Point, a: Point, b: Point) -> f64 {
    (a[0] - origin[0]) * (b[1] - origin[1]) - (a[1] - origin[1]) * (b[0] - origin[0])
}

/// The corners of the convex hull in order, without those on its edges (A. M. Andrew, "Another efficient
/// algorithm for convex hulls in two dimensions", 1979).
pub(crate) fn hull(mut points: Vec<Point>) -> Vec<Point> {
    points.sort_by(|a, b| a[0].total_cmp(&b[0]).then(a[1].total_cmp(&b[1])));
    points.dedup();
    if points.len() < 3 {
        return points;
    }
    let half = |points: &mut dyn Iterator<Item = Point>| {
        let mut chain: Vec<Point> = Vec::new();
        for point in points {
            while let [.., before, last] = chain[..] {
                if cross(before, last, point) > 0.0 {
                    break;
                }
                chain.pop();
            }
            chain.push(point);
        }
        chain.pop();
        chain
    };
    let mut corners = half(&mut points.iter().copied());
    corners.extend(half(&mut points.iter().rev().copied()));
    corners
}

/// The smallest rectangle around a convex hull, which shares an edge with it (H. Freeman and R. Shapira,
/// "Determining the minimum-area encasing rectangle for an arbitrary closed curve", 1975): its corners
/// in order.
pub(crate) fn smallest_rectangle(hull: &[Point]) -> [Point; 4] {
    let mut best = ([hull.first().copied().unwrap_or_default(); 4], f64::INFINITY);
    for (index, start) in hull.iter().enumerate() {
        let end = hull[(index + 1) % hull.len()];
        let length = distance(*start, end);
        if length == 0.0 {
            continue;
        }
        let axis = [(end[0] - start[0]) / length, (end[1] - start[1]) / length];
        let rectangle = around(hull, axis);
        let area = distance(rectangle[0], rectangle[1]) * distance(rectangle[1], rectangle[2]);
        if area < best.1 {
            best = (rectangle, area);
        }
    }
    best.0
}

/// The rectangle around points with one side along `axis`.
fn around(points: &[Point], axis: Point) -> [Point; 4] {
    let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
    for point in points {
        let along =
            [point[0] * axis[0] + point[1] * axis[1], point[1] * axis[0] - point[0] * axis[1]];
        for side in 0..2 {
            low[side] = low[side].min(along[side]);
            high[side] = high[side].max(along[side]);
        }
    }
    let back = |u: f64, v: f64| [u * axis[0] - v * axis[1], u * axis[1] + v * axis[0]];
    [back(low[0], low[1]), back(high[0], low[1]), back(high[0], high[1]), back(low[0], high[1])]
}

/// The corners with the top left one first, then clockwise (y grows downwards).
pub(crate) fn ordered(corners: [Point; 4]) -> [Point; 4] {
    let mut sorted = corners;
    sorted.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let [mut left, mut right] = [[sorted[0], sorted[1]], [sorted[2], sorted[3]]];
    left.sort_by(|a, b| a[1].total_cmp(&b[1]));
    right.sort_by(|a, b| a[1].total_cmp(&b[1]));
    [left[0], right[0], right[1], left[1]]
}

/// Distance of two places.
pub(crate) fn distance(a: Point, b: Point) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

/// Area and circumference of a polygon.
pub(crate) fn area_and_circumference(corners: &[Point]) -> (f64, f64) {
    let next = corners.iter().cycle().skip(1);
    let edges = corners.iter().zip(next);
    let (area, length) = edges.fold((0.0, 0.0), |(area, length), (a, b)| {
        (area + a[0] * b[1] - a[1] * b[0], length + distance(*a, *b))
    });
    (f64::abs(area) / 2.0, length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_tilted_rectangle_is_found_again() {
        let corners = [[2.0, 0.0], [8.0, 6.0], [6.0, 8.0], [0.0, 2.0]];
        let mut points = corners.to_vec();
        points.extend([[3.0, 3.0], [4.0, 4.0], [5.0, 3.0]]);
        let found = ordered(smallest_rectangle(&hull(points)));
        for (found, expected) in found.iter().zip(ordered(corners)) {
            assert!(distance(*found, expected) < 1e-9, "{found:?} {expected:?}");
        }
        let (area, circumference) = area_and_circumference(&corners);
        assert!((area - 24.0).abs() < 1e-9 && (circumference - 8.0 * 8f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn a_point_and_a_line_have_a_rectangle() {
        assert_eq!(smallest_rectangle(&hull(vec![[1.0, 2.0]; 3])), [[1.0, 2.0]; 4]);
        let line = ordered(smallest_rectangle(&hull(vec![[0.0, 0.0], [4.0, 0.0], [2.0, 0.0]])));
        assert_eq!(area_and_circumference(&line), (0.0, 8.0));
        assert_eq!(smallest_rectangle(&[]), [[0.0; 2]; 4]);
    }

    proptest! {
        #[test]
        fn every_point_lies_in_the_rectangle(
            points in prop::collection::vec((0i32..50, 0i32..50), 1..40),
        ) {
            let points: Vec<Point> =
                points.iter().map(|(x, y)| [f64::from(*x), f64::from(*y)]).collect();
            let rectangle = smallest_rectangle(&hull(points.clone()));
            for point in points {
                for (index, corner) in rectangle.iter().enumerate() {
                    prop_assert!(cross(*corner, rectangle[(index + 1) % 4], point) > -1e-6);
                }
            }
        }
    }
}
