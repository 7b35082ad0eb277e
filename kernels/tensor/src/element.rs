//! Rust types that are the elements of a dtype.

use crate::DType;

/// A plain Rust number whose memory is exactly one element of [`Element::DTYPE`].
///
/// # Safety
/// Implementors have no padding, accept every bit pattern, and have the size of `DTYPE`.
#[expect(unsafe_code, reason = "views of bytes as numbers rest on this promise")]
pub unsafe trait Element: Copy + Default + Send + Sync + 'static {
    /// The dtype that this type stores.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),* $(,)?) => {$(
        // SAFETY: a primitive number has no padding and accepts every bit pattern.
        #[expect(unsafe_code, reason = "a primitive number is such a type")]
        unsafe impl Element for $rust { const DTYPE: DType = DType::$dtype; }
    )*};
}

elements! {
    i8 => I8, u8 => U8, i16 => I16, u16 => U16, i32 => I32, u32 => U32, i64 => I64, u64 => U64,
    f32 => F32, f64 => F64,
}
