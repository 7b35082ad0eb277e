//! What ends a sum while it is still in a register: the few operations of the usual activations.

use super::{Activation, Finish, Parametric};

/// A [`Finish`] as bounds, a gate and a factor, with the same bits as [`super::finish_rows`] gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ending {
    /// Whether a sum is first multiplied with its own hard sigmoid.
    pub(crate) swish: bool,
    /// Least and greatest value after that.
    pub(crate) bounds: [f32; 2],
    /// Factor and summand, rounded once.
    pub(crate) scaled: Option<(f32, f32)>,
    /// Least and greatest value after the residual.
    pub(crate) last: [f32; 2],
}

/// Bounds that let everything through.
const OPEN: [f32; 2] = [f32::NEG_INFINITY, f32::INFINITY];

impl Ending {
    /// The finish as an ending; `None` for functions that are more than bounds.
    pub(crate) fn of(finish: &Finish) -> Option<Ending> {
        let swish = finish.activation == Activation::With(Parametric::HardSwish);
        let bounds = if swish { OPEN } else { bounds_of(finish.activation)? };
        Some(Ending { swish, bounds, scaled: finish.scaled, last: bounds_of(finish.last)? })
    }

    /// Ends `L` sums; `residual` is what is added to them.
    #[inline(always)]
    pub(crate) fn apply<const L: usize>(
        &self,
        sums: [f32; L],
        residual: Option<[f32; L]>,
    ) -> [f32; L] {
        let mut y = sums;
        if self.swish {
            each(&mut y, super::parametric::hard_swish);
        }
        bound(&mut y, self.bounds);
        if let Some((factor, summand)) = self.scaled {
            each(&mut y, |y| y.mul_add(factor, summand));
        }
        if let Some(residual) = residual {
            for lane in 0..L {
                y[lane] += residual[lane];
            }
        }
        bound(&mut y, self.last);
        y
    }
}

// Loops, for the methods of arrays are not compiled for the instructions of the caller.
#[inline(always)]
fn each<const L: usize>(y: &mut [f32; L], f: impl Fn(f32) -> f32) {
    for y in y {
        *y = f(*y);
    }
}

#[inline(always)]
fn bound<const L: usize>(y: &mut [f32; L], [low, high]: [f32; 2]) {
    each(y, |y| {
        let y = if y < low { low } else { y };
        if y > high { high } else { y }
    });
}

fn bounds_of(activation: Activation) -> Option<[f32; 2]> {
    match activation {
        Activation::None => Some(OPEN),
        Activation::Relu => Some([0.0, f32::INFINITY]),
        Activation::Clamp { low, high } => Some([low, high]),
        Activation::Gelu
        | Activation::GeluTanh
        | Activation::Silu
        | Activation::Tanh
        | Activation::Sigmoid
        | Activation::With(_) => None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::activation::finish_rows;
    use crate::level::for_each_level;
    use crate::view::{Rows, RowsMut};

    /// Finishes that are endings, and numbers that show where they differ.
    pub(crate) const FINISHES: [Finish; 6] = {
        let plain = Finish { activation: Activation::None, scaled: None, last: Activation::None };
        let clamp = Activation::Clamp { low: -0.5, high: 0.75 };
        let swish = Activation::With(Parametric::HardSwish);
        [
            plain,
            Finish { last: Activation::Relu, ..plain },
            Finish { activation: Activation::Relu, scaled: Some((-3.0, 0.5)), last: clamp },
            Finish { activation: clamp, ..plain },
            Finish { activation: swish, ..plain },
            Finish { activation: swish, scaled: Some((1.5, -0.25)), last: Activation::Relu },
        ]
    };

    pub(crate) const EDGES: [f32; 16] = [
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        0.0,
        1e-40,
        -1e-40,
        -3.0,
        -2.999,
        3.0,
        0.75,
        -0.5,
        f32::MAX,
        f32::MIN,
        0.3,
        -1.7,
    ];

    #[test]
    fn an_ending_has_the_bits_of_its_finish() {
        for_each_level(|level| {
            for finish in &FINISHES {
                let ending = Ending::of(finish).unwrap();
                for shift in 0..16 {
                    let mut more = EDGES;
                    more.rotate_left(shift);
                    for residual in [None, Some(more)] {
                        let mut want = EDGES;
                        let rows = residual.as_ref().map(|more| Rows::dense(more, 16));
                        finish_rows(finish, RowsMut::dense(&mut want, 16), rows);
                        let got = ending.apply(EDGES, residual);
                        for (got, want) in got.iter().zip(want) {
                            let same = got.to_bits() == want.to_bits();
                            assert!(same || got.is_nan() && want.is_nan(), "{finish:?} {level:?}");
                        }
                    }
                }
            }
        });
    }

    #[test]
    fn functions_that_are_more_than_bounds_are_no_endings() {
        for activation in [Activation::Silu, Activation::With(Parametric::Elu { alpha: 1.0 })] {
            assert_eq!(Ending::of(&Finish { activation, ..Finish::default() }), None);
            assert_eq!(Ending::of(&Finish { last: activation, ..Finish::default() }), None);
        }
    }
}
