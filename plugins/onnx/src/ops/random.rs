//! Random operators. ONNX leaves the generator open; the numbers here are those of its reference
//! evaluator for the same seed, and without a seed those of a seed made of the node's output, so
//! that answers repeat. Beyond [`WRITTEN_MAX`] elements they come from the contract's `random-bits`.

use super::pattern::attr_dtype;
use super::reduce::is_half;
use super::{Table, one};
use crate::content::{number_tensor, scalar};
use crate::emit::Emitter;
use crate::node::{Cx, Inputs};
use crate::value::{Extent, R, T, TensorValue, Value, invalid};
use aimass_sdk::DType;
use std::f64::consts::PI;

pub(super) const TABLE: Table = &[
    ("Bernoulli", bernoulli),
    ("Dropout", dropout),
    ("Multinomial", multinomial),
    ("RandomNormal", |cx, x| of_shape(cx, x, Distribution::Normal)),
    ("RandomNormalLike", |cx, x| of_shape(cx, x, Distribution::Normal)),
    ("RandomUniform", |cx, x| of_shape(cx, x, Distribution::Uniform)),
    ("RandomUniformLike", |cx, x| of_shape(cx, x, Distribution::Uniform)),
];

/// Random numbers that the plugin makes itself.
const WRITTEN_MAX: u64 = 1 << 20;

#[derive(Clone, Copy, PartialEq)]
enum Distribution {
    /// From 0 to 1, without 1.
    Uniform,
    /// Around 0, with deviation 1.
    Normal,
}

/// MT19937 (Matsumoto and Nishimura, 1998).
struct Twister {
    state: [u32; 624],
    next: usize,
    spare: Option<f64>,
}

impl Twister {
    fn new(seed: u32) -> Twister {
        let mut state = [seed; 624];
        for index in 1..624 {
            let last = state[index - 1];
            state[index] =
                1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(index as u32);
        }
        Twister { state, next: 624, spare: None }
    }

    fn word(&mut self) -> u32 {
        if self.next == 624 {
            for index in 0..624 {
                let own = self.state[index] & 0x8000_0000;
                let both = own | self.state[(index + 1) % 624] & 0x7fff_ffff;
                let twist = if both & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[index] = self.state[(index + 397) % 624] ^ (both >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// 53 random bits after the point.
    fn uniform(&mut self) -> f64 {
        let (high, low) = (f64::from(self.word() >> 5), f64::from(self.word() >> 6));
        (high * 67_108_864.0 + low) / 9_007_199_254_740_992.0
    }

    /// Pairs by Marsaglia's polar method.
    fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (x, y) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let square = x * x + y * y;
            if square < 1.0 && square != 0.0 {
                let scale = (-2.0 * square.ln() / square).sqrt();
                self.spare = Some(scale * x);
                return scale * y;
            }
        }
    }
}

/// The attribute's seed, or one made of the name of the node's first output.
fn seed(cx: &Cx<'_>) -> R<u32> {
    let given = match cx.attribute("seed") {
        Some(crate::proto::AttributeValue::Int(seed)) => Some(*seed as u32),
        _ => cx.attr_float_opt("seed")?.map(|seed| seed as i64 as u32),
    };
    let name = cx.node.outputs.first().map_or("", |&name| cx.names.text(name));
    // FNV-1a.
    let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    Ok(given.unwrap_or_else(|| name.bytes().fold(2_166_136_261, hash)))
}

/// Random f32 or f64 of these dims.
fn random(
    cx: &mut Emitter,
    (dtype, dims): (DType, &[Extent]),
    distribution: Distribution,
    seed: u32,
) -> R<T> {
    let shape: Option<Vec<u64>> = dims.iter().map(super::shape::fixed).collect();
    let elements =
        |shape: &[u64]| shape.iter().fold(1u64, |all, &extent| all.saturating_mul(extent));
    if let Some(shape) = shape.filter(|shape| elements(shape) <= WRITTEN_MAX) {
        let mut twister = Twister::new(seed);
        let next = |_| match distribution {
            Distribution::Uniform => twister.uniform(),
            Distribution::Normal => twister.normal(),
        };
        let values: Vec<f64> = (0..elements(&shape)).map(next).collect();
        return number_tensor(dtype, &shape, &values);
    }
    let uniform = uniform_bits(cx, (dtype, dims), [seed, 0])?;
    if distribution == Distribution::Uniform {
        return Ok(uniform);
    }
    // Box and Muller: neither logarithm is of 0.
    let one = scalar(dtype, 1.0)?;
    let rest = cx.sub(&one, &uniform)?;
    let log = cx.log(&rest)?;
    let log = cx.mul_number(&log, -2.0)?;
    let radius = cx.sqrt(&log)?;
    let angle = uniform_bits(cx, (dtype, dims), [seed, 1])?;
    let angle = cx.mul_number(&angle, 2.0 * PI)?;
    let direction = cx.cos(&angle)?;
    cx.mul(&radius, &direction)
}

/// 24 random bits after the point.
fn uniform_bits(cx: &mut Emitter, (dtype, dims): (DType, &[Extent]), key: [u32; 2]) -> R<T> {
    let key = key.iter().flat_map(|word| word.to_le_bytes()).collect();
    let key = TensorValue::of_bytes(DType::U32, &[2], key);
    let bits = cx.random_bits(&key, dims)?;
    let bits = cx.shift_right(&bits, &scalar(DType::U32, 8.0)?)?;
    let bits = cx.cast(&bits, dtype)?;
    cx.mul_number(&bits, 1.0 / 16_777_216.0)
}

/// The dtype that random numbers are made in.
fn wide(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

fn of_shape(cx: &mut Cx<'_>, inputs: Inputs<'_>, distribution: Distribution) -> R<Vec<Value>> {
    let like = inputs.tensor_opt(0)?;
    let dims: Vec<Extent> = match (cx.attr_ints_opt("shape")?, like) {
        (Some(shape), _) => {
            let extent = |&extent: &i64| {
                u64::try_from(extent).map(Extent::Fixed).map_err(|_| invalid("a negative extent"))
            };
            shape.iter().map(extent).collect::<R<_>>()?
        }
        (None, Some(like)) => like.dims.clone(),
        (None, None) => return Err(invalid("expected a shape")),
    };
    let own = like.map_or(DType::F32, |like| like.dtype);
    let dtype = attr_dtype(cx, "dtype")?.unwrap_or(own);
    let seed = seed(cx)?;
    let random = random(cx, (wide(dtype), &dims), distribution, seed)?;
    let (scale, offset) = match distribution {
        Distribution::Uniform => {
            let (low, high) = (cx.attr_float("low", 0.0)?, cx.attr_float("high", 1.0)?);
            (f64::from(high) - f64::from(low), f64::from(low))
        }
        Distribution::Normal => {
            (cx.attr_float("scale", 1.0)?.into(), cx.attr_float("mean", 0.0)?.into())
        }
    };
    let scaled = cx.mul_number(&random, scale)?;
    let moved = cx.add_number(&scaled, offset)?;
    one(cx.cast(&moved, dtype)?)
}

fn bernoulli(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let dtype = attr_dtype(cx, "dtype")?.unwrap_or(x.dtype);
    let seed = seed(cx)?;
    let drawn = random(cx, (wide(x.dtype), &x.dims), Distribution::Uniform, seed)?;
    let x = if is_half(x.dtype) { cx.cast(x, DType::F32)? } else { x.clone() };
    let hit = cx.less(&drawn, &x)?;
    one(cx.cast(&hit, dtype)?)
}

fn dropout(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let (ratio, training) = (inputs.tensor_opt(1)?, inputs.tensor_opt(2)?);
    let trains = match training {
        Some(training) => cx.int(training)? != 0,
        None => false,
    };
    let ratio = match ratio {
        Some(ratio) if trains => cx.float(ratio)?,
        _ => f64::from(cx.attr_float("ratio", 0.5)?),
    };
    if trains && ratio != 0.0 {
        return drop_out(cx, x, ratio);
    }
    let mut outputs = vec![x.clone().into()];
    if cx.wants_output(1) {
        // The mask of old opsets is of the input's type.
        let dtype = if cx.opset < 10 { x.dtype } else { DType::Bool };
        let kept = scalar(dtype, 1.0)?;
        outputs.push(cx.broadcast(&kept, &x.dims)?.into());
    }
    Ok(outputs)
}

/// What training does: a share of the elements is 0, the others grow to make up for it.
fn drop_out(cx: &mut Cx<'_>, x: &T, ratio: f64) -> R<Vec<Value>> {
    if !(0.0..1.0).contains(&ratio) {
        return Err(invalid(format!("ratio: expected 0 to less than 1, got {ratio}")));
    }
    let seed = seed(cx)?;
    let drawn = random(cx, (DType::F64, &x.dims), Distribution::Uniform, seed)?;
    let limit = scalar(DType::F64, ratio)?;
    let kept = cx.greater_equal(&drawn, &limit)?;
    let grown = cx.mul_number(x, 1.0 / (1.0 - ratio))?;
    let zero = scalar(x.dtype, 0.0)?;
    let y = cx.select(&kept, &grown, &zero)?;
    Ok(vec![y.into(), kept.into()])
}

/// Draws classes by their log probabilities: how many classes lie below a random share of the sum.
fn multinomial(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = inputs.tensor(0)?;
    let dtype = attr_dtype(cx, "dtype")?.unwrap_or(DType::I32);
    let samples = cx.attr_int("sample_size", 1)?;
    let samples =
        u64::try_from(samples).map_err(|_| invalid("sample_size: expected at least 0"))?;
    if x.rank() != 2 {
        return Err(invalid(format!("expected [batch, classes], got rank {}", x.rank())));
    }
    let last = x.extent(1)?.checked_sub(1).ok_or_else(|| invalid("expected a class"))?;
    let drawn = [x.dims[0], Extent::Fixed(samples)];
    let dtype_wide = wide(x.dtype);
    let seed = seed(cx)?;
    let drawn = random(cx, (dtype_wide, &drawn), Distribution::Uniform, seed)?;
    let logits = cx.cast(x, dtype_wide)?;
    let shares = cx.softmax(&logits, 1)?;
    let below = cx.cumulative_sum(&shares, 1, (false, false))?;
    let (below, drawn) = (cx.unsqueeze(&below, 1)?, cx.unsqueeze(&drawn, 2)?);
    let passed = cx.less_equal(&below, &drawn)?;
    let passed = cx.cast(&passed, DType::I64)?;
    let class = cx.reduce_sum(&passed, &[2], false)?;
    let class = cx.minimum(&class, &scalar(DType::I64, last as f64)?)?;
    one(cx.cast(&class, dtype)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference_evaluator() {
        let mut twister = Twister::new(0);
        let uniform = [twister.uniform(), twister.uniform()];
        assert_eq!(uniform.map(|x| (x * 1e12) as u64), [548_813_503_927, 715_189_366_372]);
        let mut twister = Twister::new(0);
        let normal = [twister.normal(), twister.normal(), twister.normal()];
        for (got, expected) in normal.iter().zip([
            1.764_052_345_967_664,
            0.400_157_208_367_223_3,
            0.978_737_984_105_739_2,
        ]) {
            assert!((got - expected).abs() < 1e-12, "{got}");
        }
    }
}
