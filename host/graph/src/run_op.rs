//! One op on tensors, as a cached plan of one node.
//!
//! The plan is found by op, attributes, dtypes and ranks; extents are dynamic, so that one plan
//! serves every shape. It runs on the calling thread: the work of a plugin's own op is small.

mod arguments;

use crate::dim::Dim;
use crate::{CompileOptions, Gpu, GraphBuilder, GraphError, GraphLimits, Plan, RunError, compile};
use aimass_tensor::{DType, Tensor};
use arguments::build;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

/// Plans that are kept; another one takes the place of any.
const CACHED_PLANS_MAX: usize = 512;
/// Attributes of one op.
const ATTRIBUTES_MAX: usize = 16;
/// Tensors of one op.
const INPUTS_MAX: usize = 64;
/// Longest list or text that an attribute may be to be cached with its plan.
const CACHED_LIST_MAX: usize = 64;

/// An argument of an op that is no tensor.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    /// A yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A name, for instance of a dtype: `f32` or `FP32`.
    Text(String),
    /// A list of whole numbers.
    Ints(Vec<i64>),
}

/// Runs one op of `wit/graph.wit` on the calling thread.
///
/// `name` is the builder method there (`ragged-mean`), `inputs` its value arguments in order, and
/// `attributes` its other arguments by name. Extents in `dims` are whole numbers, -1 the one that is
/// inferred. Where several value arguments are optional, a bool attribute of its name says that one
/// is left out (`x-zero` false: the third input of `matmul-integer` is `y-zero`).
///
/// # Errors
/// [`RunError`]: an unknown or unsupported op, attributes that do not fit, and those of the op.
///
/// ```
/// use aimass_graph::{Attribute, run_op};
/// use aimass_tensor::Tensor;
///
/// let x = Tensor::from_slice(&[2, 2], &[0f32, 0., 1., 1.])?;
/// let y = run_op("softmax", &[x], &[("axis".to_owned(), Attribute::Int(1))])?;
/// assert_eq!(y[0].as_slice::<f32>()?, [0.5; 4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn run_op(
    name: &str,
    inputs: &[Tensor],
    attributes: &[(String, Attribute)],
) -> Result<Vec<Tensor>, RunError> {
    let hash = hash(name, inputs, attributes);
    let found = {
        let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = cache.as_ref().and_then(|cache| cache.get(&hash));
        entry.filter(|entry| entry.serves(name, inputs, attributes)).map(|e| e.plan.clone())
    };
    let plan = match found {
        Some(plan) => plan,
        None => compiled(hash, name, inputs, attributes)?,
    };
    plan.run_alone(inputs)
}

/// As [`run_op`], on a device, with a plan of its own for each call: for tests and the device's own. The
/// second value says whether the op has a kernel there.
///
/// # Errors
/// As [`run_op`].
pub fn run_op_on(
    gpu: &Arc<Gpu>,
    name: &str,
    inputs: &[Tensor],
    attributes: &[(String, Attribute)],
) -> Result<(Vec<Tensor>, bool), RunError> {
    let options = CompileOptions { device: Some(gpu.clone()), ..CompileOptions::default() };
    let plan = one_node(name, inputs, attributes, &options)?;
    Ok((plan.run(inputs, None)?, plan.is_on_device()))
}

static CACHE: Mutex<Option<HashMap<u64, Entry>>> = Mutex::new(None);

struct Entry {
    name: String,
    attributes: Vec<(String, Attribute)>,
    inputs: Vec<(DType, usize)>,
    /// Extents, where the op wants them known.
    extents: Option<Vec<Vec<usize>>>,
    plan: Arc<Plan>,
}

impl Entry {
    fn serves(&self, name: &str, inputs: &[Tensor], attributes: &[(String, Attribute)]) -> bool {
        let same = |((dtype, rank), tensor): (&(DType, usize), &Tensor)| {
            *dtype == tensor.dtype() && *rank == tensor.shape().rank()
        };
        self.name == name
            && self.inputs.len() == inputs.len()
            && self.inputs.iter().zip(inputs).all(same)
            && self.attributes == attributes
            && self.extents.as_ref().is_none_or(|extents| {
                extents.iter().zip(inputs).all(|(known, tensor)| known[..] == tensor.shape()[..])
            })
    }
}

/// Whether the shape rule of an op needs to know extents.
fn wants_extents(name: &str) -> bool {
    matches!(
        name,
        "attention"
            | "ragged-attention"
            | "pad"
            | "conv"
            | "conv-transpose"
            | "group-norm"
            | "gather-elements"
            | "gather-nd"
            | "scatter-elements"
            | "scatter-nd"
            | "matmul-integer"
            | "quantize"
            | "dequantize"
            | "quantized-linear"
            | "rope"
            | "fft"
    )
}

fn hash(name: &str, inputs: &[Tensor], attributes: &[(String, Attribute)]) -> u64 {
    let mut hash = DefaultHasher::new();
    name.hash(&mut hash);
    let extents = wants_extents(name);
    for tensor in inputs {
        (tensor.dtype(), tensor.shape().rank()).hash(&mut hash);
        if extents {
            tensor.shape().hash(&mut hash);
        }
    }
    for (name, attribute) in attributes {
        name.hash(&mut hash);
        match attribute {
            Attribute::Bool(value) => value.hash(&mut hash),
            Attribute::Int(value) => value.hash(&mut hash),
            Attribute::Float(value) => value.to_bits().hash(&mut hash),
            Attribute::Text(value) => value.hash(&mut hash),
            Attribute::Ints(values) => values.hash(&mut hash),
        }
    }
    hash.finish()
}

fn compiled(
    hash: u64,
    name: &str,
    inputs: &[Tensor],
    attributes: &[(String, Attribute)],
) -> Result<Arc<Plan>, RunError> {
    let plan = Arc::new(one_node(name, inputs, attributes, &CompileOptions::default())?);
    let short = attributes.iter().all(|(name, attribute)| {
        let len = match attribute {
            Attribute::Bool(_) | Attribute::Int(_) | Attribute::Float(_) => 0,
            Attribute::Text(text) => text.len(),
            Attribute::Ints(values) => values.len(),
        };
        name.len().max(len) <= CACHED_LIST_MAX
    });
    if short {
        let extents = || inputs.iter().map(|tensor| tensor.shape().to_vec()).collect();
        let entry = Entry {
            name: name.to_owned(),
            attributes: attributes.to_vec(),
            inputs: inputs.iter().map(|t| (t.dtype(), t.shape().rank())).collect(),
            extents: wants_extents(name).then(extents),
            plan: plan.clone(),
        };
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = cache.get_or_insert_default();
        if cache.len() >= CACHED_PLANS_MAX
            && let Some(&any) = cache.keys().next()
        {
            cache.remove(&any);
        }
        cache.insert(hash, entry);
    }
    Ok(plan)
}

pub(crate) fn one_node(
    name: &str,
    inputs: &[Tensor],
    attributes: &[(String, Attribute)],
    options: &CompileOptions,
) -> Result<Plan, RunError> {
    for (what, max, got) in
        [("attributes", ATTRIBUTES_MAX, attributes.len()), ("inputs", INPUTS_MAX, inputs.len())]
    {
        if got > max {
            return Err(GraphError::Limit { what, max: max as u64, got: got as u64 }.into());
        }
    }
    let mut builder = GraphBuilder::new(GraphLimits::default());
    let mut values = Vec::with_capacity(inputs.len());
    let offsets = offsets_input(name);
    if let Some(index) = offsets
        && index >= inputs.len()
    {
        let (expected, got) = (index + 1, inputs.len());
        return Err(RunError::InputCount { expected, got });
    }
    // The ragged dimension must be declared before it is used, whatever the order of arguments.
    let declared = match offsets {
        Some(_) => Some(builder.offsets("offsets")?),
        None => None,
    };
    let mut order = Vec::from_iter(offsets);
    for (index, tensor) in inputs.iter().enumerate() {
        if let (Some(declared), true) = (declared, offsets == Some(index)) {
            values.push(declared);
            continue;
        }
        // The table of an embedding bag is no sequence.
        let ragged = offsets.is_some() && (name != "embedding-bag" || index == 1);
        let known = wants_extents(name);
        let dims: Vec<Dim> = tensor
            .shape()
            .iter()
            .enumerate()
            .map(|(axis, &extent)| match axis {
                0 if ragged => Dim::Ragged("offsets".into()),
                _ if known => Dim::Fixed(extent as u64),
                _ => Dim::Dynamic("".into()),
            })
            .collect();
        values.push(builder.input(&format!("input {index}"), tensor.dtype(), &dims)?);
        order.push(index);
    }
    let outputs = build(&mut builder, name, &values, attributes)?;
    for (index, output) in outputs.into_iter().enumerate() {
        builder.output(&format!("output {index}"), output)?;
    }
    let plan =
        compile(builder.finish()?, options).map_err(|error| RunError::Plan(Box::new(error)))?;
    Ok(plan.with_input_order(&order))
}

/// Which argument of an op is the offsets.
fn offsets_input(name: &str) -> Option<usize> {
    match name {
        "positions" => Some(0),
        "ragged-attention" => Some(3),
        "embedding-bag" => Some(2),
        "ragged-mean" | "ragged-sum" | "ragged-max" | "ragged-first" | "ragged-last" => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(name: &str, value: i64) -> (String, Attribute) {
        (name.to_owned(), Attribute::Int(value))
    }

    #[test]
    fn one_plan_serves_every_shape() {
        for n in [1usize, 5, 3] {
            let x = Tensor::from_slice(&[n, 2], &vec![1f32; 2 * n]).unwrap();
            let y = run_op("softmax", &[x], &[int("axis", 1)]).unwrap();
            assert_eq!(y[0].as_slice::<f32>().unwrap(), vec![0.5; 2 * n]);
        }
    }

    #[test]
    fn ragged_ops_take_their_offsets_where_the_contract_has_them() {
        let x = Tensor::from_slice(&[3, 2], &[1f32, 2., 3., 4., 5., 6.]).unwrap();
        let offsets = Tensor::from_slice(&[3], &[0u32, 2, 3]).unwrap();
        let y = run_op("ragged-mean", &[x.clone(), offsets.clone()], &[]).unwrap();
        assert_eq!(y[0].as_slice::<f32>().unwrap(), [2., 3., 5., 6.]);
        let y = run_op("positions", &[offsets], &[]).unwrap();
        assert_eq!(y[0].as_slice::<u32>().unwrap(), [0, 1, 0]);
        let falling = Tensor::from_slice(&[3], &[0u32, 4, 3]).unwrap();
        let error = run_op("ragged-mean", &[x, falling], &[]).unwrap_err();
        assert_eq!(error.code(), "offsets");
    }

    #[test]
    fn what_does_not_fit_is_refused_by_code() {
        let x = Tensor::from_slice(&[2, 2], &[0f32; 4]).unwrap();
        let check = |name: &str, attributes: &[(String, Attribute)], code: &str| {
            let error = run_op(name, std::slice::from_ref(&x), attributes).unwrap_err();
            assert_eq!(error.code(), code, "{error}");
        };
        check("softmax", &[int("axis", 2)], "axis");
        check("softmax", &[], "argument");
        check("softmax", &[int("axis", 1), int("axes", 1)], "argument");
        check("top-k", &[int("k", 3)], "shape-mismatch");
        check("state-append", &[], "op");
        check("no-such-op", &[], "op");
        check("add", &[], "input-count");
    }

    #[test]
    fn the_cache_is_bounded() {
        for k in 0..2 * CACHED_PLANS_MAX as i64 {
            let x = Tensor::from_slice(&[1], &[0f32]).unwrap();
            run_op("slice", &[x], &[int("axis", 0), int("start", k), int("end", k + 1)]).unwrap();
        }
        let cache = CACHE.lock().unwrap();
        assert!(cache.as_ref().is_some_and(|cache| cache.len() <= CACHED_PLANS_MAX));
    }
}
