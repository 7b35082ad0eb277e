//! Pictures in the plugin's memory: red, green and blue bytes.

/// A picture of at least one pixel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pixels {
    pub(crate) width: usize,
    pub(crate) height: usize,
    /// Row by row, three bytes a pixel.
    pub(crate) bytes: Vec<u8>,
}

impl Pixels {
    pub(crate) fn new(width: usize, height: usize, bytes: Vec<u8>) -> Pixels {
        debug_assert_eq!(bytes.len(), 3 * width * height);
        Pixels { width, height, bytes }
    }

    /// The pixel at a place; beyond an edge that of the edge.
    pub(crate) fn at(&self, x: i64, y: i64) -> [u8; 3] {
        let inside = |place: i64, side: usize| place.clamp(0, side as i64 - 1) as usize;
        let place = 3 * (inside(y, self.height) * self.width + inside(x, self.width));
        [self.bytes[place], self.bytes[place + 1], self.bytes[place + 2]]
    }

    /// With this many black rows above and below.
    pub(crate) fn padded(&self, rows: usize) -> Pixels {
        let black = vec![0; 3 * self.width * rows];
        let bytes = [black.as_slice(), &self.bytes, &black].concat();
        Pixels::new(self.width, self.height + 2 * rows, bytes)
    }

    /// Turned by 180 degrees.
    pub(crate) fn turn_around(&mut self) {
        self.bytes.reverse();
        self.bytes.chunks_exact_mut(3).for_each(<[u8]>::reverse);
    }

    /// Turned by 90 degrees, against the clock.
    pub(crate) fn turned_left(&self) -> Pixels {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        for x in (0..self.width).rev() {
            for y in 0..self.height {
                bytes.extend(self.at(x as i64, y as i64));
            }
        }
        Pixels::new(self.height, self.width, bytes)
    }

    /// Each pixel between the four nearest, whatever the scale: OpenCV's `INTER_LINEAR`.
    pub(crate) fn resized(&self, width: usize, height: usize) -> Pixels {
        let columns = places(self.width, width);
        let mut bytes = Vec::with_capacity(3 * width * height);
        for (y, down) in places(self.height, height) {
            for (x, right) in &columns {
                let corners =
                    [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| self.at(x + dx, y + dy));
                for channel in 0..3 {
                    let [a, b, c, d] = corners.map(|pixel| f32::from(pixel[channel]));
                    let (above, below) = (a + (b - a) * right, c + (d - c) * right);
                    bytes.push((above + (below - above) * down).round() as u8);
                }
            }
        }
        Pixels::new(width, height, bytes)
    }
}

/// For each place of the new axis the place before it on the old one, and how far behind that it lies.
fn places(old: usize, new: usize) -> Vec<(i64, f32)> {
    let scale = old as f64 / new as f64;
    let place = |at: usize| {
        let place = (at as f64 + 0.5) * scale - 0.5;
        (place.floor() as i64, (place - place.floor()) as f32)
    };
    (0..new).map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gray(width: usize, values: &[u8]) -> Pixels {
        let bytes = values.iter().flat_map(|value| [*value; 3]).collect();
        Pixels::new(width, values.len() / width, bytes)
    }

    #[test]
    fn turning_moves_every_pixel() {
        let mut picture = gray(3, &[1, 2, 3, 4, 5, 6]);
        assert_eq!(picture.turned_left(), gray(2, &[3, 6, 2, 5, 1, 4]));
        picture.turn_around();
        assert_eq!(picture, gray(3, &[6, 5, 4, 3, 2, 1]));
        let mut color = Pixels::new(2, 1, vec![1, 2, 3, 4, 5, 6]);
        color.turn_around();
        assert_eq!(color.bytes, [4, 5, 6, 1, 2, 3]);
    }

    #[test]
    fn resizing_goes_between_the_nearest_pixels() {
        let picture = gray(2, &[0, 100]);
        assert_eq!(picture.resized(4, 2), gray(4, &[0, 25, 75, 100, 0, 25, 75, 100]));
        assert_eq!(gray(4, &[0, 10, 20, 90]).resized(2, 1), gray(2, &[5, 55]));
        assert_eq!(picture.resized(2, 1), picture);
    }

    #[test]
    fn rows_are_added_on_both_sides() {
        assert_eq!(gray(2, &[7, 8]).padded(1), gray(2, &[0, 0, 7, 8, 0, 0]));
    }
}
