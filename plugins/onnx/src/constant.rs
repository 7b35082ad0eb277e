//! Tensors that the model's file holds.

use crate::content::{ints_of, number_tensor};
use crate::emit::Emitter;
use crate::proto::{ElementType, Payload, SparseTensor, TensorProto};
use crate::value::{Extent, Form, R, T, TensorValue, invalid, shown, unsupported};
use aimass_sdk::DType;
use std::collections::HashMap;
use std::rc::Rc;

/// Constants that were asked for, by the message that holds them.
#[derive(Default)]
pub(crate) struct Constants(HashMap<*const TensorProto, (Rc<TensorProto>, T)>);

impl Constants {
    fn get(&self, proto: &Rc<TensorProto>) -> Option<T> {
        self.0.get(&Rc::as_ptr(proto)).map(|(_, tensor)| tensor.clone())
    }

    fn put(&mut self, proto: &Rc<TensorProto>, tensor: &T) {
        // The message is kept, so that its address stays its own.
        self.0.insert(Rc::as_ptr(proto), (proto.clone(), tensor.clone()));
    }
}

/// Elements of a sparse tensor when it is written out.
const DENSE_ELEMENTS_MAX: u64 = 4 << 20;

/// A constant of the model, the same tensor every time. Large ones stay in their file.
pub(crate) fn constant(emitter: &mut Emitter, proto: &Rc<TensorProto>) -> R<T> {
    if let Some(known) = emitter.constants.get(proto) {
        return Ok(known);
    }
    let tensor = decode(emitter, proto)?;
    emitter.constants.put(proto, &tensor);
    Ok(tensor)
}

fn decode(emitter: &mut Emitter, proto: &TensorProto) -> R<T> {
    let name = shown(&proto.name);
    let Some(dtype) = proto.element.dtype() else {
        let element = proto.element.name();
        return Err(unsupported(format!("constant `{name}` of type {element}")));
    };
    let elements = proto.dims.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
    let elements = elements.ok_or_else(|| invalid(format!("constant `{name}` is too large")))?;
    let len = match dtype.element_bytes() {
        Some(size) => elements.checked_mul(size),
        None => Some(elements.div_ceil(2)),
    };
    let len = len.ok_or_else(|| invalid(format!("constant `{name}` is too large")))?;
    let wrong = |got: u64| invalid(format!("constant `{name}`: expected {len} bytes, got {got}"));
    let dims: Vec<Extent> = proto.dims.iter().map(|&extent| Extent::Fixed(extent)).collect();
    let exactly = |bytes: Vec<u8>| match bytes.len() as u64 == len {
        true => Ok(TensorValue::of_bytes(dtype, &proto.dims, bytes)),
        false => Err(wrong(bytes.len() as u64)),
    };
    match &proto.payload {
        Payload::Strings(strings) if proto.element == ElementType::STRING => {
            if strings.len() as u64 != elements {
                return Err(wrong(strings.len() as u64));
            }
            Ok(TensorValue::of_strings(&proto.dims, strings.clone()))
        }
        Payload::Empty if dtype == DType::Bytes && elements == 0 => {
            Ok(TensorValue::of_strings(&proto.dims, Vec::new()))
        }
        _ if dtype == DType::Bytes => Err(wrong(0)),
        Payload::Empty => exactly(Vec::new()),
        Payload::Bytes(bytes) => exactly(bytes.clone()),
        Payload::File(span) if span.len() == len => {
            let file = emitter.model_file.clone();
            Ok(TensorValue::new(dtype, dims, Form::File { file, offset: span.start, len }))
        }
        Payload::File(span) => Err(wrong(span.len())),
        Payload::External { file, offset, len: stated } => {
            if stated.is_some_and(|stated| stated != len) {
                return Err(wrong(stated.unwrap_or(0)));
            }
            let file = package_file(file).ok_or_else(|| {
                let file = shown(file);
                invalid(format!("constant `{name}`: expected a path below the model, got `{file}`"))
            })?;
            let size = emitter.file(&file)?.size();
            if offset.checked_add(len).is_none_or(|end| end > size) {
                return Err(invalid(format!(
                    "constant `{name}`: expected bytes {offset}..+{len} in {file}, which has {size}"
                )));
            }
            Ok(TensorValue::new(dtype, dims, Form::File { file, offset: *offset, len }))
        }
        Payload::Integers(values) => exactly(integers(dtype, values)?),
        Payload::Floats(values) => {
            exactly(values.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        Payload::Doubles(values) => {
            exactly(values.iter().flat_map(|value| value.to_le_bytes()).collect())
        }
        Payload::Strings(_) => Err(wrong(0)),
    }
}

/// The file of a package that a path of external data names: packages are flat, so its last part. None
/// where it leaves the folder of the model, or is no path everywhere.
fn package_file(path: &str) -> Option<String> {
    let mut parts = path.split('/');
    let below = parts.clone().all(|part| !matches!(part, "" | ".."));
    let plain = !path.contains(['\\', ':', '\0']);
    parts.next_back().filter(|_| below && plain).map(str::to_owned)
}

/// `int32_data` and its like: one number an element, bits for the small floats, a byte for two
/// packed halves.
fn integers(dtype: DType, values: &[i64]) -> R<Vec<u8>> {
    let size = match dtype.element_bytes() {
        Some(size) => size as usize,
        None => 1,
    };
    Ok(values.iter().flat_map(|value| value.to_le_bytes().into_iter().take(size)).collect())
}

/// A sparse constant with its zeros.
pub(crate) fn dense(emitter: &mut Emitter, sparse: &SparseTensor) -> R<T> {
    let shape = &sparse.dims;
    let elements = shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
    let elements = elements.filter(|elements| *elements <= DENSE_ELEMENTS_MAX);
    let elements = elements.ok_or_else(|| invalid("a sparse constant is too large"))?;
    let values = decode(emitter, &sparse.values)?;
    let indices = decode(emitter, &sparse.indices)?;
    let content = emitter.content(&values)?;
    let places = emitter.content(&indices)?;
    let places = ints_of(indices.dtype, &places)?;
    let size = values.dtype.element_bytes().ok_or_else(|| invalid("a sparse type without size"))?;
    let size = size as usize;
    let rank = if indices.rank() == 2 { shape.len() } else { 1 };
    let mut bytes =
        number_tensor(values.dtype, &[0], &[]).map(|_| vec![0u8; elements as usize * size])?;
    for (place, value) in places.chunks_exact(rank.max(1)).zip(content.chunks_exact(size)) {
        let mut at = 0u64;
        for (axis, &index) in place.iter().enumerate() {
            let extent = if rank == 1 { elements } else { shape[axis] };
            let index = u64::try_from(index).ok().filter(|index| *index < extent);
            at = at * extent + index.ok_or_else(|| invalid("a sparse index is out of range"))?;
        }
        bytes[at as usize * size..][..size].copy_from_slice(value);
    }
    Ok(TensorValue::of_bytes(values.dtype, shape, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn external_data_stays_below_the_model() {
        for (path, file) in [
            ("weights.bin", Some("weights.bin")),
            ("dir/weights.bin", Some("weights.bin")),
            ("./weights.bin", Some("weights.bin")),
            ("..weights", Some("..weights")),
            ("", None),
            ("/weights.bin", None),
            ("../weights.bin", None),
            ("a/../../weights.bin", None),
            ("..", None),
            ("a//weights.bin", None),
            ("..\\weights.bin", None),
            ("C:weights.bin", None),
            ("weights.bin\0", None),
        ] {
            assert_eq!(package_file(path).as_deref(), file, "{path:?}");
        }
    }
}
