//! The contract's ops, one method each. Their meaning is that of `wit/graph.wit`.

use super::Emitter;
use super::origin::{Origin, composed, keeps_order};
use crate::content::{int_vector, scalar};
use crate::value::{Extent, R, T, invalid};
use aimass_sdk::graph::{AttentionOptions, GeluForm, PadMode, Recurrence, ScatterMode, Window};
use aimass_sdk::{DType, Dim, Parameter};

macro_rules! unary {
    ($($name:ident $wit:literal)*) => { $(
        pub(crate) fn $name(&mut self, x: &T) -> R<T> {
            self.one($wit, &[x], Some(&[]), |b, v| b.$name(v[0]))
        }
    )* };
}

macro_rules! binary {
    ($($name:ident $wit:literal)*) => { $(
        pub(crate) fn $name(&mut self, x: &T, y: &T) -> R<T> {
            self.one($wit, &[x, y], Some(&[]), |b, v| b.$name(v[0], v[1]))
        }
    )* };
}

macro_rules! reductions {
    ($($name:ident $wit:literal)*) => { $(
        pub(crate) fn $name(&mut self, x: &T, axes: &[usize], keep: bool) -> R<T> {
            let attributes = [("axes", list(axes)), ("keep", Parameter::Boolean(keep))];
            self.one($wit, &[x], Some(&attributes), |b, v| b.$name(v[0], &narrow(axes), keep))
        }
    )* };
}

fn int(value: u64) -> Parameter {
    Parameter::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

fn axis_of(axis: usize) -> Parameter {
    int(axis as u64)
}

fn list(values: &[usize]) -> Parameter {
    Parameter::Integers(values.iter().map(|&value| value as i64).collect())
}

fn counts(values: &[u64]) -> Parameter {
    Parameter::Integers(values.iter().map(|&v| i64::try_from(v).unwrap_or(i64::MAX)).collect())
}

fn narrow(axes: &[usize]) -> Vec<u32> {
    axes.iter().map(|&axis| axis as u32).collect()
}

fn contract(dims: &[Extent]) -> Vec<Dim> {
    dims.iter().map(|dim| dim.dim()).collect()
}

/// Dims as an attribute, if none is `batch`.
fn fixed(dims: &[Extent]) -> Option<Parameter> {
    let extent = |dim: &Extent| match dim {
        Extent::Fixed(extent) => i64::try_from(*extent).ok(),
        Extent::Batch => None,
    };
    dims.iter().map(extent).collect::<Option<Vec<i64>>>().map(Parameter::Integers)
}

impl Emitter {
    unary! {
        neg "neg" abs "abs" sign "sign" exp "exp" log "log" sqrt "sqrt" rsqrt "rsqrt"
        reciprocal "reciprocal" sin "sin" cos "cos" tan "tan" asin "asin" acos "acos" atan "atan"
        sinh "sinh" cosh "cosh" tanh "tanh" asinh "asinh" acosh "acosh" atanh "atanh" erf "erf"
        floor "floor" ceil "ceil" round "round" sigmoid "sigmoid" relu "relu" silu "silu"
        softplus "softplus" logical_not "logical-not" bit_not "bit-not" is_nan "is-nan"
        is_inf "is-inf" hard_swish "hard-swish"
    }

    binary! {
        add "add" sub "sub" mul "mul" div "div" rem "rem" pow "pow" maximum "maximum"
        minimum "minimum" logical_and "logical-and" logical_or "logical-or"
        logical_xor "logical-xor" bit_and "bit-and" bit_or "bit-or" bit_xor "bit-xor"
        shift_left "shift-left" shift_right "shift-right" equal "equal" not_equal "not-equal"
        less "less" less_equal "less-equal" greater "greater" greater_equal "greater-equal"
    }

    reductions! {
        reduce_sum "reduce-sum" reduce_mean "reduce-mean" reduce_prod "reduce-prod"
        reduce_max "reduce-max" reduce_min "reduce-min"
    }

    pub(crate) fn gelu(&mut self, x: &T, form: GeluForm) -> R<T> {
        self.one("gelu", &[x], None, |b, v| b.gelu(v[0], form))
    }

    pub(crate) fn leaky_relu(&mut self, x: &T, alpha: f32) -> R<T> {
        self.one("leaky-relu", &[x], None, |b, v| b.leaky_relu(v[0], alpha))
    }

    pub(crate) fn elu(&mut self, x: &T, alpha: f32) -> R<T> {
        self.one("elu", &[x], None, |b, v| b.elu(v[0], alpha))
    }

    pub(crate) fn hard_sigmoid(&mut self, x: &T, alpha: f32, beta: f32) -> R<T> {
        self.one("hard-sigmoid", &[x], None, |b, v| b.hard_sigmoid(v[0], alpha, beta))
    }

    pub(crate) fn clamp(&mut self, x: &T, low: f64, high: f64) -> R<T> {
        let attributes = [("low", Parameter::Float(low)), ("high", Parameter::Float(high))];
        self.one("clamp", &[x], Some(&attributes), |b, v| b.clamp(v[0], low, high))
    }

    /// The tensor itself if it has this dtype.
    pub(crate) fn cast(&mut self, x: &T, dtype: DType) -> R<T> {
        if x.dtype == dtype {
            return Ok(x.clone());
        }
        let attributes = [("dtype", Parameter::Text(dtype.name().to_owned()))];
        let whole = dtype.element_bytes().is_some();
        self.one("cast", &[x], whole.then_some(&attributes[..]), |b, v| b.cast(v[0], dtype))
    }

    pub(crate) fn bitcast(&mut self, x: &T, dtype: DType) -> R<T> {
        let attributes = [("dtype", Parameter::Text(dtype.name().to_owned()))];
        self.one("bitcast", &[x], Some(&attributes), |b, v| b.bitcast(v[0], dtype))
    }

    pub(crate) fn select(&mut self, condition: &T, x: &T, y: &T) -> R<T> {
        self.one("select", &[condition, x, y], Some(&[]), |b, v| b.select(v[0], v[1], v[2]))
    }

    // ---- shapes ----

    /// The tensor itself if it has these dims.
    pub(crate) fn reshape(&mut self, x: &T, dims: &[Extent]) -> R<T> {
        let x = self.unshaped(x);
        if x.dims == dims {
            return Ok(x);
        }
        if let Some((source, permutation)) = self.joined_transpose(&x, dims) {
            return self.transpose(&source, &permutation);
        }
        let attributes = fixed(dims).map(|dims| [("dims", dims)]);
        let attributes = attributes.as_ref().map(|attributes| &attributes[..]);
        let y = self.one("reshape", &[&x], attributes, |b, v| b.reshape(v[0], &contract(dims)))?;
        self.remember(&y, Origin::Reshaped(x));
        Ok(y)
    }

    /// As [`Emitter::reshape`] to known extents.
    pub(crate) fn reshape_to(&mut self, x: &T, shape: &[u64]) -> R<T> {
        let dims: Vec<Extent> = shape.iter().map(|&extent| Extent::Fixed(extent)).collect();
        self.reshape(x, &dims)
    }

    /// Inserts an axis of extent 1.
    pub(crate) fn unsqueeze(&mut self, x: &T, axis: usize) -> R<T> {
        let mut dims = x.dims.clone();
        dims.insert(axis.min(dims.len()), Extent::Fixed(1));
        self.reshape(x, &dims)
    }

    /// Removes an axis of extent 1.
    pub(crate) fn squeeze(&mut self, x: &T, axis: usize) -> R<T> {
        let mut dims = x.dims.clone();
        dims.remove(axis);
        self.reshape(x, &dims)
    }

    /// Output axis `i` is input axis `permutation[i]`.
    pub(crate) fn transpose(&mut self, x: &T, permutation: &[usize]) -> R<T> {
        let mut axes = permutation.to_vec();
        axes.sort_unstable();
        if !axes.into_iter().eq(0..x.rank()) {
            let got = format!("{permutation:?}");
            return Err(invalid(format!("expected each of {} axes once, got {got}", x.rank())));
        }
        if permutation.is_sorted() {
            return Ok(x.clone());
        }
        if let Some((source, first)) = self.transposed_from(x) {
            return self.transpose(&source, &composed(&first, permutation));
        }
        if x.dtype.element_bytes().is_some() && keeps_order(&x.dims, permutation) {
            let dims: Vec<Extent> = permutation.iter().map(|&axis| x.dims[axis]).collect();
            return self.reshape(x, &dims);
        }
        let attributes = [("permutation", list(permutation))];
        let build =
            |b: &_, v: &[u32]| aimass_sdk::graph::Builder::transpose(b, v[0], &narrow(permutation));
        let y = self.one("transpose", &[x], Some(&attributes), build)?;
        self.remember(&y, Origin::Transposed(x.clone(), permutation.to_vec()));
        Ok(y)
    }

    /// The tensor itself if it has these dims.
    pub(crate) fn broadcast(&mut self, x: &T, dims: &[Extent]) -> R<T> {
        if x.dims == dims {
            return Ok(x.clone());
        }
        if dims.contains(&Extent::Batch) {
            self.declare_rows()?;
        }
        let attributes = fixed(dims).map(|dims| [("dims", dims)]);
        let attributes = attributes.as_ref().map(|attributes| &attributes[..]);
        self.one("broadcast", &[x], attributes, |b, v| b.broadcast(v[0], &contract(dims)))
    }

    /// As [`Emitter::broadcast`] to known extents.
    pub(crate) fn broadcast_to(&mut self, x: &T, shape: &[u64]) -> R<T> {
        let dims: Vec<Extent> = shape.iter().map(|&extent| Extent::Fixed(extent)).collect();
        self.broadcast(x, &dims)
    }

    /// Elements `start, start + step, ..` below `end` along an axis.
    pub(crate) fn slice(&mut self, x: &T, axis: usize, range: (u64, u64), step: u64) -> R<T> {
        let (start, end) = range;
        if let Extent::Fixed(extent) = x.dims[axis]
            && (start, step) == (0, 1)
            && end >= extent
        {
            return Ok(x.clone());
        }
        let attributes = [
            ("axis", axis_of(axis)),
            ("start", int(start)),
            ("end", int(end)),
            ("step", int(step)),
        ];
        let build = |b: &_, v: &[u32]| {
            aimass_sdk::graph::Builder::slice(b, v[0], axis as u32, start, end, step)
        };
        self.one("slice", &[x], Some(&attributes), build)
    }

    pub(crate) fn concat(&mut self, xs: &[&T], axis: usize) -> R<T> {
        if let [one] = xs {
            return Ok((*one).clone());
        }
        let attributes = [("axis", axis_of(axis))];
        self.one("concat", xs, Some(&attributes), |b, v| b.concat(v, axis as u32))
    }

    pub(crate) fn split(&mut self, x: &T, axis: usize, sizes: &[u64]) -> R<Vec<T>> {
        let attributes = [("axis", axis_of(axis)), ("sizes", counts(sizes))];
        self.op("split", &[x], Some(&attributes), |b, v| b.split(v[0], axis as u32, sizes))
    }

    pub(crate) fn pad(&mut self, x: &T, pads: (&[u64], &[u64]), mode: PadMode, fill: f64) -> R<T> {
        let (before, after) = pads;
        let name = match mode {
            PadMode::Constant => "constant",
            PadMode::Reflect => "reflect",
            PadMode::Edge => "edge",
            PadMode::Wrap => "wrap",
        };
        let attributes = [
            ("before", counts(before)),
            ("after", counts(after)),
            ("mode", Parameter::Text(name.to_owned())),
            ("fill", Parameter::Float(fill)),
        ];
        self.one("pad", &[x], Some(&attributes), |b, v| b.pad(v[0], before, after, mode, fill))
    }

    pub(crate) fn tile(&mut self, x: &T, repeats: &[u64]) -> R<T> {
        let attributes = [("repeats", counts(repeats))];
        self.one("tile", &[x], Some(&attributes), |b, v| b.tile(v[0], repeats))
    }

    pub(crate) fn reverse(&mut self, x: &T, axis: usize) -> R<T> {
        let attributes = [("axis", axis_of(axis))];
        self.one("reverse", &[x], Some(&attributes), |b, v| b.reverse(v[0], axis as u32))
    }

    /// `0, 1, ..` along an axis, i64.
    pub(crate) fn iota(&mut self, dims: &[Extent], axis: usize) -> R<T> {
        self.one("iota", &[], None, |b, _| b.iota(&contract(dims), axis as u32, 0, 1))
    }

    /// `0, 1, ..`: i64 [n].
    pub(crate) fn count_up(&mut self, n: u64) -> R<T> {
        if n <= 4096 {
            return Ok(int_vector(&(0..n as i64).collect::<Vec<i64>>()));
        }
        self.iota(&[Extent::Fixed(n)], 0)
    }

    /// Random bits from a u32 [2] key: u32 of these dims.
    pub(crate) fn random_bits(&mut self, key: &T, dims: &[Extent]) -> R<T> {
        self.one("random-bits", &[key], None, |b, v| b.random_bits(v[0], &contract(dims)))
    }

    // ---- gather and scatter: indices are in range and not negative ----

    pub(crate) fn gather(&mut self, x: &T, indices: &T, axis: usize) -> R<T> {
        let attributes = [("axis", axis_of(axis))];
        let build =
            |b: &_, v: &[u32]| aimass_sdk::graph::Builder::gather(b, v[0], v[1], axis as u32);
        self.one("gather", &[x, indices], Some(&attributes), build)
    }

    pub(crate) fn gather_elements(&mut self, x: &T, indices: &T, axis: usize) -> R<T> {
        let attributes = [("axis", axis_of(axis))];
        let build = |b: &_, v: &[u32]| {
            aimass_sdk::graph::Builder::gather_elements(b, v[0], v[1], axis as u32)
        };
        self.one("gather-elements", &[x, indices], Some(&attributes), build)
    }

    pub(crate) fn gather_nd(&mut self, x: &T, indices: &T, batch_dims: u32) -> R<T> {
        let attributes = [("batch-dims", int(batch_dims.into()))];
        let build =
            |b: &_, v: &[u32]| aimass_sdk::graph::Builder::gather_nd(b, v[0], v[1], batch_dims);
        self.one("gather-nd", &[x, indices], Some(&attributes), build)
    }

    pub(crate) fn scatter_elements(
        &mut self,
        x: &T,
        indices: &T,
        updates: &T,
        (axis, mode): (usize, ScatterMode),
    ) -> R<T> {
        let attributes = [("axis", axis_of(axis)), ("mode", scatter_name(mode))];
        self.one("scatter-elements", &[x, indices, updates], Some(&attributes), |b, v| {
            b.scatter_elements(v[0], v[1], v[2], axis as u32, mode)
        })
    }

    pub(crate) fn scatter_nd(
        &mut self,
        x: &T,
        indices: &T,
        updates: &T,
        mode: ScatterMode,
    ) -> R<T> {
        let attributes = [("mode", scatter_name(mode))];
        let build =
            |b: &_, v: &[u32]| aimass_sdk::graph::Builder::scatter_nd(b, v[0], v[1], v[2], mode);
        self.one("scatter-nd", &[x, indices, updates], Some(&attributes), build)
    }

    pub(crate) fn one_hot(&mut self, indices: &T, depth: u64, dtype: DType) -> R<T> {
        let attributes =
            [("depth", int(depth)), ("dtype", Parameter::Text(dtype.name().to_owned()))];
        let build = |b: &_, v: &[u32]| aimass_sdk::graph::Builder::one_hot(b, v[0], depth, dtype);
        self.one("one-hot", &[indices], Some(&attributes), build)
    }

    /// Where `x` is not zero: i64 [rank, elements], and how many columns count.
    pub(crate) fn non_zero(&mut self, x: &T) -> R<(T, T)> {
        let build = |b: &_, v: &[u32]| {
            let (indices, count) = aimass_sdk::graph::Builder::non_zero(b, v[0])?;
            Ok(vec![indices, count])
        };
        pair(self.op("non-zero", &[x], Some(&[]), build)?)
    }

    // ---- reductions along one axis ----

    pub(crate) fn arg_max(&mut self, x: &T, axis: usize, keep: bool) -> R<T> {
        let attributes = [("axis", axis_of(axis)), ("keep", Parameter::Boolean(keep))];
        let build =
            |b: &_, v: &[u32]| aimass_sdk::graph::Builder::arg_max(b, v[0], axis as u32, keep);
        self.one("arg-max", &[x], Some(&attributes), build)
    }

    pub(crate) fn arg_min(&mut self, x: &T, axis: usize, keep: bool) -> R<T> {
        let attributes = [("axis", axis_of(axis)), ("keep", Parameter::Boolean(keep))];
        let build =
            |b: &_, v: &[u32]| aimass_sdk::graph::Builder::arg_min(b, v[0], axis as u32, keep);
        self.one("arg-min", &[x], Some(&attributes), build)
    }

    pub(crate) fn cumulative_sum(
        &mut self,
        x: &T,
        axis: usize,
        (exclusive, reverse): (bool, bool),
    ) -> R<T> {
        let attributes = [
            ("axis", axis_of(axis)),
            ("exclusive", Parameter::Boolean(exclusive)),
            ("reverse", Parameter::Boolean(reverse)),
        ];
        let build = |b: &_, v: &[u32]| {
            aimass_sdk::graph::Builder::cumulative_sum(b, v[0], axis as u32, exclusive, reverse)
        };
        self.one("cumulative-sum", &[x], Some(&attributes), build)
    }

    pub(crate) fn cumulative_prod(
        &mut self,
        x: &T,
        axis: usize,
        (exclusive, reverse): (bool, bool),
    ) -> R<T> {
        let attributes = [
            ("axis", axis_of(axis)),
            ("exclusive", Parameter::Boolean(exclusive)),
            ("reverse", Parameter::Boolean(reverse)),
        ];
        let build = |b: &_, v: &[u32]| {
            aimass_sdk::graph::Builder::cumulative_prod(b, v[0], axis as u32, exclusive, reverse)
        };
        self.one("cumulative-prod", &[x], Some(&attributes), build)
    }

    /// Along the last axis: values and i64 indices.
    pub(crate) fn top_k(&mut self, x: &T, k: u64, largest: bool) -> R<(T, T)> {
        let build = |b: &_, v: &[u32]| {
            let (values, indices) = aimass_sdk::graph::Builder::top_k(b, v[0], k, largest)?;
            Ok(vec![values, indices])
        };
        let attributes = [("k", int(k)), ("largest", Parameter::Boolean(largest))];
        pair(self.op("top-k", &[x], Some(&attributes), build)?)
    }

    /// Along the last axis: values and i64 indices; stable.
    pub(crate) fn sort(&mut self, x: &T, descending: bool) -> R<(T, T)> {
        let build = |b: &_, v: &[u32]| {
            let (values, indices) = aimass_sdk::graph::Builder::sort(b, v[0], descending)?;
            Ok(vec![values, indices])
        };
        let attributes = [("descending", Parameter::Boolean(descending))];
        pair(self.op("sort", &[x], Some(&attributes), build)?)
    }

    // ---- layers ----

    pub(crate) fn matmul(&mut self, x: &T, y: &T) -> R<T> {
        self.one("matmul", &[x, y], None, |b, v| b.matmul(v[0], v[1]))
    }

    pub(crate) fn matmul_integer(
        &mut self,
        x: &T,
        y: &T,
        x_zero: Option<&T>,
        y_zero: Option<&T>,
    ) -> R<T> {
        let mut inputs = vec![x, y];
        inputs.extend(x_zero);
        inputs.extend(y_zero);
        let y_at = 2 + usize::from(x_zero.is_some());
        self.one("matmul-integer", &inputs, None, |b, v| {
            let (x_zero, y_zero) = (x_zero.map(|_| v[2]), y_zero.map(|_| v[y_at]));
            b.matmul_integer(v[0], v[1], x_zero, y_zero)
        })
    }

    /// `x · w + bias` over the last axis of `x`.
    pub(crate) fn linear(&mut self, x: &T, w: &T, bias: Option<&T>, transposed: bool) -> R<T> {
        let mut inputs = vec![x, w];
        inputs.extend(bias);
        self.one("linear", &inputs, None, |b, v| {
            b.linear(v[0], v[1], v.get(2).copied(), transposed)
        })
    }

    /// `weights` are w [out, in], scales [out, groups] and perhaps zero points, of `group` elements.
    pub(crate) fn quantized_linear(
        &mut self,
        x: &T,
        weights: (&T, &T, Option<&T>),
        bias: Option<&T>,
        group: u64,
    ) -> R<T> {
        let (w, scales, zero) = weights;
        let mut inputs = vec![x, w, scales];
        inputs.extend(zero);
        inputs.extend(bias);
        let bias_at = 3 + usize::from(zero.is_some());
        self.one("quantized-linear", &inputs, None, |b, v| {
            let (zero, bias) = (zero.map(|_| v[3]), bias.map(|_| v[bias_at]));
            b.quantized_linear(v[0], v[1], v[2], zero, bias, group)
        })
    }

    /// `axes` are those of batch, then those that are contracted, each for `x` and `y`.
    pub(crate) fn dot_general(
        &mut self,
        x: &T,
        y: &T,
        batch: (&[usize], &[usize]),
        contract: (&[usize], &[usize]),
    ) -> R<T> {
        self.one("dot-general", &[x, y], None, |b, v| {
            let (batch_x, batch_y) = (narrow(batch.0), narrow(batch.1));
            let (contract_x, contract_y) = (narrow(contract.0), narrow(contract.1));
            b.dot_general(v[0], v[1], &batch_x, &batch_y, &contract_x, &contract_y)
        })
    }

    pub(crate) fn softmax(&mut self, x: &T, axis: usize) -> R<T> {
        self.one("softmax", &[x], None, |b, v| b.softmax(v[0], axis as u32))
    }

    pub(crate) fn log_softmax(&mut self, x: &T, axis: usize) -> R<T> {
        self.one("log-softmax", &[x], None, |b, v| b.log_softmax(v[0], axis as u32))
    }

    /// Over the last axis.
    pub(crate) fn layer_norm(&mut self, x: &T, scale: &T, bias: Option<&T>, epsilon: f32) -> R<T> {
        let mut inputs = vec![x, scale];
        inputs.extend(bias);
        self.one("layer-norm", &inputs, None, |b, v| {
            b.layer_norm(v[0], v[1], v.get(2).copied(), epsilon)
        })
    }

    /// Over the last axis.
    pub(crate) fn rms_norm(&mut self, x: &T, scale: &T, epsilon: f32) -> R<T> {
        self.one("rms-norm", &[x, scale], None, |b, v| b.rms_norm(v[0], v[1], epsilon))
    }

    pub(crate) fn group_norm(
        &mut self,
        x: &T,
        groups: u32,
        scale_bias: (&T, &T),
        epsilon: f32,
    ) -> R<T> {
        self.one("group-norm", &[x, scale_bias.0, scale_bias.1], None, |b, v| {
            b.group_norm(v[0], groups, v[1], v[2], epsilon)
        })
    }

    /// `statistics` are scale, bias, mean and variance.
    pub(crate) fn batch_norm(&mut self, x: &T, statistics: [&T; 4], epsilon: f32) -> R<T> {
        let [scale, bias, mean, variance] = statistics;
        self.one("batch-norm", &[x, scale, bias, mean, variance], None, |b, v| {
            b.batch_norm(v[0], v[1], v[2], v[3], v[4], epsilon)
        })
    }

    /// `qkv` are [batch, tokens, heads * size] each.
    pub(crate) fn attention(
        &mut self,
        qkv: [&T; 3],
        mask: Option<&T>,
        options: AttentionOptions,
    ) -> R<T> {
        let mut inputs = qkv.to_vec();
        inputs.extend(mask);
        self.one("attention", &inputs, None, |b, v| {
            b.attention(v[0], v[1], v[2], v.get(3).copied(), options)
        })
    }

    pub(crate) fn conv(
        &mut self,
        x: &T,
        w: &T,
        bias: Option<&T>,
        (window, groups): (&Window, u32),
    ) -> R<T> {
        let mut inputs = vec![x, w];
        inputs.extend(bias);
        self.one("conv", &inputs, None, |b, v| {
            b.conv(v[0], v[1], v.get(2).copied(), window, groups)
        })
    }

    pub(crate) fn conv_transpose(
        &mut self,
        x: &T,
        w: &T,
        bias: Option<&T>,
        (window, groups, output_pads): (&Window, u32, &[u64]),
    ) -> R<T> {
        let mut inputs = vec![x, w];
        inputs.extend(bias);
        self.one("conv-transpose", &inputs, None, |b, v| {
            b.conv_transpose(v[0], v[1], v.get(2).copied(), window, groups, output_pads)
        })
    }

    pub(crate) fn max_pool(&mut self, x: &T, size: &[u64], window: &Window) -> R<T> {
        self.one("max-pool", &[x], None, |b, v| b.max_pool(v[0], size, window))
    }

    pub(crate) fn average_pool(
        &mut self,
        x: &T,
        size: &[u64],
        window: &Window,
        count_pads: bool,
    ) -> R<T> {
        self.one("average-pool", &[x], None, |b, v| b.average_pool(v[0], size, window, count_pads))
    }

    /// `taps` are i32 indices and f32 weights, both [extent, taps].
    pub(crate) fn resample(&mut self, x: &T, axis: usize, taps: (&T, &T)) -> R<T> {
        self.one("resample", &[x, taps.0, taps.1], None, |b, v| {
            b.resample(v[0], axis as u32, v[1], v[2])
        })
    }

    /// A layer over [tokens, batch, in]; `weights` are W, R and perhaps a bias.
    pub(crate) fn recurrent(
        &mut self,
        kind: Recurrence,
        x: &T,
        weights: (&T, &T, Option<&T>),
        initial: &[&T],
        reverse: bool,
    ) -> R<Vec<T>> {
        let (w, r, bias) = weights;
        let mut inputs = vec![x, w, r];
        inputs.extend(bias);
        let states = inputs.len();
        inputs.extend(initial);
        self.op("recurrent", &inputs, None, |b, v| {
            let bias = bias.map(|_| v[3]);
            b.recurrent(v[0], kind, v[1], v[2], bias, &v[states..], reverse)
        })
    }

    /// Boxes that survive: i64 [most, 3], and how many rows count.
    pub(crate) fn non_max_suppression(
        &mut self,
        boxes: &T,
        scores: &T,
        (max_per_class, iou, score): (u64, f32, f32),
        centered: bool,
    ) -> R<(T, T)> {
        let build = |b: &_, v: &[u32]| {
            let kept = aimass_sdk::graph::Builder::non_max_suppression_padded(
                b,
                v[0],
                v[1],
                max_per_class,
                iou,
                score,
                centered,
            )?;
            Ok(vec![kept.0, kept.1])
        };
        pair(self.op("non-max-suppression-padded", &[boxes, scores], None, build)?)
    }

    pub(crate) fn fft(&mut self, x: &T, axis: usize, inverse: bool) -> R<T> {
        self.one("fft", &[x], None, |b, v| b.fft(v[0], axis as u32, inverse))
    }

    pub(crate) fn quantize(
        &mut self,
        x: &T,
        scale: &T,
        zero_point: Option<&T>,
        (axis, dtype): (Option<usize>, DType),
    ) -> R<T> {
        let mut inputs = vec![x, scale];
        inputs.extend(zero_point);
        self.one("quantize", &inputs, None, |b, v| {
            let axis = axis.map(|axis| axis as u32);
            b.quantize(v[0], v[1], v.get(2).copied(), axis, dtype)
        })
    }

    pub(crate) fn dequantize(
        &mut self,
        x: &T,
        scale: &T,
        zero_point: Option<&T>,
        axis: Option<usize>,
    ) -> R<T> {
        let mut inputs = vec![x, scale];
        inputs.extend(zero_point);
        self.one("dequantize", &inputs, None, |b, v| {
            b.dequantize(v[0], v[1], v.get(2).copied(), axis.map(|axis| axis as u32))
        })
    }

    // ---- with a number ----

    pub(crate) fn add_number(&mut self, x: &T, y: f64) -> R<T> {
        let y = scalar(x.dtype, y)?;
        self.add(x, &y)
    }

    pub(crate) fn mul_number(&mut self, x: &T, y: f64) -> R<T> {
        let y = scalar(x.dtype, y)?;
        self.mul(x, &y)
    }
}

fn scatter_name(mode: ScatterMode) -> Parameter {
    let name = match mode {
        ScatterMode::Replace => "replace",
        ScatterMode::Add => "add",
        ScatterMode::Mul => "mul",
        ScatterMode::Max => "max",
        ScatterMode::Min => "min",
    };
    Parameter::Text(name.to_owned())
}

fn pair(outputs: Vec<T>) -> R<(T, T)> {
    match <[T; 2]>::try_from(outputs) {
        Ok([first, second]) => Ok((first, second)),
        Err(_) => Err(aimass_sdk::Error::internal("outputs", "expected two outputs").into()),
    }
}
