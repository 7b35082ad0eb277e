//! Integers without kernels of their own, by those of wider ones: converted before, and back behind.

use crate::device::call::DeviceCall;
use aimass_cuda::cast::cast;
use aimass_cuda::unary::{IntUnary, unary_int};
use aimass_cuda::{DeviceError, Slice};
use aimass_tensor::{DType, Shape};

/// Where a value begins in scratch memory is a multiple of this.
const ALIGNMENT: usize = 16;

/// The dtype of an operand, and the one in which it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Widened {
    own: DType,
    pub(super) computed: DType,
}

/// What a kernel of the wider dtype reads and writes, and the scratch memory that is left to it.
pub(super) struct Operands<'m> {
    pub(super) x: Slice<'m>,
    pub(super) y: Slice<'m>,
    pub(super) scratch: Slice<'m>,
}

impl Widened {
    /// For sums and products, which wrap: their low bits are those of wider ones.
    pub(super) fn wrapping(own: DType) -> Widened {
        let computed = match own {
            DType::I8 | DType::I16 | DType::U8 | DType::U16 => DType::I32,
            other => other,
        };
        Widened { own, computed }
    }

    /// For comparisons.
    pub(super) fn ordered(own: DType) -> Widened {
        let computed = match own {
            DType::U32 => DType::I64,
            other => Widened::wrapping(other).computed,
        };
        Widened { own, computed }
    }

    fn is_own(self) -> bool {
        self.own == self.computed
    }

    fn room(self, shape: &Shape) -> usize {
        let size = self.computed.size().unwrap_or_default();
        shape.elements().saturating_mul(size).next_multiple_of(ALIGNMENT)
    }

    /// Bytes of scratch memory beside what the kernel needs.
    pub(super) fn bytes(self, x: &Shape, y: &Shape) -> usize {
        if self.is_own() { 0 } else { self.room(x).saturating_add(self.room(y)) }
    }

    /// The first input, converted, and room for the first output.
    ///
    /// # Errors
    /// What the launch of the conversion gives.
    pub(super) fn enter<'m>(
        self,
        call: &mut DeviceCall<'m, '_, '_>,
    ) -> Result<Operands<'m>, DeviceError> {
        let (x, y, scratch) = (call.inputs[0], call.outputs[0], call.scratch);
        if self.is_own() {
            return Ok(Operands { x: x.slice, y: y.slice, scratch });
        }
        let (before, between) = (self.room(&x.shape), self.room(&y.shape));
        let start = before + between;
        let wide = scratch.part(0, before)?;
        cast(call.queue, (x.slice, self.own), (wide, self.computed), x.elements())?;
        Ok(Operands {
            x: wide,
            y: scratch.part(before, between)?,
            scratch: scratch.part(start, scratch.bytes().saturating_sub(start))?,
        })
    }

    /// Moves the extremes of no elements, which are those of the wider dtype, to those of the own one.
    ///
    /// # Errors
    /// As [`Widened::enter`].
    pub(super) fn bound(
        self,
        call: &mut DeviceCall<'_, '_, '_>,
        operands: &Operands<'_>,
    ) -> Result<(), DeviceError> {
        let (low, high) = match self.own {
            DType::I8 => (i8::MIN.into(), i8::MAX.into()),
            DType::I16 => (i16::MIN.into(), i16::MAX.into()),
            DType::U8 => (0, u8::MAX.into()),
            DType::U16 => (0, u16::MAX.into()),
            DType::U32 => (0, u32::MAX.into()),
            _ => return Ok(()),
        };
        let bounds = IntUnary::Clamp { low, high };
        let count = call.outputs[0].elements();
        unary_int(call.queue, bounds, self.computed, (operands.y, operands.y), count)
    }

    /// Converts the first output back.
    ///
    /// # Errors
    /// As [`Widened::enter`].
    pub(super) fn leave(
        self,
        call: &mut DeviceCall<'_, '_, '_>,
        operands: &Operands<'_>,
    ) -> Result<(), DeviceError> {
        let y = call.outputs[0];
        if self.is_own() {
            return Ok(());
        }
        cast(call.queue, (operands.y, self.computed), (y.slice, self.own), y.elements())
    }
}
