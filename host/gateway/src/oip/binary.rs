//! Binary tensor data: little-endian elements; a `BYTES` element is a 4-byte length and its bytes.

use aimass_tensor::{Buffer, DType, Shape, Strings, Tensor, TensorError};
use bytes::BufMut;
use std::sync::Arc;

/// Why binary data is not what datatype and shape say.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BinaryFault {
    #[error(transparent)]
    Tensor(#[from] TensorError),
    #[error("BYTES element {index}: its length reaches beyond the {size} bytes of binary data")]
    StringEnd { index: usize, size: usize },
    #[error("expected {expected} BYTES elements for shape {shape}, got {got}")]
    StringCount { shape: Shape, expected: usize, got: &'static str },
    #[error("BOOL element {index}: expected the byte 0 or 1, got {got}")]
    Bool { index: usize, got: u8 },
}

/// A tensor over binary data, sharing the memory where its alignment allows it.
pub(crate) fn tensor(dtype: DType, shape: Shape, bytes: Buffer) -> Result<Tensor, BinaryFault> {
    if dtype == DType::Bytes {
        return strings(shape, bytes.as_slice());
    }
    let not_bool = |byte: &u8| dtype == DType::Bool && *byte > 1;
    if let Some(index) = bytes.as_slice().iter().position(not_bool) {
        return Err(BinaryFault::Bool { index, got: bytes.as_slice()[index] });
    }
    Ok(Tensor::new(dtype, shape, bytes)?)
}

fn strings(shape: Shape, bytes: &[u8]) -> Result<Tensor, BinaryFault> {
    let (size, expected) = (bytes.len(), shape.elements());
    let count = |got| BinaryFault::StringCount { shape, expected, got };
    if expected > size / 4 {
        return Err(count("fewer"));
    }
    let mut offsets = Vec::with_capacity(expected + 1);
    let mut data = Vec::with_capacity(size - 4 * expected);
    offsets.push(0);
    let mut rest = bytes;
    for index in 0..expected {
        let Some((head, tail)) = rest.split_first_chunk::<4>() else {
            return Err(count("fewer"));
        };
        let len = u32::from_le_bytes(*head) as usize;
        let Some((item, tail)) = tail.split_at_checked(len) else {
            return Err(BinaryFault::StringEnd { index, size });
        };
        data.extend_from_slice(item);
        // Fits: a body is at most 1 GiB.
        offsets.push(data.len() as u32);
        rest = tail;
    }
    if !rest.is_empty() {
        return Err(count("more"));
    }
    let strings = Strings::new(offsets, Buffer::shared(Arc::new(data)))
        .expect("offsets were made in order from the lengths");
    Ok(Tensor::from_strings(shape, strings)?)
}

/// Bytes that [`append`] will write.
pub(crate) fn size(tensor: &Tensor) -> usize {
    match tensor.strings() {
        Some(strings) => strings.data().len() + 4 * strings.len(),
        None => tensor.bytes().len(),
    }
}

/// Appends a tensor's binary data.
pub(crate) fn append(tensor: &Tensor, out: &mut impl BufMut) {
    let Some(strings) = tensor.strings() else {
        out.put_slice(tensor.bytes());
        return;
    };
    for item in strings.iter() {
        out.put_u32_le(item.len() as u32);
        out.put_slice(item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dtype: DType, dims: &[usize], bytes: &[u8]) -> Result<Tensor, BinaryFault> {
        tensor(dtype, Shape::new(dims).unwrap(), Buffer::shared(Arc::new(bytes.to_vec())))
    }

    #[test]
    fn strings_round_trip_and_liars_are_refused() {
        let wire = b"\x01\0\0\0a\0\0\0\0\x02\0\0\0\xff\xfe";
        let tensor = read(DType::Bytes, &[3], wire).unwrap();
        let mut back = Vec::new();
        append(&tensor, &mut back);
        assert_eq!((back.as_slice(), size(&tensor)), (wire.as_slice(), wire.len()));
        for (dims, bytes) in [
            (&[2][..], &wire[..]),
            (&[4], wire),
            (&[1], b"\x05\0\0\0abcd"),
            (&[1], b"\xff\xff\xff\xff"),
            (&[1 << 40], b"\0\0\0\0"),
            (&[1], b"\0\0\0"),
        ] {
            assert!(read(DType::Bytes, dims, bytes).is_err(), "{dims:?}");
        }
        assert_eq!(read(DType::Bytes, &[0], b"").unwrap().strings().unwrap().len(), 0);
    }

    #[test]
    fn aligned_data_is_not_copied_and_booleans_are_checked() {
        let block = Arc::new(vec![0u8; 64]);
        let buffer = Buffer::shared(block.clone());
        let skip = (block.as_ptr() as usize).wrapping_neg() % 4;
        let part = buffer.slice(skip..skip + 8);
        let shape = Shape::new(&[2]).unwrap();
        let shared = tensor(DType::F32, shape, part.clone()).unwrap();
        assert_eq!(shared.bytes().as_ptr(), part.as_slice().as_ptr());
        let odd = tensor(DType::F32, shape, buffer.slice(skip + 1..skip + 9)).unwrap();
        assert_eq!(odd.as_slice::<f32>().unwrap(), [0.0; 2]);
        assert!(read(DType::Bool, &[2], &[0, 1]).is_ok());
        assert_eq!(
            read(DType::Bool, &[2], &[0, 2]).unwrap_err(),
            BinaryFault::Bool { index: 1, got: 2 }
        );
    }
}
