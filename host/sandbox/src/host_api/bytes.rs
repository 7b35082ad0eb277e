//! `list<u8>` for guests straight out of the host memory that holds the bytes.
#![expect(unsafe_code, reason = "wasmtime's Lower and ComponentType are unsafe traits")]

use aimass_tensor::{Buffer, Tensor};
use std::mem::MaybeUninit;
use std::ops::Range;
use wasmtime::Result;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LowerContext,
};
use wasmtime::component::{ComponentType, Lower};

/// Bytes that somebody else owns; lowering copies them once, into the guest's memory.
pub(crate) struct SharedBytes {
    owner: Owner,
    range: Range<usize>,
}

enum Owner {
    Tensor(Tensor),
    Buffer(Buffer),
    Vec(Vec<u8>),
}

impl SharedBytes {
    /// A range of a tensor's bytes, or of its joined strings; `None` outside of them.
    pub(crate) fn of_tensor(tensor: &Tensor, range: Range<usize>) -> Option<SharedBytes> {
        tensor_bytes(tensor).get(range.clone())?;
        Some(SharedBytes { owner: Owner::Tensor(tensor.clone()), range })
    }

    /// All bytes of a buffer.
    pub(crate) fn of_buffer(buffer: Buffer) -> SharedBytes {
        let range = 0..buffer.as_slice().len();
        SharedBytes { owner: Owner::Buffer(buffer), range }
    }

    /// Bytes made for the guest.
    pub(crate) fn of_vec(bytes: Vec<u8>) -> SharedBytes {
        let range = 0..bytes.len();
        SharedBytes { owner: Owner::Vec(bytes), range }
    }

    fn as_slice(&self) -> &[u8] {
        let bytes = match &self.owner {
            Owner::Tensor(tensor) => tensor_bytes(tensor),
            Owner::Buffer(buffer) => buffer.as_slice(),
            Owner::Vec(bytes) => bytes,
        };
        &bytes[self.range.clone()]
    }
}

/// The element bytes of a tensor; for strings all of them, joined.
pub(crate) fn tensor_bytes(tensor: &Tensor) -> &[u8] {
    tensor.strings().map_or_else(|| tensor.bytes(), |strings| strings.data())
}

// SAFETY: everything is forwarded to `[u8]`, whose type, layout and check these are.
unsafe impl ComponentType for SharedBytes {
    type Lower = <[u8] as ComponentType>::Lower;

    const ABI: CanonicalAbiInfo = <[u8] as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> Result<()> {
        <[u8] as ComponentType>::typecheck(ty, types)
    }
}

// SAFETY: as above; `[u8]` writes exactly its own representation.
unsafe impl Lower for SharedBytes {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> Result<()> {
        self.as_slice().linear_lower_to_flat(cx, ty, dst)
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> Result<()> {
        self.as_slice().linear_lower_to_memory(cx, ty, offset)
    }
}
