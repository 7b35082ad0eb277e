//! Layers: products, norms, attention, convolutions, quantization, recurrence.

use super::{One, one};
use crate::graph::program::{Made, Program};
use aimass_graph::{
    AttentionOptions, AttentionValues, BatchNormValues, Contraction, ConvValues, Dim, GraphError,
    QuantizedLinearValues, Recurrence, RecurrentValues, ResizeMode, Suppression, ValueId,
    ValueSpec, Window,
};
use aimass_tensor::DType;

impl Program<'_> {
    pub(super) fn layer(&mut self) -> Made {
        match self.source.below(24) {
            0..=2 => self.linear(),
            3 => self.dot_general(),
            4 | 5 => self.norm(),
            6 => self.attention(),
            7 => self.ragged_attention(),
            8..=10 => self.conv(),
            11 => self.pool(),
            12 => self.channel_norm(),
            13 => self.resize(),
            14 => self.resample(),
            15 => self.matmul_integer(),
            16 => self.quantized_linear(),
            17 | 18 => self.quantize(),
            19 => self.recurrent(),
            20 => {
                let (x, positions) = (self.value(), self.value());
                let (heads, base) = (self.source.extent() as u32, self.source.float());
                let interleaved = self.source.bit();
                one(self.builder.rope(x, positions, heads, base, interleaved))
            }
            21 => {
                let (x, spec) = self.known()?;
                let (axis, inverse) = (self.source.axis(spec.rank()), self.source.bit());
                one(self.builder.fft(x, axis, inverse))
            }
            22 => self.suppression(),
            _ => {
                let (x, spec) = self.known()?;
                let axis = self.source.axis(spec.rank());
                one(match self.source.bit() {
                    true => self.builder.softmax(x, axis),
                    false => self.builder.log_softmax(x, axis),
                })
            }
        }
    }

    /// A constant that fits, or any value.
    fn fitting(&mut self, spec: &ValueSpec, dims: &[u64]) -> One {
        match self.source.byte() {
            0..=223 => self.constant(spec.dtype, dims),
            _ => Ok(self.value()),
        }
    }

    fn optional(&mut self, spec: &ValueSpec, dims: &[u64]) -> Result<Option<ValueId>, GraphError> {
        match self.source.bit() {
            true => self.fitting(spec, dims).map(Some),
            false => Ok(None),
        }
    }

    fn linear(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let (k, n, transposed) =
            (extent(&spec, spec.rank().wrapping_sub(1)), self.source.extent(), self.source.bit());
        let n = n.min(256);
        let w = self.fitting(&spec, &if transposed { [n, k] } else { [k, n] })?;
        let bias = self.optional(&spec, &[n])?;
        one(self.builder.linear(x, w, bias, transposed))
    }

    fn dot_general(&mut self) -> Made {
        let ((x, a), (y, b)) = (self.known()?, self.known()?);
        let mut axes = |rank: usize| -> Vec<u32> {
            let count = self.source.below(3);
            (0..count).map(|_| self.source.axis(rank)).collect()
        };
        let (batch_x, contract_x) = (axes(a.rank()), axes(a.rank()));
        let (batch_y, contract_y) = match self.source.byte() {
            0..=191 => (batch_x.clone(), contract_x.clone()),
            _ => (vec![self.source.axis(b.rank())], vec![self.source.axis(b.rank())]),
        };
        let axes = Contraction {
            batch_x: &batch_x,
            batch_y: &batch_y,
            contract_x: &contract_x,
            contract_y: &contract_y,
        };
        one(self.builder.dot_general(x, y, axes))
    }

    fn norm(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let last = [extent(&spec, spec.rank().wrapping_sub(1))];
        let (which, epsilon) = (self.source.below(3), self.source.float());
        if which == 0 {
            return one(self.builder.l2_normalize(x, epsilon));
        }
        let scale = self.fitting(&spec, &last)?;
        if which == 1 {
            return one(self.builder.rms_norm(x, scale, epsilon));
        }
        let bias = self.optional(&spec, &last)?;
        one(self.builder.layer_norm(x, scale, bias, epsilon))
    }

    fn options(&mut self) -> AttentionOptions {
        let heads = self.source.pick(&[1, 2, 3, 4, 0, u32::MAX]);
        let kv_heads = if self.source.byte() < 192 { heads } else { self.source.extent() as u32 };
        let scale = self.source.bit().then(|| self.source.float());
        let window = (self.source.byte() > 250).then_some(2);
        AttentionOptions { heads, kv_heads, scale, causal: self.source.bit(), window }
    }

    fn attention_values(&mut self) -> AttentionValues {
        let q = self.value();
        match self.source.byte() {
            0..=127 => AttentionValues { q, k: q, v: q },
            _ => AttentionValues { q, k: self.value(), v: self.value() },
        }
    }

    fn attention(&mut self) -> Made {
        let (values, options) = (self.attention_values(), self.options());
        let mask = match self.source.bit() {
            true => Some(self.value()),
            false => None,
        };
        one(self.builder.attention(values, mask, options))
    }

    fn ragged_attention(&mut self) -> Made {
        let (values, options, offsets) = (self.attention_values(), self.options(), self.value());
        one(self.builder.ragged_attention(values, offsets, options))
    }

    fn window(&mut self, spatial: usize) -> Window {
        let ones = |this: &mut Self| {
            let list = this.source.extents_of(spatial);
            list.into_iter()
                .map(|number| number.max(u64::from(this.source.byte() != 255)))
                .collect()
        };
        Window {
            strides: ones(self),
            pads_before: self.source.extents_of(spatial),
            pads_after: self.source.extents_of(spatial),
            dilations: ones(self),
        }
    }

    fn conv(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let spatial = spec.rank().saturating_sub(2);
        let window = self.window(spatial);
        let channels = extent(&spec, 1);
        let groups = match self.source.byte() {
            0..=95 => 1,
            96..=191 => channels.min(64) as u32,
            _ => self.source.extent() as u32,
        };
        let filters = u64::from(groups) * (1 + self.source.below(4) as u64);
        let (own, kernel) = (channels / u64::from(groups.max(1)), self.source.extents_of(spatial));
        let transposed = self.source.byte() < 64;
        let head = if transposed {
            [channels, filters / u64::from(groups.max(1))]
        } else {
            [filters, own]
        };
        let w = self.fitting(&spec, &[&head[..], &kernel].concat())?;
        let bias = self.optional(&spec, &[filters])?;
        let values = ConvValues { x, w, bias };
        if transposed {
            let pads = match self.source.byte() {
                0..=191 => vec![0; spatial],
                _ => self.source.extents_of(spatial),
            };
            return one(self.builder.conv_transpose(values, window, groups, &pads));
        }
        one(self.builder.conv(values, window, groups))
    }

    fn pool(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let spatial = spec.rank().saturating_sub(2);
        let (size, window) = (self.source.extents_of(spatial), self.window(spatial));
        one(match self.source.below(3) {
            0 => self.builder.max_pool(x, &size, window),
            1 => self.builder.average_pool(x, &size, window, true),
            _ => self.builder.average_pool(x, &size, window, false),
        })
    }

    fn channel_norm(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let (channels, epsilon) = ([extent(&spec, 1)], self.source.float());
        let (scale, bias) = (self.fitting(&spec, &channels)?, self.fitting(&spec, &channels)?);
        if self.source.bit() {
            let groups = self.source.extent() as u32;
            return one(self.builder.group_norm(x, groups, scale, bias, epsilon));
        }
        let (mean, variance) = (self.fitting(&spec, &channels)?, self.fitting(&spec, &channels)?);
        let values = BatchNormValues { scale, bias, mean, variance };
        one(self.builder.batch_norm(x, values, epsilon))
    }

    fn resize(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let extents = self.source.extents_of(spec.rank().saturating_sub(2));
        let mode =
            self.source.pick(&[ResizeMode::Nearest, ResizeMode::Bilinear, ResizeMode::Bicubic]);
        let (antialias, corners) = (self.source.bit(), self.source.bit());
        one(self.builder.resize(x, &extents, mode, antialias, corners))
    }

    fn resample(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let axis = self.source.axis(spec.rank());
        let dims = [self.source.extent(), self.source.extent()];
        let (indices, weights) =
            (self.constant(DType::I32, &dims)?, self.constant(DType::F32, &dims)?);
        one(self.builder.resample(x, axis, indices, weights))
    }

    fn matmul_integer(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let (k, n) = (extent(&spec, spec.rank().wrapping_sub(1)), self.source.extent().min(64));
        let w = self.fitting(&spec, &[k, n])?;
        let (a, b) = (self.optional(&spec, &[])?, self.optional(&spec, &[])?);
        one(self.builder.matmul_integer(x, w, a, b))
    }

    fn quantized_linear(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let (k, n) = (extent(&spec, spec.rank().wrapping_sub(1)), self.source.extent().min(64));
        let group = self.source.extent();
        let groups = k.div_ceil(group.max(1));
        let dtype = self.source.pick(&[DType::U4, DType::U8, DType::I4, DType::I8]);
        let w = self.constant(dtype, &[n, k])?;
        let scales = self.fitting(&spec, &[n, groups])?;
        let zero_points = match self.source.bit() {
            true => Some(self.constant(dtype, &[n, groups])?),
            false => None,
        };
        let bias = self.optional(&spec, &[n])?;
        let values = QuantizedLinearValues { x, w, scales, zero_points, bias };
        one(self.builder.quantized_linear(values, group))
    }

    fn quantize(&mut self) -> Made {
        let (x, spec) = self.known()?;
        let axis = self.source.bit().then(|| self.source.axis(spec.rank()));
        let dims: Vec<u64> = axis.map(|axis| extent(&spec, axis as usize)).into_iter().collect();
        let dtype = self.dtype();
        if self.source.bit() {
            let scale = self.fitting(&spec, &dims)?;
            let zero = match self.source.bit() {
                true => Some(self.constant(dtype, &dims)?),
                false => None,
            };
            return one(self.builder.quantize(x, scale, zero, axis, dtype));
        }
        let scale = self.constant(DType::F32, &dims)?;
        let zero = self.optional(&spec, &dims)?;
        one(self.builder.dequantize(x, scale, zero, axis))
    }

    fn recurrent(&mut self) -> Made {
        const KINDS: [Recurrence; 4] =
            [Recurrence::Lstm, Recurrence::Gru, Recurrence::Tanh, Recurrence::Relu];
        let (x, spec) = self.known()?;
        let (kind, reverse) = (self.source.pick(&KINDS), self.source.bit());
        let (input, hidden) = (extent(&spec, 2), 1 + self.source.below(9) as u64);
        let gates = kind.gates() as u64;
        let w = self.fitting(&spec, &[gates * hidden, input])?;
        let r = self.fitting(&spec, &[gates * hidden, hidden])?;
        let bias = self.optional(&spec, &[2 * gates * hidden])?;
        let count = self.source.below(3);
        let initial: Vec<ValueId> = (0..count)
            .map(|_| self.fitting(&spec, &[extent(&spec, 0), hidden]))
            .collect::<Result<_, _>>()?;
        let values = RecurrentValues { x, w, r, bias, initial: &initial };
        self.builder.recurrent(kind, values, reverse)
    }

    fn suppression(&mut self) -> Made {
        let (boxes, scores) = (self.value(), self.value());
        let options = Suppression {
            max_per_class: self.source.extent() as usize,
            iou: self.source.float(),
            score: self.source.float(),
            centered: self.source.bit(),
        };
        if self.source.bit() {
            return self.builder.non_max_suppression(boxes, scores, options).map(|kept| vec![kept]);
        }
        let pair = self.builder.non_max_suppression_padded(boxes, scores, options);
        pair.map(|(a, b)| vec![a, b])
    }
}

/// A known extent, else a small one.
fn extent(spec: &ValueSpec, axis: usize) -> u64 {
    spec.dims.get(axis).and_then(Dim::fixed).unwrap_or(3)
}
