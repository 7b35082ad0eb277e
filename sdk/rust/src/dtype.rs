//! Element types.

use core::fmt;

use bytemuck::Pod;

pub use crate::bindings::aimass::plugin::types::Dtype as DType;

/// A Rust type that tensors hold as it is: plain numbers.
///
/// `bool`, `f16`, `bf16` and the packed types have no plain Rust counterpart; read them with
/// [`Tensor::to_bytes`](crate::Tensor::to_bytes).
pub trait Element: Pod {
    /// The dtype that holds it.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),*) => { $(
        impl Element for $rust {
            const DTYPE: DType = DType::$dtype;
        }
    )* };
}

elements! {
    i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, u32 => U32, i64 => I64, u64 => U64,
    f32 => F32, f64 => F64
}

impl DType {
    /// Bytes of one element; none for `bytes`, 4-bit and block types, which have no such size.
    #[must_use]
    pub fn element_bytes(self) -> Option<u64> {
        match self {
            DType::Bool | DType::I8 | DType::U8 => Some(1),
            DType::F8E4m3 | DType::F8E5m2 | DType::F8E4m3Fnuz | DType::F8E5m2Fnuz => Some(1),
            DType::I16 | DType::U16 | DType::Bf16 | DType::F16 => Some(2),
            DType::I32 | DType::U32 | DType::F32 => Some(4),
            DType::I64 | DType::U64 | DType::F64 => Some(8),
            DType::I4 | DType::U4 | DType::Bytes => None,
            DType::Q40 | DType::Q41 | DType::Q50 | DType::Q51 | DType::Q80 | DType::Q81 => None,
            DType::Q2K | DType::Q3K | DType::Q4K | DType::Q5K | DType::Q6K | DType::Q8K => None,
        }
    }

    /// The dtype of a name in the contract.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Every dtype, in the order of the contract.
    pub const ALL: [DType; 32] = [
        DType::Bool,
        DType::I4,
        DType::U4,
        DType::I8,
        DType::U8,
        DType::I16,
        DType::U16,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::U64,
        DType::F8E4m3,
        DType::F8E5m2,
        DType::F8E4m3Fnuz,
        DType::F8E5m2Fnuz,
        DType::Bf16,
        DType::F16,
        DType::F32,
        DType::F64,
        DType::Bytes,
        DType::Q40,
        DType::Q41,
        DType::Q50,
        DType::Q51,
        DType::Q80,
        DType::Q81,
        DType::Q2K,
        DType::Q3K,
        DType::Q4K,
        DType::Q5K,
        DType::Q6K,
        DType::Q8K,
    ];

    /// Its name in the contract: `f32`, `bytes`, `q4-0`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DType::Bool => "bool",
            DType::I4 => "i4",
            DType::U4 => "u4",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I16 => "i16",
            DType::U16 => "u16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I64 => "i64",
            DType::U64 => "u64",
            DType::F8E4m3 => "f8-e4m3",
            DType::F8E5m2 => "f8-e5m2",
            DType::F8E4m3Fnuz => "f8-e4m3-fnuz",
            DType::F8E5m2Fnuz => "f8-e5m2-fnuz",
            DType::Bf16 => "bf16",
            DType::F16 => "f16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::Bytes => "bytes",
            DType::Q40 => "q4-0",
            DType::Q41 => "q4-1",
            DType::Q50 => "q5-0",
            DType::Q51 => "q5-1",
            DType::Q80 => "q8-0",
            DType::Q81 => "q8-1",
            DType::Q2K => "q2-k",
            DType::Q3K => "q3-k",
            DType::Q4K => "q4-k",
            DType::Q5K => "q5-k",
            DType::Q6K => "q6-k",
            DType::Q8K => "q8-k",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elements_dtype_has_its_size() {
        fn check<T: Element>() {
            assert_eq!(T::DTYPE.element_bytes(), Some(size_of::<T>() as u64));
        }
        check::<i8>();
        check::<u16>();
        check::<i32>();
        check::<f32>();
        check::<u64>();
        check::<f64>();
    }

    #[test]
    fn a_dtype_prints_as_in_the_contract() {
        for dtype in DType::ALL {
            assert_eq!(DType::of_name(dtype.name()), Some(dtype));
        }
        assert_eq!(DType::of_name("f33"), None);
        assert_eq!(DType::F8E4m3Fnuz.to_string(), "f8-e4m3-fnuz");
        assert_eq!(DType::Q40.to_string(), "q4-0");
    }
}
