//! Between the contract's types and ours. Nothing a guest sends is trusted here: names, counts and
//! extents are checked on the way in.

use super::bindings::types as wit;
use crate::error::{ErrorFamily, GuestError};
use crate::signature::{NAME_BYTES_MAX, PluginSignature, PluginTensorSpec, TENSORS_MAX};
use aimass_graph::{Dim, Signature};
use aimass_tensor::{DType, RANK_MAX};

/// Bytes of an error's code and message at most.
const CODE_BYTES_MAX: usize = 64;
const MESSAGE_BYTES_MAX: usize = 4096;

macro_rules! dtypes {
    ($($wit:ident = $ours:ident,)+) => {
        /// Our name of a dtype.
        pub(crate) fn dtype_in(dtype: wit::Dtype) -> DType {
            match dtype {
                $(wit::Dtype::$wit => DType::$ours,)+
            }
        }

        /// The contract's name of a dtype.
        pub(crate) fn dtype_out(dtype: DType) -> wit::Dtype {
            match dtype {
                $(DType::$ours => wit::Dtype::$wit,)+
            }
        }
    };
}

dtypes! {
    Bool = Bool, I4 = I4, U4 = U4, I8 = I8, U8 = U8, I16 = I16, U16 = U16, I32 = I32, U32 = U32,
    I64 = I64, U64 = U64, F8E4m3 = F8E4m3, F8E5m2 = F8E5m2, F8E4m3Fnuz = F8E4m3Fnuz,
    F8E5m2Fnuz = F8E5m2Fnuz, Bf16 = Bf16, F16 = F16, F32 = F32, F64 = F64, Bytes = Bytes,
    Q40 = Q4_0, Q41 = Q4_1, Q50 = Q5_0, Q51 = Q5_1, Q80 = Q8_0, Q81 = Q8_1, Q2K = Q2K, Q3K = Q3K,
    Q4K = Q4K, Q5K = Q5K, Q6K = Q6K, Q8K = Q8K,
}

macro_rules! families {
    ($($family:ident,)+) => {
        fn family_in(family: wit::ErrorFamily) -> ErrorFamily {
            match family {
                $(wit::ErrorFamily::$family => ErrorFamily::$family,)+
            }
        }

        fn family_out(family: ErrorFamily) -> wit::ErrorFamily {
            match family {
                $(ErrorFamily::$family => wit::ErrorFamily::$family,)+
            }
        }
    };
}

families! {
    Input, NotFound, Limit, Unsupported, Forbidden, Cancelled, Deadline, Unavailable, Internal,
}

/// An error that the host answers.
pub(crate) fn error_out(family: ErrorFamily, code: &str, message: impl Into<String>) -> wit::Error {
    let message = cut(message.into(), MESSAGE_BYTES_MAX);
    wit::Error { family: family_out(family), code: code.into(), message }
}

/// An error that a guest answered, cut to its bounds.
pub(crate) fn error_in(error: wit::Error) -> GuestError {
    GuestError {
        family: family_in(error.family),
        code: cut(error.code, CODE_BYTES_MAX),
        message: cut(error.message, MESSAGE_BYTES_MAX),
    }
}

/// The text, shortened to at most `bytes_max` bytes at a character boundary.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max));
    }
    text
}

/// A dimension that a guest names.
pub(crate) fn dim_in(dim: wit::Dim) -> Dim {
    match dim {
        wit::Dim::Fixed(extent) => Dim::Fixed(extent),
        wit::Dim::Batch => Dim::Batch,
        wit::Dim::Ragged(offsets) => Dim::Ragged(offsets.into()),
        wit::Dim::Dynamic(name) => Dim::Dynamic(name.into()),
    }
}

/// A dimension that the host tells.
pub(crate) fn dim_out(dim: &Dim) -> wit::Dim {
    match dim {
        Dim::Fixed(extent) => wit::Dim::Fixed(*extent),
        Dim::Batch => wit::Dim::Batch,
        Dim::Ragged(offsets) => wit::Dim::Ragged(offsets.to_string()),
        Dim::Dynamic(name) => wit::Dim::Dynamic(name.to_string()),
    }
}

/// The signature of a plan or graph.
pub(crate) fn signature_out(signature: &Signature) -> wit::Signature {
    let specs = |specs: &[aimass_graph::TensorSpec]| {
        specs
            .iter()
            .map(|spec| wit::TensorSpec {
                name: spec.name.to_string(),
                dtype: Some(dtype_out(spec.dtype)),
                dims: Some(spec.dims.iter().map(dim_out).collect()),
                description: String::new(),
            })
            .collect()
    };
    wit::Signature { inputs: specs(&signature.inputs), outputs: specs(&signature.outputs) }
}

/// The signature of a model that is traced.
pub(crate) fn plugin_signature_out(signature: &PluginSignature) -> wit::Signature {
    let specs = |specs: &[PluginTensorSpec]| {
        let told = specs.iter().map(|spec| wit::TensorSpec {
            name: spec.name.to_string(),
            dtype: spec.dtype.map(dtype_out),
            dims: spec.dims.as_ref().map(|dims| dims.iter().map(dim_out).collect()),
            description: spec.description.clone(),
        });
        told.collect()
    };
    wit::Signature { inputs: specs(&signature.inputs), outputs: specs(&signature.outputs) }
}

/// A plugin's description of itself.
///
/// # Errors
/// What breaks the contract: too many tensors, or names that are long, empty or not unique.
pub(crate) fn signature_in(signature: wit::Signature) -> Result<PluginSignature, String> {
    let signature = PluginSignature {
        inputs: specs_in(signature.inputs),
        outputs: specs_in(signature.outputs),
    };
    signature.checked()
}

/// Specifications as they came; one tensor and one dimension too many are enough to be seen.
fn specs_in(specs: Vec<wit::TensorSpec>) -> Vec<PluginTensorSpec> {
    let dims = |dims: Vec<wit::Dim>| dims.into_iter().take(RANK_MAX + 1).map(dim_in).collect();
    let spec = |spec: wit::TensorSpec| PluginTensorSpec {
        name: spec.name.into(),
        dtype: spec.dtype.map(dtype_in),
        dims: spec.dims.map(dims),
        description: spec.description,
    };
    specs.into_iter().take(TENSORS_MAX + 1).map(spec).collect()
}

/// Checks the name of a tensor.
///
/// # Errors
/// If it is empty or longer than 128 bytes.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    Err(format!("expected names of 1 to {NAME_BYTES_MAX} bytes, got one of {}", name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> wit::TensorSpec {
        wit::TensorSpec { name: name.into(), dtype: None, dims: None, description: "d".into() }
    }

    #[test]
    fn every_dtype_survives_the_way_out_and_back() {
        for (index, dtype) in DType::ALL.into_iter().enumerate() {
            assert_eq!(dtype_in(dtype_out(dtype)), dtype);
            assert_eq!(dtype_out(dtype) as usize, index, "order of the contract: {dtype}");
        }
    }

    #[test]
    fn descriptions_that_break_the_contract_are_refused() {
        let signature_in = |inputs: Vec<wit::TensorSpec>| {
            signature_in(wit::Signature { inputs, outputs: Vec::new() }).map(|s| s.inputs.len())
        };
        assert_eq!(signature_in(vec![spec("a"), spec("b")]), Ok(2));
        assert!(signature_in(vec![spec("a"), spec("a")]).unwrap_err().contains("twice"));
        assert!(signature_in(vec![spec("")]).is_err());
        assert!(signature_in(vec![spec(&"n".repeat(129))]).is_err());
        let many = (0..65).map(|i| spec(&i.to_string())).collect();
        assert!(signature_in(many).unwrap_err().contains("at most 64"));
        let deep = wit::TensorSpec { dims: Some(vec![wit::Dim::Batch; 9]), ..spec("x") };
        assert!(signature_in(vec![deep]).is_err());
    }

    #[test]
    fn a_guests_error_is_cut_to_its_bounds() {
        let long = error_out(ErrorFamily::Input, "code", "ä".repeat(4000));
        let error = error_in(wit::Error { code: "c".repeat(100), ..long });
        assert_eq!((error.code.len(), error.message.len()), (64, 4096));
        assert_eq!(error.family, ErrorFamily::Input);
    }
}
