//! Conversion between element types.
//!
//! Floats go to integers by truncation, saturated, NaN as 0; integers to narrower ones by wrapping;
//! anything to bool as "is not 0". Anything goes to a float to nearest, halves to even, rounded once;
//! what is too large becomes infinity (ONNX `Cast-19` with `saturate = 0`).

use crate::entries;
use crate::error::DeviceError;
use crate::launch::Form;
use crate::layout::{common_width, pack_size};
use crate::memory::Slice;
use crate::parameters::ELEMENTWISE_THREADS;
use crate::queue::Queue;
use aimass_tensor::DType;

/// Elements that a thread converts at once.
const GROUP: u32 = 4;

/// A type's number in `enum Type` of `cast.cu`.
pub(crate) fn code(dtype: DType) -> Option<u32> {
    const TYPES: [DType; 13] = [
        DType::Bool,
        DType::I8,
        DType::U8,
        DType::I16,
        DType::U16,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::U64,
        DType::F16,
        DType::Bf16,
        DType::F32,
        DType::F64,
    ];
    TYPES.iter().position(|own| *own == dtype).map(|position| position as u32)
}

/// Whether [`cast`] converts between these types: bool, integers of 8 to 64 bits and floats of 16 to
/// 64 bits, in any combination.
pub fn castable(from: DType, to: DType) -> bool {
    code(from).is_some() && code(to).is_some()
}

/// Converts `n` elements of `x` to elements of `y`; types of one size may share their place.
///
/// # Errors
/// [`DeviceError::Defect`] for other types (see [`castable`]) or an operand that is too short; a
/// refused launch.
pub fn cast(
    queue: &mut Queue<'_>,
    (x, from): (Slice<'_>, DType),
    (y, to): (Slice<'_>, DType),
    n: u32,
) -> Result<(), DeviceError> {
    const NO_KERNEL: DeviceError = DeviceError::Defect("no conversion between these dtypes");
    let size = |dtype: DType| dtype.size().ok_or(NO_KERNEL);
    let (wide, narrow) = (size(from)?, size(to)?);
    let aligned = |slice: Slice<'_>, size: usize| {
        let pack = pack_size(size);
        common_width(pack, &[(slice, size)]) == pack
    };
    let kernel = entries::Cast {
        x: x.elements(n.into(), wide)?,
        y: y.elements(n.into(), narrow)?,
        n,
        from: code(from).ok_or(NO_KERNEL)?,
        to: code(to).ok_or(NO_KERNEL)?,
        packed: u32::from(aligned(x, wide) && aligned(y, narrow)),
    };
    match n {
        0 => Ok(()),
        n => {
            let grid = queue.over(n.div_ceil(GROUP).into(), ELEMENTWISE_THREADS);
            queue.launch(&kernel, Form::Plain, grid)
        }
    }
}
