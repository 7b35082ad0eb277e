//! Support vector machines.

use super::classes::{Labels, Transform};
use super::{Table, floats, matrix, one};
use crate::content::{int_vector, number_tensor, scalar};
use crate::node::{Cx, Inputs};
use crate::value::{R, T, Value, invalid, unsupported};
use aimass_sdk::DType;

pub(super) const TABLE: Table =
    &[("SVMClassifier", svm_classifier), ("SVMRegressor", svm_regressor)];

/// Elements of the differences of one row from all support vectors.
const DIFFERENCES_MAX: u64 = 1 << 20;
/// Classes whose probabilities are coupled; the steps for it are unrolled.
const COUPLED_CLASSES_MAX: usize = 24;
/// Steps of that coupling, as in LIBSVM.
const COUPLING_STEPS: usize = 100;

/// How two vectors are compared.
#[derive(Clone, Copy)]
enum Kernel {
    Linear,
    Poly,
    Rbf,
    Sigmoid,
}

fn attribute(cx: &Cx<'_>, name: &str) -> R<Vec<f64>> {
    let values = cx.attr_floats_opt(name)?.unwrap_or_default();
    Ok(values.iter().map(|&value| value.into()).collect())
}

fn kernel_of(cx: &Cx<'_>) -> R<Kernel> {
    Ok(match cx.attr_text("kernel_type", "LINEAR")? {
        "LINEAR" => Kernel::Linear,
        "POLY" => Kernel::Poly,
        "RBF" => Kernel::Rbf,
        "SIGMOID" => Kernel::Sigmoid,
        other => return Err(invalid(format!("kernel_type: unknown kernel {other}"))),
    })
}

/// Rows of numbers as a matrix whose columns they become: [width, rows].
fn columns(dtype: DType, values: &[f64], rows: usize, width: usize) -> R<T> {
    if rows.checked_mul(width) != Some(values.len()) {
        let got = values.len();
        return Err(invalid(format!("expected {rows} x {width} numbers, got {got}")));
    }
    let transposed: Vec<f64> = (0..width)
        .flat_map(|column| (0..rows).map(move |row| row * width + column))
        .map(|index| values[index])
        .collect();
    number_tensor(dtype, &[width as u64, rows as u64], &transposed)
}

/// The kernel of each row of `x` with each support vector: [n, vectors].
fn kernels(cx: &mut Cx<'_>, x: &T, vectors: usize) -> R<T> {
    let values = attribute(cx, "support_vectors")?;
    let width = x.extent(1)?;
    let kernel = kernel_of(cx)?;
    let parameters = attribute(cx, "kernel_params")?;
    let parameter = |index: usize| parameters.get(index).copied().unwrap_or(0.0);
    let supports = columns(x.dtype, &values, vectors, width as usize)?;
    if let Kernel::Rbf = kernel {
        let squares = distances(cx, x, &supports)?;
        let scaled = cx.mul_number(&squares, -parameter(0))?;
        return cx.exp(&scaled);
    }
    let products = cx.matmul(x, &supports)?;
    if let Kernel::Linear = kernel {
        return Ok(products);
    }
    let scaled = cx.mul_number(&products, parameter(0))?;
    let moved = cx.add_number(&scaled, parameter(1))?;
    match kernel {
        Kernel::Poly => {
            let degree = scalar(x.dtype, parameter(2))?;
            cx.pow(&moved, &degree)
        }
        Kernel::Linear | Kernel::Rbf | Kernel::Sigmoid => cx.tanh(&moved),
    }
}

/// Squares of the distances between rows of `x` and columns of `supports`: [n, vectors].
fn distances(cx: &mut Cx<'_>, x: &T, supports: &T) -> R<T> {
    let (width, vectors) = (supports.extent(0)?, supports.extent(1)?);
    if width.saturating_mul(vectors) <= DIFFERENCES_MAX {
        let (rows, supports) = (cx.unsqueeze(x, 1)?, cx.transpose(supports, &[1, 0])?);
        let differences = cx.sub(&rows, &supports)?;
        let squares = cx.mul(&differences, &differences)?;
        return cx.reduce_sum(&squares, &[2], false);
    }
    // |x - s|² = |x|² - 2 x·s + |s|²: less exact, but without a row of differences a vector.
    let products = cx.matmul(x, supports)?;
    let products = cx.mul_number(&products, -2.0)?;
    let (own, other) = (cx.mul(x, x)?, cx.mul(supports, supports)?);
    let (own, other) = (cx.reduce_sum(&own, &[1], true)?, cx.reduce_sum(&other, &[0], true)?);
    let sums = cx.add(&own, &other)?;
    let squares = cx.add(&sums, &products)?;
    cx.relu(&squares)
}

fn svm_regressor(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = matrix(cx, inputs.tensor(0)?)?;
    let x = floats(cx, &x)?;
    let transform = Transform::of(cx)?;
    let vectors = usize::try_from(cx.attr_int("n_supports", 0)?).unwrap_or(0);
    let coefficients = attribute(cx, "coefficients")?;
    let rho = attribute(cx, "rho")?.first().copied().unwrap_or(0.0);
    let features = if vectors > 0 { kernels(cx, &x, vectors)? } else { x };
    let width = features.extent(1)? as usize;
    let weights = columns(features.dtype, &coefficients, 1, width)?;
    let sums = cx.matmul(&features, &weights)?;
    let sums = cx.add_number(&sums, rho)?;
    let sums = cx.cast(&sums, DType::F32)?;
    if cx.attr_flag("one_class")? {
        let (zero, one_, minus) =
            (scalar(DType::F32, 0.0)?, scalar(DType::F32, 1.0)?, scalar(DType::F32, -1.0)?);
        let inside = cx.greater(&sums, &zero)?;
        return one(cx.select(&inside, &one_, &minus)?);
    }
    one(transform.apply(cx, &sums)?)
}

fn svm_classifier(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = matrix(cx, inputs.tensor(0)?)?;
    let x = floats(cx, &x)?;
    let transform = Transform::of(cx)?;
    let labels = Labels::of(cx, "classlabels_ints", "classlabels_strings")?;
    let classes = labels.len().max(1);
    let counts = cx.attr_ints_opt("vectors_per_class")?.unwrap_or_default();
    if counts.iter().all(|&count| count == 0) {
        return linear(cx, &x, classes, (&labels, transform));
    }
    let duels = Duels::of(cx, classes, counts)?;
    let scores = duels.scores(cx, &x)?;
    let scores = cx.cast(&scores, DType::F32)?;
    let votes = duels.votes(cx, &scores)?;
    let label = labels.top(cx, &votes)?;
    let (prob_a, prob_b) = (attribute(cx, "prob_a")?, attribute(cx, "prob_b")?);
    if !prob_a.is_empty() {
        let pairs = duels.pairs.len();
        if prob_a.len() != pairs || prob_b.len() != pairs {
            return Err(invalid(format!("prob_a, prob_b: expected {pairs} numbers each")));
        }
        let shares = duels.probabilities(cx, &scores, (&prob_a, &prob_b))?;
        return Ok(vec![label, transform.apply(cx, &shares)?.into()]);
    }
    let scores = match duels.pairs.len() {
        1 => transform.pair(cx, &scores, false)?,
        _ => transform.apply(cx, &scores)?,
    };
    Ok(vec![label, scores.into()])
}

/// Without support vectors: a linear model with one bias.
fn linear(
    cx: &mut Cx<'_>,
    x: &T,
    classes: usize,
    (labels, transform): (&Labels, Transform),
) -> R<Vec<Value>> {
    let coefficients = attribute(cx, "coefficients")?;
    let weights = columns(x.dtype, &coefficients, classes, x.extent(1)? as usize)?;
    let rho = attribute(cx, "rho")?.first().copied().unwrap_or(0.0);
    let scores = cx.matmul(x, &weights)?;
    let scores = cx.add_number(&scores, rho)?;
    let scores = cx.cast(&scores, DType::F32)?;
    let label = match (classes, labels) {
        (1, Labels::Numbers(_)) => {
            let zero = scalar(DType::F32, 0.0)?;
            let above = cx.greater(&scores, &zero)?;
            Labels::Numbers(vec![0, 1]).choose(cx, &above)?
        }
        (1, Labels::Texts(_)) => return Err(unsupported("one class whose label is a text")),
        _ => labels.top(cx, &scores)?,
    };
    Ok(vec![label, transform.apply(cx, &scores)?.into()])
}

/// Every class against every other.
struct Duels {
    classes: usize,
    vectors: usize,
    pairs: Vec<(usize, usize)>,
    /// By class, its support vectors.
    ranges: Vec<std::ops::Range<usize>>,
}

impl Duels {
    fn of(cx: &Cx<'_>, classes: usize, counts: &[i64]) -> R<Duels> {
        if counts.len() != classes {
            let got = counts.len();
            return Err(invalid(format!("vectors_per_class: expected {classes}, got {got}")));
        }
        let total = cx.attr_floats_opt("support_vectors")?.unwrap_or_default().len();
        let mut vectors = 0usize;
        let mut ranges = Vec::with_capacity(classes);
        for &count in counts {
            let count = usize::try_from(count).ok().filter(|count| *count <= total);
            let count = count.ok_or_else(|| invalid("vectors_per_class: a bad count"))?;
            ranges.push(vectors..vectors + count);
            vectors += count;
        }
        if vectors > total || classes.saturating_mul(classes) > 1 << 16 {
            return Err(invalid("more classes or vectors than support_vectors has"));
        }
        let pairs = (0..classes).flat_map(|i| (i + 1..classes).map(move |j| (i, j))).collect();
        Ok(Duels { classes, vectors, pairs, ranges })
    }

    /// Above 0 where the first class of the pair wins: [n, pairs].
    fn scores(&self, cx: &mut Cx<'_>, x: &T) -> R<T> {
        let coefficients = attribute(cx, "coefficients")?;
        let rho = attribute(cx, "rho")?;
        let rows = self.classes.saturating_sub(1);
        if coefficients.len() != rows * self.vectors || rho.len() != self.pairs.len() {
            let (expected, pairs) = (rows * self.vectors, self.pairs.len());
            return Err(invalid(format!("expected {expected} coefficients and {pairs} of rho")));
        }
        let kernels = kernels(cx, x, self.vectors)?;
        let pairs = self.pairs.len();
        let mut weights = vec![0.0; self.vectors * pairs];
        for (pair, &(i, j)) in self.pairs.iter().enumerate() {
            for (row, vectors) in [(j - 1, &self.ranges[i]), (i, &self.ranges[j])] {
                for vector in vectors.clone() {
                    weights[vector * pairs + pair] = coefficients[row * self.vectors + vector];
                }
            }
        }
        let weights = number_tensor(x.dtype, &[self.vectors as u64, pairs as u64], &weights)?;
        let sums = cx.matmul(&kernels, &weights)?;
        let rho = number_tensor(x.dtype, &[pairs as u64], &rho)?;
        cx.add(&sums, &rho)
    }

    /// Pairs won by each class: [n, classes].
    fn votes(&self, cx: &mut Cx<'_>, scores: &T) -> R<T> {
        let zero = scalar(DType::F32, 0.0)?;
        let won = cx.greater(scores, &zero)?;
        let won = cx.cast(&won, DType::F32)?;
        let (mut gains, mut base) =
            (vec![0.0; self.pairs.len() * self.classes], vec![0.0; self.classes]);
        // The second class has the vote of each pair, until the first takes it.
        for (pair, &(i, j)) in self.pairs.iter().enumerate() {
            base[j] += 1.0;
            gains[pair * self.classes + i] += 1.0;
            gains[pair * self.classes + j] -= 1.0;
        }
        let shape = [self.pairs.len() as u64, self.classes as u64];
        let gains = number_tensor(DType::F32, &shape, &gains)?;
        let base = number_tensor(DType::F32, &shape[1..], &base)?;
        let moved = cx.matmul(&won, &gains)?;
        cx.add(&moved, &base)
    }

    /// Probabilities of the classes from those of the pairs (Wu, Lin and Weng 2004, second approach, with
    /// LIBSVM's steps and end): [n, classes].
    fn probabilities(&self, cx: &mut Cx<'_>, scores: &T, (a, b): (&[f64], &[f64])) -> R<T> {
        let (classes, pairs) = (self.classes, self.pairs.len());
        if classes > COUPLED_CLASSES_MAX {
            return Err(unsupported(format!(
                "probabilities of more than {COUPLED_CLASSES_MAX} classes"
            )));
        }
        let row = |values: &[f64]| number_tensor(DType::F32, &[pairs as u64], values);
        let scaled = cx.mul(scores, &row(a)?)?;
        let moved = cx.add(&scaled, &row(b)?)?;
        let opposite = cx.neg(&moved)?;
        let wins = cx.sigmoid(&opposite)?;
        let wins = cx.clamp(&wins, 1e-7, 1.0 - 1e-7)?;
        let negative = cx.neg(&wins)?;
        let losses = cx.add_number(&negative, 1.0)?;
        let nothing = cx.sub(&wins, &wins)?;
        let all = cx.concat(&[&wins, &losses, &nothing], 1)?;
        // r[i][j]: the probability of class i against class j, and 0 on the diagonal.
        let mut places = vec![2 * pairs as i64; classes * classes];
        for (pair, &(i, j)) in self.pairs.iter().enumerate() {
            places[i * classes + j] = pair as i64;
            places[j * classes + i] = (pairs + pair) as i64;
        }
        let flat = cx.gather(&all, &int_vector(&places), 1)?;
        let n = classes as u64;
        let dims = [flat.dims[0], crate::value::Extent::Fixed(n), crate::value::Extent::Fixed(n)];
        let r = cx.reshape(&flat, &dims)?;
        let turned = cx.transpose(&r, &[0, 2, 1])?;
        let products = cx.mul(&r, &turned)?;
        let squares = cx.mul(&turned, &turned)?;
        let diagonal = cx.reduce_sum(&squares, &[2], true)?;
        let eye: Vec<f64> =
            (0..classes * classes).map(|at| f64::from(u8::from(at % (classes + 1) == 0))).collect();
        let eye = number_tensor(DType::F32, &[n, n], &eye)?;
        let diagonal = cx.mul(&diagonal, &eye)?;
        let q = cx.sub(&diagonal, &products)?;
        couple(cx, &q, classes)
    }
}

/// Minimizes `pᵀ q p` over probabilities `p`: [n, classes] from [n, classes, classes].
fn couple(cx: &mut Cx<'_>, q: &T, classes: usize) -> R<T> {
    let n = classes as u64;
    let first_row = cx.slice(q, 1, (0, 1), 1)?;
    let first_row = cx.squeeze(&first_row, 1)?;
    let zeros = cx.sub(&first_row, &first_row)?;
    let mut p = cx.add_number(&zeros, 1.0 / classes as f64)?;
    let (mut rows, mut diagonal, mut units) = (Vec::new(), Vec::new(), Vec::new());
    for t in 0..n {
        let row = cx.slice(q, 1, (t, t + 1), 1)?;
        let row = cx.squeeze(&row, 1)?;
        diagonal.push(cx.slice(&row, 1, (t, t + 1), 1)?);
        rows.push(row);
        let unit: Vec<f64> = (0..n).map(|at| f64::from(u8::from(at == t))).collect();
        units.push(number_tensor(DType::F32, &[n], &unit)?);
    }
    let epsilon = scalar(DType::F32, 0.005 / classes as f64)?;
    for _ in 0..COUPLING_STEPS {
        let column = cx.unsqueeze(&p, 2)?;
        let product = cx.matmul(q, &column)?;
        let mut qp = cx.squeeze(&product, 2)?;
        let terms = cx.mul(&p, &qp)?;
        let mut pqp = cx.reduce_sum(&terms, &[1], true)?;
        let error = cx.sub(&qp, &pqp)?;
        let error = cx.abs(&error)?;
        let error = cx.reduce_max(&error, &[1], true)?;
        let goes_on = cx.greater_equal(&error, &epsilon)?;
        let mut next = p.clone();
        for t in 0..classes {
            let own = cx.slice(&qp, 1, (t as u64, t as u64 + 1), 1)?;
            let gap = cx.sub(&pqp, &own)?;
            let step = cx.div(&gap, &diagonal[t])?;
            let scale = cx.add_number(&step, 1.0)?;
            let moved = cx.mul(&step, &units[t])?;
            let moved = cx.add(&next, &moved)?;
            next = cx.div(&moved, &scale)?;
            let curve = cx.mul(&step, &diagonal[t])?;
            let slope = cx.mul_number(&own, 2.0)?;
            let change = cx.add(&curve, &slope)?;
            let change = cx.mul(&step, &change)?;
            let sum = cx.add(&pqp, &change)?;
            let square = cx.mul(&scale, &scale)?;
            pqp = cx.div(&sum, &square)?;
            let along = cx.mul(&step, &rows[t])?;
            let along = cx.add(&qp, &along)?;
            qp = cx.div(&along, &scale)?;
        }
        p = cx.select(&goes_on, &next, &p)?;
    }
    Ok(p)
}
