//! Content of tensors: numbers that a seed decides, special ones among them.

use crate::Random;
use aimass_tensor::{DType, Shape, Tensor};

/// Floats that kernels stumble over, each as likely as any.
const SPECIAL: [f32; 12] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    1e-40,
    f32::MAX,
    f32::MIN,
    88.8,
    -104.0,
];

/// A tensor of this dtype and shape; `None` where there is none, as of strings.
pub(crate) fn tensor(dtype: DType, shape: Shape, seed: u64) -> Option<Tensor> {
    let bytes = dtype.bytes_for(shape.elements())?;
    let mut random = Random::new(seed ^ (bytes as u64) << 8);
    // One tensor in eight holds special floats or large integers, one in eight anything.
    let wild = random.below(8);
    let content = match (dtype, dtype.size()) {
        (DType::F32, _) => {
            floats(bytes / 4, &mut random, wild).flat_map(f32::to_le_bytes).collect()
        }
        (DType::F64, _) => {
            let numbers = floats(bytes / 8, &mut random, wild);
            numbers.flat_map(|x| f64::from(x).to_le_bytes()).collect()
        }
        (DType::Bool, _) if wild > 0 => (0..bytes).map(|_| random.below(2) as u8).collect(),
        (_, Some(size)) if !dtype.is_float() && wild > 0 => {
            let bound = if wild == 1 { 1_000 } else { 4 };
            let signed = matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64);
            let mut bytes = Vec::with_capacity(bytes);
            for _ in 0..shape.elements() {
                let mut number = random.below(bound) as i64;
                if signed && random.below(8) == 0 {
                    number = -number;
                }
                bytes.extend_from_slice(&number.to_le_bytes()[..size]);
            }
            bytes
        }
        _ => (0..bytes).map(|_| random.bits() as u8).collect::<Vec<u8>>(),
    };
    Tensor::copy_from(dtype, shape, &content).ok()
}

fn floats(count: usize, random: &mut Random, wild: usize) -> impl Iterator<Item = f32> {
    (0..count).map(move |_| match wild {
        0 => SPECIAL[random.below(SPECIAL.len())],
        1 => f32::from_bits(random.bits() as u32),
        _ => random.below(4_001) as f32 / 1_000.0 - 2.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_a_function_of_its_seed() {
        let shape = Shape::new(&[3, 32]).unwrap();
        for dtype in DType::ALL {
            for seed in 0..16 {
                let (a, b) = (tensor(dtype, shape, seed), tensor(dtype, shape, seed));
                let bytes = |tensor: &Tensor| tensor.bytes().to_vec();
                assert_eq!(a.as_ref().map(bytes), b.as_ref().map(bytes), "{dtype}");
                let blocks_of_256 = dtype.block().0 == 256;
                assert_eq!(a.is_none(), dtype == DType::Bytes || blocks_of_256, "{dtype}");
            }
        }
    }
}
