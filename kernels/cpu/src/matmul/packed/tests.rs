use super::*;
use crate::activation::Activation;
use crate::level::for_each_level;
use crate::pool::KernelPool;
use crate::vector_math::gelu;
use proptest::prelude::*;
use std::sync::LazyLock;

static POOL: LazyLock<KernelPool> = LazyLock::new(|| KernelPool::new(3));

fn numbers(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| (((i + seed) * 7919) % 2003) as f32 / 1001.5 - 1.0).collect()
}

struct Case {
    m: usize,
    n: usize,
    k: usize,
    a: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    residual: Vec<f32>,
}

impl Case {
    fn new(m: usize, n: usize, k: usize) -> Case {
        Case {
            m,
            n,
            k,
            a: numbers(m * (k + 3), 1),
            weights: numbers(k * n, 2),
            bias: numbers(n, 3),
            residual: numbers(m * (n + 2), 4),
        }
    }

    fn a(&self) -> Rows<'_> {
        Rows::new(&self.a, self.m, self.k, self.k + 3)
    }

    fn epilogue(&self, activation: Activation) -> Epilogue<'_> {
        let residual = Rows::new(&self.residual, self.m, self.n, self.n + 2);
        let finish = Finish { activation, ..Finish::default() };
        Epilogue { bias: Some(&self.bias), finish, residual: Some(residual) }
    }

    /// One element as one chain of multiply-adds.
    fn element(&self, i: usize, j: usize, activation: Activation) -> f32 {
        let row = self.a().row(i);
        let chain = |sum: f32, p: usize| row[p].mul_add(self.weights[p * self.n + j], sum);
        let sum = (0..self.k).fold(self.bias[j], chain);
        let y = if activation == Activation::Gelu { gelu(sum) } else { sum };
        y + self.residual[i * (self.n + 2) + j]
    }

    fn check(&self, team: Team<'_>, activation: Activation) {
        let packed = PackedMatrix::pack(self.k, self.n, &self.weights);
        let stride = self.n + 5;
        let mut c = vec![7f32; self.m * stride];
        let view = RowsMut::new(&mut c, self.m, self.n, stride);
        matmul_packed(team, self.a(), &packed, view, &self.epilogue(activation));
        for (i, j) in (0..self.m).flat_map(|i| (0..stride).map(move |j| (i, j))) {
            let want = if j < self.n { self.element(i, j, activation) } else { 7.0 };
            let got = c[i * stride + j];
            let Case { m, n, k, .. } = self;
            assert_eq!(got.to_bits(), want.to_bits(), "{m} x {n} x {k} at {i}, {j}: {got} {want}");
        }
    }
}

#[test]
fn every_height_and_odd_width_gives_the_plain_chain_of_multiply_adds() {
    for_each_level(|_| {
        for m in 1..=20 {
            for n in [1, 15, 17, 49, 80] {
                for k in [1, 7, 33] {
                    Case::new(m, n, k).check(Team::alone(), Activation::Gelu);
                }
            }
        }
        Case::new(3, 20, 0).check(Team::alone(), Activation::None);
        Case::new(0, 20, 4).check(Team::alone(), Activation::None);
    });
}

#[test]
fn long_sums_go_on_over_their_blocks() {
    for_each_level(|_| {
        for (m, n, k) in [(5, 33, 900), (150, 40, 385), (13, 16, 768)] {
            Case::new(m, n, k).check(Team::alone(), Activation::None);
        }
    });
}

#[test]
fn threads_change_no_bit() {
    for (m, n, k) in [(1, 3000, 200), (40, 500, 64), (97, 50, 64), (300, 100, 70)] {
        for threads in [1, 2, 3] {
            Case::new(m, n, k).check(POOL.team(threads), Activation::Gelu);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_row_alone_equals_the_row_in_any_block_and_split(
        m in 1usize..70, n in 1usize..140, k in 1usize..500, row in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(), threads in 1usize..4,
    ) {
        let case = Case::new(m, n, k);
        let packed = PackedMatrix::pack(k, n, &case.weights);
        let epilogue = Epilogue { bias: Some(&case.bias), ..Epilogue::default() };
        let mut all = vec![0f32; m * n];
        matmul_packed(POOL.team(threads), case.a(), &packed, RowsMut::dense(&mut all, n), &epilogue);
        let row = row.index(m);
        let mut alone = vec![0f32; n];
        let (left, right) = alone.split_at_mut(n.min(16 * cut.index(packed.panels() + 1)));
        let one = case.a().row_range(row..row + 1);
        let panels = left.len().div_ceil(16);
        let parts = [(0..panels, left), (panels..packed.panels(), right)];
        for (panels, part) in parts {
            let columns = part.len();
            let c = RowsMut::new(part, 1, columns, columns);
            matmul_packed_panels(one, &packed, panels, c, &epilogue);
        }
        for (alone, together) in alone.iter().zip(&all[row * n..]) {
            prop_assert_eq!(alone.to_bits(), together.to_bits());
        }
    }
}
