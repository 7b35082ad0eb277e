//! Tensor ops as plain loops over f32: what they compute, not how fast a host does.
//!
//! Semantics are those of the contract's interface `graph`. `slice` takes any dtype of whole bytes.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::{Parameter, Tensor};

/// Runs an op that the stub has.
///
/// # Errors
/// `unsupported/op` for any other; `input/dtype`, `input/shape`, `input/axis`, `input/offsets`,
/// `input/out-of-range` as the host answers them.
pub(super) fn run(
    op: &str,
    inputs: &[&Tensor],
    attributes: &[(String, Parameter)],
) -> Result<Vec<Tensor>> {
    let given = Given { op, attributes };
    let one = |tensor: Result<Tensor>| Ok(vec![tensor?]);
    match (op, inputs) {
        ("add", [x, y]) => one(binary(x, y, |x, y| x + y)),
        ("sub", [x, y]) => one(binary(x, y, |x, y| x - y)),
        ("mul", [x, y]) => one(binary(x, y, |x, y| x * y)),
        ("div", [x, y]) => one(binary(x, y, |x, y| x / y)),
        ("softmax", [x]) => one(softmax(x, given.integer("axis")?)),
        ("top-k", [x]) => top_k(x, given.integer("k")?, given.boolean("largest")?),
        ("l2-normalize", [x]) => one(l2_normalize(x, given.float("epsilon")?)),
        ("slice", [x]) => one(slice(x, &given)),
        ("ragged-mean", [x, offsets]) => one(ragged(x, offsets, Pool::Mean)),
        ("ragged-sum", [x, offsets]) => one(ragged(x, offsets, Pool::Sum)),
        ("ragged-max", [x, offsets]) => one(ragged(x, offsets, Pool::Max)),
        ("ragged-first", [x, offsets]) => one(ragged(x, offsets, Pool::First)),
        ("ragged-last", [x, offsets]) => one(ragged(x, offsets, Pool::Last)),
        _ => Err(Error::unsupported(
            "op",
            format!(
                "the stub of the host has no op `{op}` of {} inputs; give it one with Host::op, or test \
                 this with a fixture",
                inputs.len()
            ),
        )),
    }
}

/// The attributes of a call.
struct Given<'a> {
    op: &'a str,
    attributes: &'a [(String, Parameter)],
}

impl Given<'_> {
    fn get(&self, name: &str) -> Option<&Parameter> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn wrong(&self, name: &str, expected: &str) -> Error {
        Error::input("attribute", format!("{}: expected {expected} as `{name}`", self.op))
    }

    fn integer(&self, name: &str) -> Result<usize> {
        match self.get(name) {
            Some(Parameter::Integer(value)) => {
                usize::try_from(*value).map_err(|_| self.wrong(name, "a number from 0"))
            }
            _ => Err(self.wrong(name, "an integer")),
        }
    }

    fn float(&self, name: &str) -> Result<f32> {
        match self.get(name) {
            Some(Parameter::Float(value)) => Ok(*value as f32),
            _ => Err(self.wrong(name, "a number")),
        }
    }

    fn boolean(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            Some(Parameter::Boolean(value)) => Ok(*value),
            _ => Err(self.wrong(name, "true or false")),
        }
    }
}

/// Elements before an axis, along it and after it.
fn around(x: &Tensor, axis: usize) -> Result<[usize; 3]> {
    let shape = x.shape();
    if axis >= shape.len() {
        let message = format!("axis {axis} is out of range for shape {shape:?}");
        return Err(Error::input("axis", message));
    }
    let product = |extents: &[u64]| extents.iter().product::<u64>() as usize;
    Ok([product(&shape[..axis]), shape[axis] as usize, product(&shape[axis + 1..])])
}

fn last_axis(x: &Tensor) -> Result<[usize; 3]> {
    let rank = x.shape().len();
    rank.checked_sub(1)
        .ok_or_else(|| Error::input("shape", "expected at least one dimension, got a scalar"))
        .and_then(|axis| around(x, axis))
}

/// Elementwise with numpy's broadcasting.
fn binary(x: &Tensor, y: &Tensor, compute: impl Fn(f32, f32) -> f32) -> Result<Tensor> {
    let (a, b): (Vec<f32>, Vec<f32>) = (x.to_vec()?, y.to_vec()?);
    let (left, right) = (x.shape(), y.shape());
    let rank = left.len().max(right.len());
    let extent = |shape: &[u64], axis: usize| {
        (axis + shape.len()).checked_sub(rank).map_or(1, |axis| shape[axis])
    };
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        shape.push(match (extent(&left, axis), extent(&right, axis)) {
            (a, b) if a == b => a,
            (1, b) => b,
            (a, 1) => a,
            _ => {
                let message = format!("shapes {left:?} and {right:?} do not broadcast");
                return Err(Error::input("shape", message));
            }
        });
    }
    let count: u64 = shape.iter().product();
    let at = |flat: u64, own: &[u64]| {
        let (mut left, mut place, mut step) = (flat, 0, 1);
        for axis in (0..rank).rev() {
            let index = left % shape[axis];
            left /= shape[axis];
            if extent(own, axis) != 1 {
                place += index * step;
            }
            step *= extent(own, axis);
        }
        place as usize
    };
    let out: Vec<f32> =
        (0..count).map(|flat| compute(a[at(flat, &left)], b[at(flat, &right)])).collect();
    Tensor::from_f32(&shape, &out)
}

fn softmax(x: &Tensor, axis: usize) -> Result<Tensor> {
    let mut values: Vec<f32> = x.to_vec()?;
    let [before, along, after] = around(x, axis)?;
    for lane in 0..before * after {
        let start = lane / after * along * after + lane % after;
        let at = |i: usize| start + i * after;
        let most = (0..along).map(|i| values[at(i)]).fold(f32::NEG_INFINITY, f32::max);
        let mut sum = 0.0;
        for i in 0..along {
            let value = if most == f32::NEG_INFINITY { 0.0 } else { (values[at(i)] - most).exp() };
            values[at(i)] = value;
            sum += value;
        }
        for i in 0..along {
            values[at(i)] /= if sum == 0.0 { 1.0 } else { sum };
        }
    }
    Tensor::from_f32(&x.shape(), &values)
}

fn top_k(x: &Tensor, k: usize, largest: bool) -> Result<Vec<Tensor>> {
    let values: Vec<f32> = x.to_vec()?;
    let [rows, along, _] = last_axis(x)?;
    if k > along {
        return Err(Error::input("shape", format!("top-k: expected k at most {along}, got {k}")));
    }
    let (mut best, mut places) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let row = &values[row * along..(row + 1) * along];
        let mut order: Vec<usize> = (0..along).collect();
        order.sort_by(|&a, &b| match largest {
            true => row[b].total_cmp(&row[a]),
            false => row[a].total_cmp(&row[b]),
        });
        best.extend(order[..k].iter().map(|&at| row[at]));
        places.extend(order[..k].iter().map(|&at| at as i64));
    }
    let mut shape = x.shape();
    if let Some(extent) = shape.last_mut() {
        *extent = k as u64;
    }
    Ok(vec![Tensor::from_f32(&shape, &best)?, Tensor::from_slice(&shape, &places)?])
}

fn l2_normalize(x: &Tensor, epsilon: f32) -> Result<Tensor> {
    let mut values: Vec<f32> = x.to_vec()?;
    let [_, along, _] = last_axis(x)?;
    for row in values.chunks_mut(along.max(1)) {
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(epsilon);
        row.iter_mut().for_each(|value| *value /= length);
    }
    Tensor::from_f32(&x.shape(), &values)
}

fn slice(x: &Tensor, given: &Given<'_>) -> Result<Tensor> {
    let (axis, start) = (given.integer("axis")?, given.integer("start")?);
    let (end, step) = (given.integer("end")?, given.integer("step")?);
    let [before, along, after] = around(x, axis)?;
    if start > end || end > along || step == 0 {
        let message =
            format!("slice: expected a range within 0..{along}, got {start}..{end} by {step}");
        return Err(Error::input("out-of-range", message));
    }
    let Some(each) = x.dtype().element_bytes() else {
        let message = format!("slice: expected elements of whole bytes, got {}", x.dtype());
        return Err(Error::input("dtype", message));
    };
    let run = after * each as usize;
    let bytes = x.bytes();
    let mut out = Vec::new();
    for outer in 0..before {
        for i in (start..end).step_by(step) {
            let at = (outer * along + i) * run;
            out.extend_from_slice(&bytes[at..at + run]);
        }
    }
    let mut shape = x.shape();
    shape[axis] = (end - start).div_ceil(step) as u64;
    Tensor::create(x.dtype(), &shape, &out)
}

/// What becomes of the rows of a sequence.
#[derive(Clone, Copy)]
enum Pool {
    Mean,
    Sum,
    Max,
    First,
    Last,
}

fn ragged(x: &Tensor, offsets: &Tensor, pool: Pool) -> Result<Tensor> {
    let values: Vec<f32> = x.to_vec()?;
    offsets.expect_dtype(DType::U32)?;
    let ends: Vec<u32> = offsets.to_vec()?;
    let [_, rows, width] = around(x, 0)?;
    let rising = ends.windows(2).all(|pair| pair[0] <= pair[1]);
    if ends.first() != Some(&0) || ends.last() != Some(&(rows as u32)) || !rising {
        let message = format!("expected rising offsets from 0 to {rows}, got {ends:?}");
        return Err(Error::input("offsets", message));
    }
    let row = |at: usize| &values[at * width..(at + 1) * width];
    let mut out = Vec::new();
    for pair in ends.windows(2) {
        let (start, end) = (pair[0] as usize, pair[1] as usize);
        if start == end {
            out.extend(std::iter::repeat_n(0.0, width));
            continue;
        }
        let fold = |join: fn(f32, f32) -> f32| -> Vec<f32> {
            let first = row(start).to_vec();
            (start + 1..end)
                .fold(first, |all, at| all.iter().zip(row(at)).map(|(a, b)| join(*a, *b)).collect())
        };
        match pool {
            Pool::Mean => {
                let count = (end - start) as f32;
                out.extend(fold(|a, b| a + b).into_iter().map(|sum| sum / count));
            }
            Pool::Sum => out.extend(fold(|a, b| a + b)),
            Pool::Max => out.extend(fold(f32::max)),
            Pool::First => out.extend_from_slice(row(start)),
            Pool::Last => out.extend_from_slice(row(end - 1)),
        }
    }
    let mut shape = x.shape();
    shape[0] = ends.len() as u64 - 1;
    Tensor::from_f32(&shape, &out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops;

    fn f32s(shape: &[u64], values: &[f32]) -> Tensor {
        Tensor::from_f32(shape, values).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn softmax_and_lengths_are_those_of_their_lanes() -> Result<()> {
        let x = f32s(&[2, 2], &[0., 0., 0., f32::NEG_INFINITY]);
        assert_eq!(ops::softmax(&x, 1)?.to_vec::<f32>()?, [0.5, 0.5, 1., 0.]);
        assert_eq!(ops::softmax(&x, 0)?.to_vec::<f32>()?, [0.5, 1., 0.5, 0.]);
        assert_eq!(ops::softmax(&x, 2).unwrap_err().code, "axis");
        let y = f32s(&[2, 2], &[3., 4., 0., 0.]);
        assert_eq!(ops::l2_normalize(&y, 1e-12)?.to_vec::<f32>()?, [0.6, 0.8, 0., 0.]);
        Ok(())
    }

    #[test]
    fn the_largest_come_in_order_and_equal_ones_keep_theirs() -> Result<()> {
        let (values, places) = ops::top_k(&f32s(&[1, 4], &[1., 3., 3., 2.]), 3)?;
        assert_eq!(values.to_vec::<f32>()?, [3., 3., 2.]);
        assert_eq!(places.to_vec::<i64>()?, [1, 2, 3]);
        assert_eq!(ops::top_k(&f32s(&[2], &[1., 2.]), 3).unwrap_err().code, "shape");
        Ok(())
    }

    #[test]
    fn sequences_are_pooled_by_their_offsets() -> Result<()> {
        let x = f32s(&[3, 2], &[1., 8., 3., 2., 5., 5.]);
        let offsets = Tensor::from_slice(&[4], &[0u32, 2, 2, 3])?;
        let of = |tensor: Result<Tensor>| tensor?.to_vec::<f32>();
        assert_eq!(of(ops::ragged_mean(&x, &offsets))?, [2., 5., 0., 0., 5., 5.]);
        assert_eq!(of(ops::ragged_sum(&x, &offsets))?, [4., 10., 0., 0., 5., 5.]);
        assert_eq!(of(ops::ragged_max(&x, &offsets))?, [3., 8., 0., 0., 5., 5.]);
        assert_eq!(of(ops::ragged_first(&x, &offsets))?, [1., 8., 0., 0., 5., 5.]);
        assert_eq!(of(ops::ragged_last(&x, &offsets))?, [3., 2., 0., 0., 5., 5.]);
        let wrong = Tensor::from_slice(&[2], &[0u32, 2])?;
        assert_eq!(ops::ragged_sum(&x, &wrong).unwrap_err().code, "offsets");
        Ok(())
    }

    #[test]
    fn slices_and_broadcasts_are_numpys() -> Result<()> {
        let x = f32s(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
        assert_eq!(ops::slice(&x, 1, 0, 3, 2)?.to_vec::<f32>()?, [1., 3., 4., 6.]);
        assert_eq!(ops::slice(&x, 1, 2, 4, 1).unwrap_err().code, "out-of-range");
        let column = f32s(&[2, 1], &[10., 20.]);
        let sum = ops::run_one("add", &[&x, &column], &[])?;
        assert_eq!(sum.to_vec::<f32>()?, [11., 12., 13., 24., 25., 26.]);
        let row = f32s(&[2], &[1., 1.]);
        assert_eq!(ops::run_one("mul", &[&x, &row], &[]).unwrap_err().code, "shape");
        Ok(())
    }
}
