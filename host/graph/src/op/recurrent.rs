//! Recurrent layers.

use super::{Arg, Call, Infer, Op, OpRule};
use crate::dim::DimRule;
use crate::prepared::{Known, Prepared, Source};
use crate::{Dim, GraphError, PlanError, RunError, ValueSpec};
use aimass_cpu::recurrent::{
    PackedRecurrent, Recurrence, RecurrentRun, RecurrentWeights, recurrent,
};
use aimass_cpu::view::numbers;
use aimass_tensor::Shape;

/// One direction of ONNX `LSTM-14`, `GRU-14` (with `linear_before_reset = 0`) or `RNN-14`, with the
/// functions that those have by default.
///
/// | tensor    | shape                      | dtype          |
/// |-----------|----------------------------|----------------|
/// | `x`       | `[tokens, batch, in]`      | f16, bf16, f32 |
/// | `w`       | `[gates * hidden, in]`     | as `x`         |
/// | `r`       | `[gates * hidden, hidden]` | as `x`         |
/// | `bias`    | `[2 * gates * hidden]`     | as `x`         |
/// | `h`, `c`  | `[batch, hidden]`          | as `x`         |
/// | all       | `[tokens, batch, hidden]`  | as `x`         |
/// | last h, c | `[batch, hidden]`          | as `x`         |
///
/// Gates are i, o, f, c of an LSTM and z, r, h of a GRU. Without initial values they are zeros; only
/// an LSTM has a `c`. No value has rows: tokens depend on one another, and the batch is axis 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Recurrent {
    pub(crate) kind: Recurrence,
    pub(crate) reverse: bool,
    pub(crate) bias: bool,
    /// Weights and bias, which then are no inputs any more.
    pub(crate) packed: Option<Prepared<PackedRecurrent>>,
}

impl Recurrent {
    /// `h`, and `c` of an LSTM.
    fn states(&self) -> usize {
        if self.kind == Recurrence::Lstm { 2 } else { 1 }
    }

    /// The number of the first initial value among all inputs.
    fn first_state(&self) -> usize {
        3 + usize::from(self.bias)
    }

    fn pack(&self, [w, r]: [(&[u8], &Shape); 2], bias: Option<&[u8]>) -> PackedRecurrent {
        fn own(bytes: &[u8]) -> &[f32] {
            if bytes.is_empty() { &[] } else { numbers(bytes) }
        }
        let (input, hidden) = (w.1[1], r.1[1]);
        let bias = bias.map(own);
        PackedRecurrent::pack(
            self.kind,
            RecurrentWeights { input, hidden, w: own(w.0), r: own(r.0), bias },
        )
    }
}

impl OpRule for Recurrent {
    fn name(&self) -> &'static str {
        "recurrent"
    }

    fn infer(&self, cx: &mut Infer<'_>, x: &[&ValueSpec]) -> Result<Vec<ValueSpec>, GraphError> {
        cx.f32_or_narrower(x[0])?;
        let initial = x.len() - self.first_state();
        if initial != 0 && initial != self.states() {
            let expected = format!("none or {}", self.states());
            return Err(cx.argument("initial", &expected, &initial));
        }
        let ranks = [3, 2, 2].into_iter().chain(self.bias.then_some(1)).chain([2, 2]);
        for (value, rank) in x.iter().zip(ranks) {
            cx.alike(x[0], value)?;
            if value.rank() != rank {
                let expected = "3 of x, 2 of weights and states, 1 of the bias";
                return Err(GraphError::Rank { op: cx.op, expected, got: value.rank() });
            }
            for dim in &value.dims {
                cx.not_rows(dim)?;
            }
        }
        let (tokens, batch, input) = (&x[0].dims[0], &x[0].dims[1], &x[0].dims[2]);
        let hidden = &x[2].dims[1];
        let gates = self.kind.gates() as u64;
        let columns = times(cx, gates, hidden)?;
        cx.dims.same(cx.op, &x[1].dims[0], &columns)?;
        cx.dims.same(cx.op, &x[1].dims[1], input)?;
        cx.dims.same(cx.op, &x[2].dims[0], &columns)?;
        if self.bias {
            let both = times(cx, 2 * gates, hidden)?;
            cx.dims.same(cx.op, &x[3].dims[0], &both)?;
        }
        for state in &x[self.first_state()..] {
            cx.dims.same(cx.op, &state.dims[0], batch)?;
            cx.dims.same(cx.op, &state.dims[1], hidden)?;
        }
        let last = vec![batch.clone(), hidden.clone()];
        let all = [std::slice::from_ref(tokens), &last].concat();
        let mut outputs = vec![ValueSpec::new(x[0].dtype, all)];
        outputs.extend((0..self.states()).map(|_| ValueSpec::new(x[0].dtype, last.clone())));
        Ok(outputs)
    }

    fn flops(&self, inputs: &[Shape], _: &[Shape]) -> u64 {
        let rows = (inputs[0][0] as u64).saturating_mul(inputs[0][1] as u64);
        let weights = match &self.packed {
            Some(packed) => packed.bytes() as u64 / size_of::<f32>() as u64,
            None => inputs[1].elements().saturating_add(inputs[2].elements()) as u64,
        };
        rows.saturating_mul(weights.saturating_mul(2))
    }

    fn widens(&self) -> bool {
        true
    }

    fn prepared(&self, inputs: &[Source<'_>]) -> Result<Option<(Op, Vec<usize>)>, PlanError> {
        let end = self.first_state();
        let known: Option<Vec<Known<'_>>> =
            inputs[1..end].iter().map(|input| input.known()).collect();
        let Some(known) = known else { return Ok(None) };
        let layout = format!("recurrent {:?} {}", self.kind, self.bias);
        let packed = Prepared::of(&layout, &known, || {
            let [w, r] = [known[0].load()?, known[1].load()?];
            let bias = known.get(2).map(|bias| bias.load()).transpose()?;
            let weights = [(w.bytes(), w.shape()), (r.bytes(), r.shape())];
            Ok(self.pack(weights, bias.as_ref().map(|bias| bias.bytes())))
        })?;
        let op = Recurrent { packed: Some(packed), ..self.clone() };
        let kept = std::iter::once(0).chain(end..inputs.len()).collect();
        Ok(Some((Op::Recurrent(op), kept)))
    }

    fn prepared_bytes(&self) -> u64 {
        self.packed.as_ref().map_or(0, |packed| packed.bytes() as u64)
    }

    fn run(&self, call: &mut Call<'_, '_>) -> Result<(), RunError> {
        let (x, team) = (&call.inputs[0], call.team);
        let own;
        let (packed, initial) = match &self.packed {
            Some(packed) => (&**packed, &call.inputs[1..]),
            None => {
                let (w, r) = (&call.inputs[1], &call.inputs[2]);
                let bias = self.bias.then(|| call.inputs[3].bytes);
                own = self.pack([(w.bytes, &w.shape), (r.bytes, &r.shape)], bias);
                (&own, &call.inputs[self.first_state()..])
            }
        };
        let Some((all, last)) = call.outputs.split_first_mut() else {
            return Err(RunError::Internal("a recurrent layer without outputs"));
        };
        for (index, state) in last.iter_mut().enumerate() {
            match initial.get(index) {
                Some(initial) => state.bytes.copy_from_slice(initial.bytes),
                None => state.bytes.fill(0),
            }
        }
        let mut states = last.iter_mut().map(|state| state.numbers::<f32>());
        let h = states.next().unwrap_or_default();
        let c = states.next().unwrap_or_default();
        let (tokens, batch) = (x.shape[0], x.shape[1]);
        let (x, out, reverse) = (Arg::numbers(x), all.numbers(), self.reverse);
        recurrent(team, packed, RecurrentRun { x, tokens, batch, reverse, h, c, out });
        Ok(())
    }
}

/// An extent times a number.
fn times(cx: &mut Infer<'_>, factor: u64, dim: &Dim) -> Result<Dim, GraphError> {
    match dim.fixed() {
        Some(extent) => {
            extent.checked_mul(factor).map(Dim::Fixed).ok_or(GraphError::Elements { op: cx.op })
        }
        None => Ok(cx.dims.derive(DimRule::Product(factor, vec![dim.clone()]))),
    }
}
