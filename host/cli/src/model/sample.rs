//! Inputs that nobody has at hand: random content in the shapes that were asked for.

use aimass_engine::TensorMetadata;
use aimass_graph::{Dim, TensorSpec};
use aimass_sandbox::PluginTensorSpec;
use aimass_tensor::{BufferMut, DType, Shape, Tensor};
use anyhow::{Context, bail, ensure};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Bytes that all sampled inputs may take together.
const BYTES_MAX: usize = 1 << 30;
/// Rows of a ragged dimension that nobody gave an extent.
const RAGGED_ROWS: usize = 32;

/// An input that wants content.
#[derive(Debug, Clone)]
pub(crate) struct Port {
    name: Arc<str>,
    dtype: Option<DType>,
    dims: Option<Vec<Dim>>,
}

/// Shapes by input name, as `--shape` gives them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shapes(BTreeMap<String, Vec<usize>>);

/// Sampled inputs.
#[derive(Debug)]
pub(crate) struct Sample {
    /// In the order of the ports.
    pub(crate) tensors: Vec<(Arc<str>, Tensor)>,
    /// Extents that were chosen, for people: `batch = 1`.
    pub(crate) chosen: Vec<String>,
}

impl From<&TensorSpec> for Port {
    fn from(spec: &TensorSpec) -> Port {
        let (dtype, dims) = (Some(spec.dtype), Some(spec.dims.clone()));
        Port { name: spec.name.clone(), dtype, dims }
    }
}

impl From<&PluginTensorSpec> for Port {
    fn from(spec: &PluginTensorSpec) -> Port {
        Port { name: spec.name.clone(), dtype: spec.dtype, dims: spec.dims.clone() }
    }
}

impl From<&TensorMetadata> for Port {
    fn from(metadata: &TensorMetadata) -> Port {
        let open = |axis: usize| Dim::Dynamic(format!("{}[{axis}]", metadata.name).into());
        let dim = |(axis, &extent): (usize, &i64)| {
            u64::try_from(extent).map_or_else(|_| open(axis), Dim::Fixed)
        };
        let dims = metadata.shape.as_ref().map(|s| s.iter().enumerate().map(dim).collect());
        Port { name: metadata.name.clone(), dtype: metadata.dtype, dims }
    }
}

impl Port {
    /// Whether random content makes sense: numbers of a known dtype and rank.
    pub(crate) fn can_be_sampled(&self) -> bool {
        self.dims.is_some() && self.dtype.is_some_and(|dtype| dtype != DType::Bytes)
    }
}

impl Shapes {
    /// Reads `NAME=2x3x4` for each; `NAME=` is a scalar.
    ///
    /// # Errors
    /// What was expected and what came.
    pub(crate) fn parse(texts: &[String]) -> anyhow::Result<Shapes> {
        let mut shapes = BTreeMap::new();
        for text in texts {
            let expected =
                || format!("--shape: expected NAME=EXTENTS as x=1x3x640x640, got {text:?}");
            let (name, extents) = text.rsplit_once('=').with_context(expected)?;
            let parts = extents.split('x').filter(|_| !extents.is_empty());
            let extents: Result<Vec<usize>, _> = parts.map(str::parse).collect();
            let extents = extents.with_context(expected)?;
            Shape::new(&extents).with_context(expected)?;
            ensure!(
                shapes.insert(name.to_owned(), extents).is_none(),
                "--shape: {name} came twice"
            );
        }
        Ok(Shapes(shapes))
    }

    /// Refuses names that are no input.
    ///
    /// # Errors
    /// Names the inputs that there are.
    pub(crate) fn check_names<'a>(
        &self,
        known: impl Iterator<Item = &'a Arc<str>>,
    ) -> anyhow::Result<()> {
        let known: Vec<&str> = known.map(|name| &**name).collect();
        match self.0.keys().find(|name| !known.contains(&&***name)) {
            Some(name) => {
                bail!("--shape: there is no input {name:?}; there are {}", known.join(", "))
            }
            None => Ok(()),
        }
    }
}

/// Random content for every port, the same for the same seed.
///
/// Floats are between -1 and 1, 8-bit integers any byte, wider integers and bools 0 or 1 (which is
/// within every table), offsets cut the rows into even sequences.
///
/// # Errors
/// A shape that does not fit its port, a port of texts, or more than 1 GiB in all.
pub(crate) fn sample(ports: &[Port], shapes: &Shapes, seed: u64) -> anyhow::Result<Sample> {
    let mut extents = Extents { bound: HashMap::new(), chosen: Vec::new() };
    for port in ports {
        if let Some(given) = shapes.0.get(&*port.name) {
            extents.bind(port, given, is_offsets(port, ports))?;
        }
    }
    let mut random = Random(seed);
    let mut tensors = Vec::with_capacity(ports.len());
    let mut total = 0usize;
    for port in ports {
        let dtype = port.dtype.with_context(|| no_content(port))?;
        let shape = extents.shape(port, shapes, ports)?;
        let bytes = dtype.bytes_for(shape.elements()).with_context(|| no_content(port))?;
        total = total.saturating_add(bytes);
        ensure!(total <= BYTES_MAX, "sampled inputs take at most {BYTES_MAX} bytes, got {total}");
        let tensor = match is_offsets(port, ports) {
            true => offsets(&shape, extents.rows(&port.name))?,
            false => random.tensor(dtype, shape).with_context(|| no_content(port))?,
        };
        tensors.push((port.name.clone(), tensor));
    }
    extents.chosen.dedup();
    Ok(Sample { tensors, chosen: extents.chosen })
}

fn no_content(port: &Port) -> String {
    let dtype = port.dtype.map_or_else(|| "any dtype".to_owned(), |dtype| dtype.to_string());
    format!(
        "input {:?} takes {dtype}, which cannot be made up; give --input {}=JSON or --inputs FILE",
        port.name, port.name
    )
}

/// Whether a port holds the offsets of another one's ragged dimension.
fn is_offsets(port: &Port, ports: &[Port]) -> bool {
    let names = |other: &Port| {
        let first = other.dims.as_ref().and_then(|dims| dims.first());
        matches!(first, Some(Dim::Ragged(name)) if *name == port.name)
    };
    port.dtype == Some(DType::U32) && ports.iter().any(names)
}

/// Extents of dimensions that are not fixed.
struct Extents {
    bound: HashMap<Dim, usize>,
    chosen: Vec<String>,
}

impl Extents {
    /// Checks a given shape against its port and takes its extents for all others.
    fn bind(&mut self, port: &Port, given: &[usize], offsets: bool) -> anyhow::Result<()> {
        let Some(dims) = &port.dims else { return Ok(()) };
        let wrong = |bound: &HashMap<Dim, usize>| {
            let text = |dim: &Dim| match bound.get(dim) {
                Some(extent) => format!("{dim}={extent}"),
                None => dim.to_string(),
            };
            let expected: Vec<String> = dims.iter().map(text).collect();
            let got: Vec<String> = given.iter().map(usize::to_string).collect();
            let (expected, got) = (expected.join("x"), got.join("x"));
            format!("--shape: input {:?} takes {expected}, got {got}", port.name)
        };
        ensure!(dims.len() == given.len(), wrong(&self.bound));
        if offsets {
            let sequences = given[0].checked_sub(1).with_context(|| wrong(&self.bound))?;
            let known = *self.bound.entry(Dim::Batch).or_insert(sequences);
            ensure!(known == sequences, wrong(&self.bound));
            return Ok(());
        }
        for (dim, &extent) in dims.iter().zip(given) {
            let fits = match dim {
                Dim::Fixed(fixed) => *fixed == extent as u64,
                Dim::Batch | Dim::Ragged(_) | Dim::Dynamic(_) => {
                    *self.bound.entry(dim.clone()).or_insert(extent) == extent
                }
            };
            ensure!(fits, wrong(&self.bound));
        }
        Ok(())
    }

    fn shape(&mut self, port: &Port, shapes: &Shapes, ports: &[Port]) -> anyhow::Result<Shape> {
        if let Some(given) = shapes.0.get(&*port.name) {
            return Ok(Shape::new(given)?);
        }
        if is_offsets(port, ports) {
            return Ok(Shape::new(&[self.extent(&Dim::Batch).saturating_add(1)])?);
        }
        let dims = port.dims.as_ref().with_context(|| {
            format!("input {:?} takes any shape; give --shape {}=EXTENTS", port.name, port.name)
        })?;
        let mut extents = Vec::with_capacity(dims.len());
        for dim in dims {
            extents.push(match dim {
                Dim::Fixed(extent) => usize::try_from(*extent)?,
                Dim::Batch | Dim::Ragged(_) | Dim::Dynamic(_) => self.extent(dim),
            });
        }
        Ok(Shape::new(&extents)?)
    }

    fn extent(&mut self, dim: &Dim) -> usize {
        if let Some(extent) = self.bound.get(dim) {
            return *extent;
        }
        let extent = if matches!(dim, Dim::Ragged(_)) { RAGGED_ROWS } else { 1 };
        self.chosen.push(format!("{dim} = {extent}"));
        self.bound.insert(dim.clone(), extent);
        extent
    }

    /// Rows of the ragged dimension with these offsets.
    fn rows(&mut self, offsets: &Arc<str>) -> usize {
        self.extent(&Dim::Ragged(offsets.clone()))
    }
}

/// Even sequences that end at `rows`.
fn offsets(shape: &Shape, rows: usize) -> anyhow::Result<Tensor> {
    let sequences = shape.elements().saturating_sub(1);
    ensure!(
        sequences > 0 || rows == 0,
        "{rows} rows belong to no sequence; give offsets a longer shape"
    );
    let end = |i: usize| Ok(u32::try_from(rows * i / sequences.max(1))?);
    let ends: Vec<u32> = (0..=sequences).map(end).collect::<anyhow::Result<_>>()?;
    Ok(Tensor::from_slice(shape, &ends)?)
}

/// Pseudo-random numbers (splitmix64).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between -1 and 1, in steps that f16 and bf16 hold exactly.
    fn unit(&mut self) -> f32 {
        (self.bits() >> 57) as f32 / 64.0 - 1.0
    }

    /// The bytes of one number, and zeros behind it.
    fn element(&mut self, dtype: DType) -> Option<[u8; 8]> {
        let mut bytes = [0; 8];
        match dtype {
            DType::F32 => bytes[..4].copy_from_slice(&self.unit().to_le_bytes()),
            DType::F64 => bytes = f64::from(self.unit()).to_le_bytes(),
            DType::F16 => bytes[..2].copy_from_slice(&half(self.unit()).to_le_bytes()),
            DType::Bf16 => bytes[..2].copy_from_slice(&self.unit().to_le_bytes()[2..]),
            DType::I8 | DType::U8 => bytes[0] = self.bits() as u8,
            DType::Bool
            | DType::I16
            | DType::U16
            | DType::I32
            | DType::U32
            | DType::I64
            | DType::U64 => bytes[0] = (self.bits() & 1) as u8,
            DType::I4
            | DType::U4
            | DType::F8E4m3
            | DType::F8E5m2
            | DType::F8E4m3Fnuz
            | DType::F8E5m2Fnuz
            | DType::Bytes
            | DType::Q4_0
            | DType::Q4_1
            | DType::Q5_0
            | DType::Q5_1
            | DType::Q8_0
            | DType::Q8_1
            | DType::Q2K
            | DType::Q3K
            | DType::Q4K
            | DType::Q5K
            | DType::Q6K
            | DType::Q8K => return None,
        }
        Some(bytes)
    }

    fn tensor(&mut self, dtype: DType, shape: Shape) -> Option<Tensor> {
        let size = dtype.size()?;
        let mut memory = BufferMut::zeroed(dtype.bytes_for(shape.elements())?);
        for element in memory.as_mut_slice().chunks_exact_mut(size) {
            element.copy_from_slice(&self.element(dtype)?[..size]);
        }
        Tensor::new(dtype, shape, memory.freeze()).ok()
    }
}

/// The f16 bits of a multiple of 1/64 between -1 and 1.
fn half(x: f32) -> u16 {
    let bits = x.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    match bits >> 23 & 0xff {
        0 => sign,
        exponent => sign | ((exponent - 112) as u16) << 10 | (bits >> 13 & 0x3ff) as u16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, dtype: DType, dims: &[Dim]) -> Port {
        Port { name: name.into(), dtype: Some(dtype), dims: Some(dims.to_vec()) }
    }

    fn shapes(texts: &[&str]) -> anyhow::Result<Shapes> {
        Shapes::parse(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    fn shape_of(sample: &Sample, index: usize) -> Vec<usize> {
        sample.tensors[index].1.shape().to_vec()
    }

    #[test]
    fn shapes_are_read_and_errors_say_what_was_expected() {
        let read = shapes(&["x=1x3x640", "y=", "a=b=2"]).unwrap();
        assert_eq!(read.0["x"], [1, 3, 640]);
        assert_eq!(read.0["y"], [0usize; 0]);
        assert_eq!(read.0["a=b"], [2]);
        for wrong in ["x", "x=1x", "x=1,3", "x=-1", "x=1x1x1x1x1x1x1x1x1"] {
            let error = shapes(&[wrong]).unwrap_err().to_string();
            assert!(error.contains("NAME=EXTENTS") && error.contains(wrong), "{error}");
        }
        assert!(shapes(&["x=1", "x=2"]).is_err());
        let error = read.check_names([Arc::from("x"), Arc::from("y")].iter()).unwrap_err();
        assert!(error.to_string().contains("there are x, y"), "{error}");
    }

    #[test]
    fn open_extents_are_one_and_equal_names_are_equal_extents() {
        let n = Dim::Dynamic("n".into());
        let ports = [
            port("x", DType::F32, &[Dim::Batch, n.clone(), Dim::Fixed(3)]),
            port("y", DType::I64, &[Dim::Batch, n]),
        ];
        let plain = sample(&ports, &Shapes::default(), 1).unwrap();
        assert_eq!((shape_of(&plain, 0), shape_of(&plain, 1)), (vec![1, 1, 3], vec![1, 1]));
        assert_eq!(plain.chosen, ["batch = 1", "n = 1"]);
        let given = sample(&ports, &shapes(&["y=2x5"]).unwrap(), 1).unwrap();
        assert_eq!(shape_of(&given, 0), [2, 5, 3]);
        assert!(given.chosen.is_empty());
        for wrong in ["x=2x5x4", "x=2x5", "y=1x1x1"] {
            let error = sample(&ports, &shapes(&[wrong]).unwrap(), 1).unwrap_err().to_string();
            assert!(error.contains("takes") && error.contains("got"), "{error}");
        }
        assert!(sample(&ports, &shapes(&["x=2x5x3", "y=2x6"]).unwrap(), 1).is_err());
    }

    #[test]
    fn offsets_cut_the_rows_into_even_sequences() {
        let ports = [
            port("ids", DType::I32, &[Dim::Ragged("offsets".into())]),
            port("offsets", DType::U32, &[Dim::Dynamic("".into())]),
        ];
        let one = sample(&ports, &Shapes::default(), 1).unwrap();
        assert_eq!(one.tensors[1].1.as_slice::<u32>().unwrap(), [0, RAGGED_ROWS as u32]);
        let four = sample(&ports, &shapes(&["ids=10", "offsets=5"]).unwrap(), 1).unwrap();
        assert_eq!(four.tensors[1].1.as_slice::<u32>().unwrap(), [0, 2, 5, 7, 10]);
        assert!(sample(&ports, &shapes(&["offsets=0"]).unwrap(), 1).is_err());
        assert!(sample(&ports, &shapes(&["ids=3", "offsets=1"]).unwrap(), 1).is_err());
    }

    #[test]
    fn content_is_within_its_range_and_the_same_for_the_same_seed() {
        let dims = [Dim::Fixed(1000)];
        let ports = [
            port("a", DType::F32, &dims),
            port("b", DType::I64, &dims),
            port("c", DType::F16, &dims),
        ];
        let first = sample(&ports, &Shapes::default(), 7).unwrap();
        let floats = first.tensors[0].1.as_slice::<f32>().unwrap();
        assert!(floats.iter().all(|x| (-1.0..1.0).contains(x)));
        assert!(floats.iter().any(|x| *x < -0.5) && floats.iter().any(|x| *x > 0.5));
        let ints = first.tensors[1].1.as_slice::<i64>().unwrap();
        assert!(ints.contains(&0) && ints.contains(&1) && ints.iter().all(|i| [0, 1].contains(i)));
        let again = sample(&ports, &Shapes::default(), 7).unwrap();
        assert_eq!(first.tensors[2].1.bytes(), again.tensors[2].1.bytes());
        let other = sample(&ports, &Shapes::default(), 8).unwrap();
        assert_ne!(first.tensors[0].1.bytes(), other.tensors[0].1.bytes());
    }

    #[test]
    fn halves_are_exact() {
        for (x, bits) in
            [(0.0, 0), (1.0 / 64.0, 0x2400), (-1.0, 0xbc00), (0.5, 0x3800), (0.984_375, 0x3be0)]
        {
            assert_eq!(half(x), bits, "{x}");
        }
    }

    #[test]
    fn texts_and_too_much_are_refused() {
        let error = sample(&[port("text", DType::Bytes, &[])], &Shapes::default(), 1).unwrap_err();
        assert!(error.to_string().contains("--input text="), "{error}");
        let large = [port("x", DType::U8, &[Dim::Fixed(BYTES_MAX as u64 + 1)])];
        assert!(sample(&large, &Shapes::default(), 1).unwrap_err().to_string().contains("at most"));
        let vast = [port("x", DType::U8, &[Dim::Fixed(u64::MAX)])];
        assert!(sample(&vast, &Shapes::default(), 1).is_err());
    }
}
