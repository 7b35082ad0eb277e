//! Where a resized axis takes its samples from, and with which weights.

/// How an output place is found in the input (ONNX `coordinate_transformation_mode`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Coordinates {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    /// Start and end of the axis that is resized, both 0 to 1.
    TfCropAndResize(f64, f64),
}

/// Which of two elements is the nearest one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Nearest {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
}

/// How samples are mixed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Filter {
    Nearest(Nearest),
    Linear,
    /// With its coefficient.
    Cubic(f64),
}

/// The resizing of one axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) scale: f64,
    pub(super) coordinates: Coordinates,
    pub(super) filter: Filter,
    pub(super) antialias: bool,
    pub(super) exclude_outside: bool,
}

/// Samples of every output place.
#[derive(Debug, PartialEq)]
pub(super) struct Taps {
    /// Samples of one place.
    pub(super) count: usize,
    /// [to, count]
    pub(super) indices: Vec<i32>,
    /// [to, count]
    pub(super) weights: Vec<f64>,
    /// Places that lie outside of what is resized; empty if none does.
    pub(super) outside: Vec<bool>,
}

impl Axis {
    /// Where the center of output place `to` lies among the input's elements.
    fn source(&self, to: u64) -> f64 {
        let (x, from, width) = (to as f64, self.from as f64, self.scale * self.from as f64);
        let half_pixel = (x + 0.5) / self.scale - 0.5;
        match self.coordinates {
            Coordinates::HalfPixel => half_pixel,
            Coordinates::HalfPixelSymmetric => {
                let adjustment = self.to as f64 / width;
                from / 2.0 * (1.0 - adjustment) + half_pixel
            }
            Coordinates::PytorchHalfPixel if self.to <= 1 => 0.0,
            Coordinates::PytorchHalfPixel => half_pixel,
            Coordinates::AlignCorners if width == 1.0 || self.to <= 1 => 0.0,
            Coordinates::AlignCorners => x * (from - 1.0) / (width - 1.0),
            Coordinates::Asymmetric => x / self.scale,
            Coordinates::TfHalfPixelForNn => (x + 0.5) / self.scale,
            Coordinates::TfCropAndResize(start, end) if self.to <= 1 => {
                0.5 * (start + end) * (from - 1.0)
            }
            Coordinates::TfCropAndResize(start, end) => {
                start * (from - 1.0) + x * (end - start) * (from - 1.0) / (self.to as f64 - 1.0)
            }
        }
    }

    /// How far the filter is stretched: more than 1 where an antialiased one shrinks.
    fn stretch(&self) -> f64 {
        if self.antialias && self.scale < 1.0 { 1.0 / self.scale } else { 1.0 }
    }

    /// Elements on each side that the filter reaches.
    fn reach(&self) -> f64 {
        match self.filter {
            Filter::Nearest(_) => 0.5,
            Filter::Linear => self.stretch(),
            Filter::Cubic(_) => 2.0 * self.stretch(),
        }
    }

    /// Samples of one output place.
    pub(super) fn count(&self) -> u64 {
        match self.filter {
            Filter::Nearest(_) => 1,
            Filter::Linear | Filter::Cubic(_) => 2 * self.reach().ceil() as u64,
        }
    }

    /// Samples and weights of all places.
    pub(super) fn taps(&self) -> Taps {
        let count = self.count() as usize;
        let mut taps =
            Taps { count, indices: Vec::new(), weights: Vec::new(), outside: Vec::new() };
        for to in 0..self.to {
            let source = self.source(to);
            if let Coordinates::TfCropAndResize(..) = self.coordinates {
                taps.outside.push(!(0.0..=self.from as f64 - 1.0).contains(&source));
            }
            match self.filter {
                Filter::Nearest(nearest) => {
                    taps.indices.push(self.clamped(nearest.of(source)));
                    taps.weights.push(1.0);
                }
                Filter::Linear | Filter::Cubic(_) => self.mix(source, count, &mut taps),
            }
        }
        if !taps.outside.contains(&true) {
            taps.outside.clear();
        }
        taps
    }

    fn clamped(&self, index: f64) -> i32 {
        index.clamp(0.0, (self.from as f64 - 1.0).max(0.0)) as i32
    }

    fn mix(&self, source: f64, count: usize, taps: &mut Taps) {
        // The lower of two places if the source is on an element: its weight is then 0.
        let first = source.ceil() - (count / 2) as f64;
        let mut weights = Vec::with_capacity(count);
        for tap in 0..count {
            let index = first + tap as f64;
            let inside = (0.0..self.from as f64).contains(&index);
            let weight = self.weight((index - source) / self.stretch());
            weights.push(if inside || !self.exclude_outside { weight } else { 0.0 });
            taps.indices.push(self.clamped(index));
        }
        let total: f64 = weights.iter().sum();
        let scaled = (self.antialias || self.exclude_outside) && total != 0.0;
        let total = if scaled { total } else { 1.0 };
        taps.weights.extend(weights.into_iter().map(|weight| weight / total));
    }

    /// The filter at this distance from its center.
    fn weight(&self, distance: f64) -> f64 {
        let x = distance.abs();
        match self.filter {
            Filter::Nearest(_) => 1.0,
            Filter::Linear => (1.0 - x).max(0.0),
            Filter::Cubic(a) if x <= 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            Filter::Cubic(a) if x < 2.0 => ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a,
            Filter::Cubic(_) => 0.0,
        }
    }
}

impl Nearest {
    fn of(self, source: f64) -> f64 {
        match self {
            Nearest::RoundPreferFloor => (source - 0.5).ceil(),
            Nearest::RoundPreferCeil => (source + 0.5).floor(),
            Nearest::Floor => source.floor(),
            Nearest::Ceil => source.ceil(),
        }
    }
}

impl Taps {
    /// By how much every element is repeated, if that is all that happens.
    pub(super) fn repeats(&self, from: u64) -> Option<u64> {
        let to = self.indices.len() as u64;
        let factor = to.checked_div(from).filter(|factor| factor * from == to)?;
        let repeated = |(place, &index): (usize, &i32)| index as u64 == place as u64 / factor;
        let plain = self.count == 1 && self.outside.is_empty() && factor > 0;
        (plain && self.indices.iter().enumerate().all(repeated)).then_some(factor)
    }

    /// Start and step of the elements, if they are evenly spaced.
    pub(super) fn strides(&self) -> Option<(u64, u64)> {
        let (&[first, second, ..], true) =
            (&self.indices[..], self.count == 1 && self.outside.is_empty())
        else {
            return None;
        };
        let step = second - first;
        let even = self.indices.windows(2).all(|pair| pair[1] - pair[0] == step);
        (even && step > 0).then_some((first as u64, step as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(from: u64, to: u64, filter: Filter, coordinates: Coordinates) -> Axis {
        let scale = to as f64 / from as f64;
        Axis { from, to, scale, coordinates, filter, antialias: false, exclude_outside: false }
    }

    #[test]
    fn nearest_samples_by_a_whole_factor_are_repeats_or_strides() {
        let nearest = Filter::Nearest(Nearest::RoundPreferFloor);
        for coordinates in [Coordinates::HalfPixel, Coordinates::PytorchHalfPixel] {
            let taps = axis(3, 6, nearest, coordinates).taps();
            assert_eq!(taps.repeats(3), Some(2), "{coordinates:?}");
        }
        let floor = Filter::Nearest(Nearest::Floor);
        assert_eq!(axis(3, 9, floor, Coordinates::Asymmetric).taps().repeats(3), Some(3));
        assert_eq!(axis(6, 3, floor, Coordinates::Asymmetric).taps().strides(), Some((0, 2)));
        assert_eq!(axis(6, 3, floor, Coordinates::HalfPixel).taps().strides(), Some((0, 2)));
        assert_eq!(axis(3, 4, floor, Coordinates::Asymmetric).taps().repeats(3), None);
        assert_eq!(axis(3, 4, floor, Coordinates::Asymmetric).taps().strides(), None);
    }

    #[test]
    fn weights_of_every_place_add_up_to_one() {
        for filter in [Filter::Linear, Filter::Cubic(-0.75), Filter::Cubic(-0.5)] {
            for (from, to) in [(4, 8), (8, 3), (5, 5), (1, 3), (4, 1)] {
                for (antialias, exclude_outside) in [(false, false), (true, false), (true, true)] {
                    let axis = axis(from, to, filter, Coordinates::HalfPixel);
                    let taps = Axis { antialias, exclude_outside, ..axis }.taps();
                    for weights in taps.weights.chunks(taps.count) {
                        let total: f64 = weights.iter().sum();
                        assert!((total - 1.0).abs() < 1e-9, "{filter:?} {from} {to}: {weights:?}");
                    }
                    assert!(taps.indices.iter().all(|&index| (0..from as i32).contains(&index)));
                }
            }
        }
    }

    #[test]
    fn aligned_corners_stay_where_they_are() {
        let taps = axis(3, 5, Filter::Linear, Coordinates::AlignCorners).taps();
        let at = |place: usize| -> f64 {
            let pairs = taps.indices.chunks(2).zip(taps.weights.chunks(2));
            let (indices, weights) = pairs.into_iter().nth(place).unwrap();
            indices.iter().zip(weights).map(|(&index, weight)| f64::from(index) * weight).sum()
        };
        assert_eq!([at(0), at(1), at(2), at(4)], [0.0, 0.5, 1.0, 2.0]);
    }

    #[test]
    fn a_crop_beyond_the_edge_is_marked() {
        let crop = Coordinates::TfCropAndResize(0.5, 1.5);
        assert_eq!(axis(3, 3, Filter::Linear, crop).taps().outside, [false, false, true]);
        let crop = Coordinates::TfCropAndResize(0.0, 1.0);
        assert!(axis(3, 3, Filter::Linear, crop).taps().outside.is_empty());
    }
}
