//! Products whose leading axes broadcast, as runs of products at equal distances.

use super::extent;
use aimass_cuda::DeviceError;

/// Most runs of a product: each is a launch or two.
const RUNS_MAX: u64 = 1024;

/// The products of two batches of matrices that broadcast: `outer` runs of `batch` products each, whose
/// results lie one after the other.
pub(super) struct Runs {
    /// Products of a run, at least 1.
    pub(super) batch: u32,
    /// Matrices of each side from one product of a run to the next; 0 if they share one.
    pub(super) strides: [u64; 2],
    /// Axes before those of a run, each with its extent and the strides of both sides.
    outer: Vec<(u64, [u64; 2])>,
}

impl Runs {
    /// Of these leading extents, which broadcast and are not 0.
    ///
    /// # Errors
    /// [`DeviceError::Defect`] if the products of a run count in more than 32 bits, or there are more than
    /// [`RUNS_MAX`] runs: then the CPU does it.
    pub(super) fn new(x: &[usize], y: &[usize]) -> Result<Runs, DeviceError> {
        let rank = x.len().max(y.len());
        // Innermost first; axes that both sides walk alike are one.
        let mut axes: Vec<(u64, [u64; 2])> = Vec::with_capacity(rank);
        let mut dense = [1u64; 2];
        for axis in 1..=rank {
            let own = [x, y].map(|lead| lead.len().checked_sub(axis).map_or(1, |at| lead[at]));
            let extent = own[0].max(own[1]) as u64;
            if extent == 1 {
                continue;
            }
            let strides = [0, 1].map(|side: usize| if own[side] == 1 { 0 } else { dense[side] });
            dense = [0, 1].map(|side: usize| dense[side] * own[side] as u64);
            match axes.last_mut() {
                Some((inner, steps)) if strides == steps.map(|step| step * *inner) => {
                    *inner *= extent;
                }
                Some(_) | None => axes.push((extent, strides)),
            }
        }
        let mut axes = axes.into_iter();
        let (batch, strides) = axes.next().unwrap_or((1, [0, 0]));
        let batch = extent(&[usize::try_from(batch).unwrap_or(usize::MAX)])?;
        let runs = Runs { batch, strides, outer: axes.collect() };
        match runs.count() <= RUNS_MAX {
            true => Ok(runs),
            false => Err(DeviceError::Defect("a product of more than 1,024 runs of matrices")),
        }
    }

    fn count(&self) -> u64 {
        self.outer.iter().fold(1u64, |all, (extent, _)| all.saturating_mul(*extent))
    }

    /// For every run, the first matrix of either side and the first result.
    pub(super) fn each(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        (0..self.count()).map(|run| {
            let (mut left, mut at) = (run, [0, 0]);
            for (extent, strides) in &self.outer {
                let index = left % extent;
                left /= extent;
                at = [at[0] + index * strides[0], at[1] + index * strides[1]];
            }
            (at[0], at[1], run * u64::from(self.batch))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All products in their order, as pairs of matrices.
    fn pairs(x: &[usize], y: &[usize]) -> (u32, Vec<(u64, u64)>) {
        let runs = Runs::new(x, y).unwrap();
        let mut all = Vec::new();
        for (i, j, out) in runs.each() {
            assert_eq!(out, all.len() as u64);
            let strides = runs.strides;
            all.extend(
                (0..u64::from(runs.batch)).map(|n| (i + n * strides[0], j + n * strides[1])),
            );
        }
        (runs.batch, all)
    }

    #[test]
    fn axes_that_both_sides_walk_alike_are_one_run() {
        assert_eq!(pairs(&[], &[]), (1, vec![(0, 0)]));
        assert_eq!(pairs(&[2, 3], &[2, 3]).0, 6);
        assert_eq!(pairs(&[1, 2], &[2, 1, 2]), (2, vec![(0, 0), (1, 1), (0, 2), (1, 3)]));
        assert_eq!(pairs(&[2, 1, 3], &[1, 2, 1]).0, 3);
        let crossed = vec![(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)];
        assert_eq!(pairs(&[3, 1], &[2]), (2, crossed));
        assert_eq!(pairs(&[3, 1], &[1, 2, 1, 1]), (3, (0..6).map(|i| (i % 3, i / 3)).collect()));
    }

    #[test]
    fn products_of_too_many_runs_are_refused() {
        assert_eq!(pairs(&[1024, 1], &[2]).1.len(), 2048);
        assert!(Runs::new(&[1025, 1], &[2]).is_err());
        // Three axes of runs, none of which has too many.
        assert_eq!(pairs(&[16, 1, 32, 1], &[2, 1, 2]).1.len(), 2048);
        assert!(Runs::new(&[16, 1, 33, 1], &[2, 1, 2]).is_err());
        // One run, however many products.
        assert_eq!(Runs::new(&[1 << 20], &[1 << 20]).unwrap().count(), 1);
    }
}
