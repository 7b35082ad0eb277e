//! Rotary position embedding (arXiv:2104.09864).

use crate::level::leveled;
use crate::pool::Team;

/// Which elements of a head are a pair, and how fast each pair turns.
#[derive(Clone, Debug)]
pub struct Rotation {
    size: usize,
    interleaved: bool,
    /// Turns of a pair from one position to the next, `[size / 2]`.
    turns: Vec<f64>,
}

impl Rotation {
    /// Pair `i` of a head of `size` elements turns by `base^(-2 i / size)` radians a position; its
    /// elements are `2 i` and `2 i + 1` if `interleaved`, else `i` and `i + size / 2`.
    ///
    /// # Panics
    /// If `size` is odd.
    pub fn new(size: usize, base: f32, interleaved: bool) -> Rotation {
        assert!(size.is_multiple_of(2), "a head of {size} elements");
        let speed = |i: usize| f64::from(base).powf(-2.0 * i as f64 / size as f64);
        let turns = (0..size / 2).map(|i| speed(i) / std::f64::consts::TAU).collect();
        Rotation { size, interleaved, turns }
    }
}

/// Elements of one task.
const TASK_ELEMENTS: usize = 1 << 14;

/// Turns every head of every row of `x` in place; row `i` is at `positions[i % positions.len()]`.
///
/// Angles are reduced in f64, sines and cosines computed in f32 to about 1e-7.
///
/// # Panics
/// If `x` is no whole number of rows of `columns`, or those of no whole number of heads.
pub fn rotate(
    team: Team<'_>,
    rotation: &Rotation,
    columns: usize,
    positions: &[i64],
    x: &mut [f32],
) {
    if x.is_empty() || rotation.size == 0 {
        return;
    }
    assert!(x.len().is_multiple_of(columns) && columns.is_multiple_of(rotation.size), "heads");
    let rows = TASK_ELEMENTS.div_ceil(columns);
    team.chunks([x], [rows * columns], &|task, [x]| {
        let mut wave = vec![0f32; rotation.size];
        for (row, x) in x.chunks_exact_mut(columns).enumerate() {
            let position = positions[(task * rows + row) % positions.len()];
            let (cosines, sines) = wave.split_at_mut(rotation.size / 2);
            waves(position as f64, &rotation.turns, cosines, sines);
            for head in x.chunks_exact_mut(rotation.size) {
                match rotation.interleaved {
                    true => turn_pairs(head, cosines, sines),
                    false => turn_halves(head, cosines, sines),
                }
            }
        }
    });
}

leveled! {
    /// Cosines and sines of a number of turns each.
    fn waves(position: f64, turns: &[f64], cosines: &mut [f32], sines: &mut [f32]) = {
        for ((&turns, cosine), sine) in turns.iter().zip(cosines).zip(sines) {
            (*cosine, *sine) = wave(position * turns);
        }
    };
}

/// Cosine and sine of `2 π turns`.
#[inline(always)]
fn wave(turns: f64) -> (f32, f32) {
    /// Adding this rounds to an integer, kept in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // Numbers that large have no fraction.
    let part = if turns.abs() < 1e15 { turns - ((turns + ROUND) - ROUND) } else { 0.0 };
    let shifted = part * 4.0 + ROUND;
    let quarter = (shifted.to_bits() & 3) as u32;
    let rest = (part - (shifted - ROUND) * 0.25) as f32;
    let x = rest * std::f32::consts::TAU;
    let s = x * x;
    // Minimax polynomials on a quarter turn (Cephes sinf, cosf).
    let sine = (-1.951_529_6e-4f32).mul_add(s, 8.332_161e-3);
    let sine = sine.mul_add(s, -1.666_665_5e-1);
    let sine = (sine * s).mul_add(x, x);
    let cosine = 2.443_315_7e-5f32.mul_add(s, -1.388_731_6e-3);
    let cosine = cosine.mul_add(s, 4.166_664_6e-2);
    let cosine = (cosine * s).mul_add(s, (-0.5f32).mul_add(s, 1.0));
    let (a, b) = if quarter & 1 == 0 { (cosine, sine) } else { (sine, cosine) };
    let a = if quarter == 1 || quarter == 2 { -a } else { a };
    (a, if quarter >= 2 { -b } else { b })
}

leveled! {
    fn turn_halves(head: &mut [f32], cosines: &[f32], sines: &[f32]) = {
        let (left, right) = head.split_at_mut(cosines.len());
        for (((a, b), &cosine), &sine) in left.iter_mut().zip(right).zip(cosines).zip(sines) {
            let (x, y) = (*a, *b);
            *a = x * cosine - y * sine;
            *b = y * cosine + x * sine;
        }
    };
}

leveled! {
    fn turn_pairs(head: &mut [f32], cosines: &[f32], sines: &[f32]) = {
        for ((pair, &cosine), &sine) in head.chunks_exact_mut(2).zip(cosines).zip(sines) {
            let (x, y) = (pair[0], pair[1]);
            pair[0] = x * cosine - y * sine;
            pair[1] = y * cosine + x * sine;
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::for_each_level;
    use crate::pool::KernelPool;

    #[test]
    fn waves_are_accurate_for_small_and_large_angles() {
        for i in -40_000i32..40_000 {
            let turns = f64::from(i) * 0.000_713_77 * if i % 7 == 0 { 1e4 } else { 1.0 };
            let (cosine, sine) = wave(turns);
            let (want_sine, want_cosine) = (turns * std::f64::consts::TAU).sin_cos();
            assert!((f64::from(cosine) - want_cosine).abs() < 3e-7, "cosine of {turns} turns");
            assert!((f64::from(sine) - want_sine).abs() < 3e-7, "sine of {turns} turns");
        }
    }

    #[test]
    fn heads_turn_by_their_position() {
        let pool = KernelPool::new(3);
        for (interleaved, (size, heads, rows)) in [false, true]
            .into_iter()
            .flat_map(|i| [(2, 1, 1), (6, 3, 5), (64, 4, 300)].map(|s| (i, s)))
        {
            let columns = size * heads;
            let x: Vec<f32> =
                (0..rows * columns).map(|i| ((i * 7919) % 401) as f32 / 200.0 - 1.0).collect();
            let positions = [0i64, 7, -3, 100_000, 1];
            let rotation = Rotation::new(size, 10_000.0, interleaved);
            let mut first: Option<Vec<u32>> = None;
            for_each_level(|level| {
                let mut got = x.clone();
                rotate(pool.team(3), &rotation, columns, &positions, &mut got);
                for (at, got) in got.iter().enumerate() {
                    let (row, own) = (at / columns, at % size);
                    let (i, second, other) = match interleaved {
                        true => (own / 2, own % 2 == 1, at ^ 1),
                        false if own < size / 2 => (own, false, at + size / 2),
                        false => (own - size / 2, true, at - size / 2),
                    };
                    let speed = 10_000f64.powf(-2.0 * i as f64 / size as f64);
                    let (sine, cosine) = (positions[row % 5] as f64 * speed).sin_cos();
                    let (x, y) = (f64::from(x[at]), f64::from(x[other]));
                    let want = x * cosine + if second { y * sine } else { -y * sine };
                    assert!((f64::from(*got) - want).abs() < 2e-6, "element {at}");
                }
                let bits: Vec<u32> = got.iter().map(|x| x.to_bits()).collect();
                assert_eq!(*first.get_or_insert_with(|| bits.clone()), bits, "{level:?}");
            });
        }
    }
}
