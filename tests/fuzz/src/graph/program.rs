//! A graph out of bytes: inputs, then ops on what is there, then outputs.

use crate::source::Source;
use aimass_graph::{
    BytesSource, Dim, Graph, GraphBuilder, GraphError, GraphLimits, RegionId, StateInit, ValueId,
    ValueSpec,
};
use aimass_tensor::{Buffer, DType, Shape};
use std::sync::{Arc, OnceLock};

/// Nodes that one input may ask for; more would only make executions slower.
const CALLS_MAX: usize = 48;
/// Bytes of the file that weights come from.
const FILE_BYTES: usize = 8 << 10;
/// Dtypes of inputs and constants, those with most kernels more than once.
const DTYPES: [DType; 22] = [
    DType::F32,
    DType::F32,
    DType::F32,
    DType::F32,
    DType::I64,
    DType::I64,
    DType::I32,
    DType::U8,
    DType::I8,
    DType::Bool,
    DType::F16,
    DType::Bf16,
    DType::F64,
    DType::U32,
    DType::I16,
    DType::U16,
    DType::U64,
    DType::I4,
    DType::U4,
    DType::F8E4m3,
    DType::Bytes,
    DType::Q4_0,
];

/// What a builder call came to: new values, perhaps none.
pub(super) type Made = Result<Vec<ValueId>, GraphError>;

/// A graph under construction, and what is left of the bytes.
pub(super) struct Program<'a> {
    pub(super) source: Source<'a>,
    pub(super) builder: GraphBuilder,
    pub(super) values: Vec<ValueId>,
    /// Values outside of each open region.
    pub(super) outer: Vec<Vec<ValueId>>,
    /// Regions that were ended.
    pub(super) regions: Vec<RegionId>,
    /// Dimensions that inputs declare.
    dims: Vec<Dim>,
    /// What happened, as numbers that tell runs apart.
    pub(super) events: Vec<u64>,
    names: usize,
    /// Whether the graph looks at the bits of floats, so that it tells one NaN from another.
    pub(super) shows_bits: bool,
}

impl<'a> Program<'a> {
    /// Builds what the bytes say.
    pub(super) fn build(source: Source<'a>) -> Program<'a> {
        let limits = GraphLimits {
            constant_bytes_max: 64 << 10,
            states_bytes_max: 64 << 10,
            ..GraphLimits::default()
        };
        let mut program = Program {
            source,
            builder: GraphBuilder::new(limits),
            values: Vec::new(),
            outer: Vec::new(),
            regions: Vec::new(),
            dims: Vec::new(),
            events: Vec::new(),
            names: 0,
            shows_bits: false,
        };
        for _ in 0..=program.source.below(3) {
            program.call(0);
        }
        for _ in 0..CALLS_MAX {
            if program.source.is_empty() {
                break;
            }
            let kind = program.source.byte();
            program.call(kind);
        }
        while !program.outer.is_empty() && program.close_region().is_ok() {}
        program.outputs();
        program
    }

    /// The graph, with what happened.
    pub(super) fn finish(self) -> (Result<Graph, GraphError>, Vec<u64>, Source<'a>) {
        (self.builder.finish(), self.events, self.source)
    }

    fn call(&mut self, kind: u8) {
        let made = match kind {
            0..=11 => self.input(),
            12..=23 => self.given(),
            24..=27 => self.state(),
            _ => self.op(kind),
        };
        let outcome = match &made {
            Ok(_) => 0,
            Err(error) => crate::digest(error.code().as_bytes()),
        };
        self.events.push(crate::mix(u64::from(kind), outcome));
        if let Ok(made) = made {
            let dtypes = made.iter().filter_map(|&value| self.builder.spec(value).ok());
            let seen = dtypes.map(|spec| crate::mix(u64::from(kind) + 1_000, spec.dtype as u64));
            self.events.extend(seen.collect::<Vec<_>>());
            self.values.extend(made);
        }
    }

    fn input(&mut self) -> Made {
        let dtype = self.source.pick(&DTYPES);
        let rank = self.source.below(5);
        let mut dims: Vec<Dim> = (0..rank).map(|_| Dim::Fixed(self.source.extent())).collect();
        let name = self.name("x");
        match self.source.byte() % 8 {
            0 | 1 => {}
            2 => {
                let offsets = self.builder.offsets(&name)?;
                self.dims.push(Dim::Ragged(name.into()));
                return Ok(vec![offsets]);
            }
            3 | 4 => {
                let known = self.known_dim();
                dims.insert(0, known.unwrap_or(Dim::Batch));
            }
            5 => {
                let at = self.source.below(dims.len() + 1);
                dims.insert(at, Dim::Dynamic(self.source.pick(&["n", "m", ""]).into()));
            }
            _ => dims.insert(0, Dim::Batch),
        }
        let value = self.builder.input(&name, dtype, &dims)?;
        let own = self.builder.spec(value)?.dims.clone();
        self.dims.extend(own.into_iter().filter(|dim| dim.fixed().is_none()));
        Ok(vec![value])
    }

    /// A constant or a weight.
    fn given(&mut self) -> Made {
        let dtype = self.source.pick(&DTYPES);
        let dims = self.source.extents();
        if self.source.bit() {
            return self.constant(dtype, &dims).map(|value| vec![value]);
        }
        let offset = match self.source.byte() {
            250.. => self.source.extent(),
            byte => u64::from(byte % 16) * 4,
        };
        let name = self.name("w");
        self.builder.weight(&name, dtype, &dims, file(), offset).map(|value| vec![value])
    }

    /// A constant of this dtype and shape with content out of the bytes.
    pub(super) fn constant(&mut self, dtype: DType, dims: &[u64]) -> Result<ValueId, GraphError> {
        let dims: Vec<usize> =
            dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(usize::MAX)).collect();
        let shape = Shape::new(&dims).unwrap_or(Shape::SCALAR);
        let shape = if shape.elements() > 4_096 { Shape::SCALAR } else { shape };
        let seed = u64::from(self.source.byte());
        let tensor = super::content::tensor(dtype, shape, seed);
        let tensor = tensor.or_else(|| super::content::tensor(DType::F32, shape, seed));
        match tensor {
            Some(tensor) => self.builder.constant(tensor),
            None => Err(GraphError::NoOutput),
        }
    }

    fn state(&mut self) -> Made {
        if self.source.bit() {
            let (name, x) = (format!("s{}", self.source.below(4)), self.value());
            return self.builder.state_write(&name, x).map(|()| Vec::new());
        }
        let (dtype, dims) = (self.source.pick(&DTYPES), self.source.extents());
        let init = match self.source.bit() {
            true => StateInit::Value(self.value()),
            false => StateInit::Zeros,
        };
        let name = format!("s{}", self.source.below(4));
        self.builder.state(&name, dtype, &dims, init).map(|value| vec![value])
    }

    fn outputs(&mut self) {
        let mut chosen: Vec<ValueId> = self.values.last().copied().into_iter().collect();
        for _ in 0..self.source.below(4) {
            chosen.push(self.value());
        }
        for value in chosen {
            let name = self.name("y");
            // A refused output is as good a call as any.
            let _ = self.builder.output(&name, value);
        }
    }

    /// A value, most often a late one; rarely one that does not exist.
    pub(super) fn value(&mut self) -> ValueId {
        match self.source.byte() {
            255 => ValueId(u32::MAX),
            byte => {
                let back = usize::from(byte) % self.values.len().max(1);
                let at = self.values.len().checked_sub(back + 1);
                at.and_then(|at| self.values.get(at)).copied().unwrap_or(ValueId(0))
            }
        }
    }

    /// A value and what is known of it.
    pub(super) fn known(&mut self) -> Result<(ValueId, ValueSpec), GraphError> {
        let value = self.value();
        Ok((value, self.builder.spec(value)?.clone()))
    }

    pub(super) fn dtype(&mut self) -> DType {
        match self.source.byte() {
            byte @ 240.. => DType::ALL[usize::from(byte - 240) * 2 % DType::ALL.len()],
            byte => DTYPES[usize::from(byte) % DTYPES.len()],
        }
    }

    /// Dimensions of any class.
    pub(super) fn any_dims(&mut self) -> Vec<Dim> {
        let count = self.source.below(6);
        (0..count).map(|_| self.any_dim()).collect()
    }

    pub(super) fn any_dim(&mut self) -> Dim {
        match self.source.byte() {
            0..=191 => Dim::Fixed(self.source.extent()),
            192..=223 => self.known_dim().unwrap_or(Dim::Batch),
            224..=239 => Dim::Batch,
            240..=247 => Dim::Dynamic("".into()),
            _ => Dim::Dynamic(self.source.pick(&["n", "%0", "unknown"]).into()),
        }
    }

    fn known_dim(&mut self) -> Option<Dim> {
        let at = self.source.below(self.dims.len());
        self.dims.get(at).cloned()
    }

    fn name(&mut self, letter: &str) -> String {
        self.names += 1;
        format!("{letter}{}", self.names)
    }
}

/// The file of all weights.
fn file() -> Arc<BytesSource> {
    static FILE: OnceLock<Arc<BytesSource>> = OnceLock::new();
    let make = || {
        let bytes: Vec<u8> = (0..FILE_BYTES).map(|at| (at * 37 % 251) as u8 & 0xbf).collect();
        Arc::new(BytesSource::new(Buffer::shared(Arc::new(bytes))))
    };
    FILE.get_or_init(make).clone()
}
