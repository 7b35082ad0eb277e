//! How values are written into messages, and read out of what the other side sent.
//!
//! Little-endian numbers, lengths of four bytes before lists and texts, one byte before an option or a
//! variant; the bytes of a tensor start at a multiple of 64. Whatever is read is bounded by the bytes that
//! came: a list is never longer than they are, and nothing is allocated for what only a length promises.

use crate::package::World;
use crate::signature::NamedTensors;
use aimass_graph::{Dim, Signature, TensorSpec};
use aimass_tensor::{Buffer, DType, RANK_MAX, Shape, Strings, Tensor};
use std::sync::Arc;

/// Where the bytes of a tensor start: aligned for every element type.
const ALIGN: usize = 64;
/// Tensors below this size are copied among the other bytes of a message.
const COPIED_BYTES_MAX: usize = 4096;

/// What came is no message of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got other bytes")]
pub(crate) struct Malformed {
    pub(crate) expected: &'static str,
}

/// What reading answers.
pub(crate) type Taken<T> = Result<T, Malformed>;

/// A message under construction. Large tensors are not copied until it is sent.
#[derive(Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    /// Bytes that belong in between: after how many of `bytes`.
    shared: Vec<(usize, Tensor)>,
    shared_bytes: usize,
}

impl Writer {
    /// A message that holds this value.
    pub(crate) fn of(value: &impl Wire) -> Writer {
        let mut writer = Writer::default();
        value.put(&mut writer);
        writer
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() + self.shared_bytes
    }

    /// Its bytes, piece by piece.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        let shared = self.shared.iter().flat_map(move |(until, tensor)| {
            let before = &self.bytes[from..*until];
            from = *until;
            [before, data(tensor)]
        });
        let until = self.shared.last().map_or(0, |(until, _)| *until);
        shared.chain([&self.bytes[until..]])
    }

    /// Its bytes in one piece.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.pieces().collect::<Vec<_>>().concat()
    }

    /// Adds bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn data_of(&mut self, tensor: &Tensor) {
        let padding = self.len().next_multiple_of(ALIGN) - self.len();
        self.raw(&[0; ALIGN][..padding]);
        let bytes = data(tensor);
        if bytes.len() < COPIED_BYTES_MAX {
            return self.raw(bytes);
        }
        self.shared_bytes += bytes.len();
        self.shared.push((self.bytes.len(), tensor.clone()));
    }
}

fn data(tensor: &Tensor) -> &[u8] {
    crate::host_api::bytes::tensor_bytes(tensor)
}

/// A message that came. Tensors in it share its memory, which nobody else can write.
pub(crate) struct Reader {
    bytes: Buffer,
    at: usize,
}

impl Reader {
    /// Reads from the start of these bytes.
    pub(crate) fn new(bytes: Buffer) -> Reader {
        Reader { bytes, at: 0 }
    }

    /// One value, which must be all that there is.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn only<T: Wire>(mut self) -> Taken<T> {
        let value = T::take(&mut self)?;
        if self.is_empty() { Ok(value) } else { Err(Malformed { expected: "the message's end" }) }
    }

    /// As [`Reader::only`], after something else was taken.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn only_after<T: Wire>(
        mut self,
        first: impl FnOnce(&mut Reader) -> Taken<()>,
    ) -> Taken<T> {
        first(&mut self)?;
        self.only()
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    fn left(&self) -> usize {
        self.bytes.as_slice().len() - self.at
    }

    /// So many bytes, which share the message's memory.
    ///
    /// # Errors
    /// [`Malformed`] if fewer came.
    pub(crate) fn shared(&mut self, len: usize) -> Taken<Buffer> {
        if len > self.left() {
            return Err(Malformed { expected: "as many bytes as a length says" });
        }
        let bytes = self.bytes.slice(self.at..self.at + len);
        self.at += len;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Taken<[u8; N]> {
        let rest = &self.bytes.as_slice()[self.at..];
        let array = rest.first_chunk::<N>().ok_or(Malformed { expected: "a number" })?;
        self.at += N;
        Ok(*array)
    }

    fn align(&mut self) -> Taken<()> {
        let at = self.at.next_multiple_of(ALIGN);
        if at > self.bytes.as_slice().len() {
            return Err(Malformed { expected: "padding" });
        }
        self.at = at;
        Ok(())
    }
}

/// A value that crosses between host and worker.
pub(crate) trait Wire: Sized {
    /// Writes it.
    fn put(&self, to: &mut Writer);

    /// Reads it.
    ///
    /// # Errors
    /// [`Malformed`] if other bytes came.
    fn take(from: &mut Reader) -> Taken<Self>;
}

macro_rules! numbers {
    ($($ty:ty)+) => { $(
        impl Wire for $ty {
            fn put(&self, to: &mut Writer) {
                to.raw(&self.to_le_bytes());
            }
            fn take(from: &mut Reader) -> Taken<$ty> {
                Ok(<$ty>::from_le_bytes(from.array()?))
            }
        }
    )+ };
}

numbers! { u8 u32 u64 i64 f32 f64 }

impl Wire for bool {
    fn put(&self, to: &mut Writer) {
        u8::from(*self).put(to);
    }

    fn take(from: &mut Reader) -> Taken<bool> {
        match u8::take(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed { expected: "a truth value" }),
        }
    }
}

impl Wire for usize {
    fn put(&self, to: &mut Writer) {
        (*self as u64).put(to);
    }

    fn take(from: &mut Reader) -> Taken<usize> {
        usize::try_from(u64::take(from)?).map_err(|_| Malformed { expected: "a size" })
    }
}

/// Bytes as they are, of which the reader's copy shares the message's memory.
pub(crate) struct Bytes(pub(crate) Buffer);

impl Bytes {
    /// Bytes to be sent.
    pub(crate) fn of(bytes: Vec<u8>) -> Bytes {
        Bytes(Buffer::shared(Arc::new(bytes)))
    }
}

impl Wire for Bytes {
    fn put(&self, to: &mut Writer) {
        put_len(self.0.as_slice().len(), to);
        to.raw(self.0.as_slice());
    }

    fn take(from: &mut Reader) -> Taken<Bytes> {
        let len = u32::take(from)? as usize;
        Ok(Bytes(from.shared(len)?))
    }
}

fn put_len(len: usize, to: &mut Writer) {
    u32::try_from(len).expect("a message is shorter than 4 GiB").put(to);
}

impl Wire for String {
    fn put(&self, to: &mut Writer) {
        put_len(self.len(), to);
        to.raw(self.as_bytes());
    }

    fn take(from: &mut Reader) -> Taken<String> {
        let bytes = Bytes::take(from)?.0;
        let text = std::str::from_utf8(bytes.as_slice());
        text.map(str::to_owned).map_err(|_| Malformed { expected: "UTF-8" })
    }
}

impl Wire for Arc<str> {
    fn put(&self, to: &mut Writer) {
        put_len(self.len(), to);
        to.raw(self.as_bytes());
    }

    fn take(from: &mut Reader) -> Taken<Arc<str>> {
        Ok(String::take(from)?.into())
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, to: &mut Writer) {
        put_len(self.len(), to);
        self.iter().for_each(|value| value.put(to));
    }

    fn take(from: &mut Reader) -> Taken<Vec<T>> {
        let len = u32::take(from)? as usize;
        if len > from.left() {
            return Err(Malformed { expected: "as many values as a length says" });
        }
        (0..len).map(|_| T::take(from)).collect()
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, to: &mut Writer) {
        self.is_some().put(to);
        if let Some(value) = self {
            value.put(to);
        }
    }

    fn take(from: &mut Reader) -> Taken<Option<T>> {
        Ok(if bool::take(from)? { Some(T::take(from)?) } else { None })
    }
}

impl<T: Wire, E: Wire> Wire for Result<T, E> {
    fn put(&self, to: &mut Writer) {
        self.is_ok().put(to);
        match self {
            Ok(value) => value.put(to),
            Err(error) => error.put(to),
        }
    }

    fn take(from: &mut Reader) -> Taken<Result<T, E>> {
        Ok(if bool::take(from)? { Ok(T::take(from)?) } else { Err(E::take(from)?) })
    }
}

impl Wire for () {
    fn put(&self, _to: &mut Writer) {}

    fn take(_from: &mut Reader) -> Taken<()> {
        Ok(())
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, to: &mut Writer) {
        self.0.put(to);
        self.1.put(to);
    }

    fn take(from: &mut Reader) -> Taken<(A, B)> {
        Ok((A::take(from)?, B::take(from)?))
    }
}

/// Structs field by field, in the order that is written here.
macro_rules! wire_struct {
    ($($ty:ty { $($field:ident),+ $(,)? })+) => { $(
        impl $crate::worker::wire::Wire for $ty {
            fn put(&self, to: &mut $crate::worker::wire::Writer) {
                $($crate::worker::wire::Wire::put(&self.$field, to);)+
            }
            fn take(
                from: &mut $crate::worker::wire::Reader,
            ) -> $crate::worker::wire::Taken<Self> {
                Ok(Self { $($field: $crate::worker::wire::Wire::take(from)?),+ })
            }
        }
    )+ };
}

/// Enums without fields, numbered in the order that is written here.
macro_rules! wire_enum {
    ($($ty:ty { $($variant:ident),+ $(,)? })+) => { $(
        impl $crate::worker::wire::Wire for $ty {
            fn put(&self, to: &mut $crate::worker::wire::Writer) {
                const ALL: &[$ty] = &[$(<$ty>::$variant),+];
                let is = |other: &$ty| std::mem::discriminant(other) == std::mem::discriminant(self);
                let at = ALL.iter().position(is).expect("every variant is listed");
                (at as u8).put(to);
                // A variant that is missing above does not compile here.
                match self { $(<$ty>::$variant => {})+ }
            }
            fn take(
                from: &mut $crate::worker::wire::Reader,
            ) -> $crate::worker::wire::Taken<Self> {
                const ALL: &[$ty] = &[$(<$ty>::$variant),+];
                let at = u8::take(from)? as usize;
                let unknown = $crate::worker::wire::Malformed { expected: stringify!($ty) };
                ALL.get(at).copied().ok_or(unknown)
            }
        }
    )+ };
}
pub(crate) use {wire_enum, wire_struct};

wire_enum! { World { Processor, Format, TracingFormat, Model } }
wire_struct! {
    Signature { inputs, outputs }
    TensorSpec { name, dtype, dims }
}

impl Wire for DType {
    fn put(&self, to: &mut Writer) {
        let at = DType::ALL.iter().position(|dtype| dtype == self);
        (at.expect("every dtype is listed") as u8).put(to);
    }

    fn take(from: &mut Reader) -> Taken<DType> {
        let at = u8::take(from)? as usize;
        DType::ALL.get(at).copied().ok_or(Malformed { expected: "a dtype" })
    }
}

impl Wire for Dim {
    fn put(&self, to: &mut Writer) {
        match self {
            Dim::Fixed(extent) => (0u8, *extent).put(to),
            Dim::Batch => 1u8.put(to),
            Dim::Ragged(name) => (2u8, name.clone()).put(to),
            Dim::Dynamic(name) => (3u8, name.clone()).put(to),
        }
    }

    fn take(from: &mut Reader) -> Taken<Dim> {
        Ok(match u8::take(from)? {
            0 => Dim::Fixed(u64::take(from)?),
            1 => Dim::Batch,
            2 => Dim::Ragged(Wire::take(from)?),
            3 => Dim::Dynamic(Wire::take(from)?),
            _ => return Err(Malformed { expected: "a dimension" }),
        })
    }
}

impl Wire for Shape {
    fn put(&self, to: &mut Writer) {
        let dims: Vec<u64> = self.iter().map(|&extent| extent as u64).collect();
        dims.put(to);
    }

    fn take(from: &mut Reader) -> Taken<Shape> {
        let dims: Vec<usize> = Wire::take(from)?;
        if dims.len() > RANK_MAX {
            return Err(Malformed { expected: "at most 8 dimensions" });
        }
        Shape::new(&dims).map_err(|_| Malformed { expected: "a shape" })
    }
}

impl Wire for Tensor {
    fn put(&self, to: &mut Writer) {
        self.dtype().put(to);
        self.shape().put(to);
        if let Some(strings) = self.strings() {
            strings.offsets().to_vec().put(to);
        }
        data(self).len().put(to);
        to.data_of(self);
    }

    fn take(from: &mut Reader) -> Taken<Tensor> {
        let (dtype, shape) = (DType::take(from)?, Shape::take(from)?);
        let offsets = if dtype == DType::Bytes { Some(Vec::take(from)?) } else { None };
        let len = usize::take(from)?;
        from.align()?;
        let data = from.shared(len)?;
        let tensor = match offsets {
            Some(offsets) => {
                let strings = Strings::new(offsets, data);
                let strings = strings.map_err(|_| Malformed { expected: "strings" })?;
                Tensor::from_strings(shape, strings)
            }
            None => Tensor::new(dtype, shape, data),
        };
        tensor.map_err(|_| Malformed { expected: "as many bytes as the shape takes" })
    }
}

/// Named tensors; those that come are as many as the bytes hold.
impl Wire for NamedTensor {
    fn put(&self, to: &mut Writer) {
        self.name.put(to);
        self.tensor.put(to);
    }

    fn take(from: &mut Reader) -> Taken<NamedTensor> {
        Ok(NamedTensor { name: Wire::take(from)?, tensor: Wire::take(from)? })
    }
}

/// A tensor on its way, with its name.
pub(crate) struct NamedTensor {
    name: Arc<str>,
    tensor: Tensor,
}

/// Tensors as messages hold them.
pub(crate) fn tensors_out(tensors: &NamedTensors) -> Vec<NamedTensor> {
    let one = |(name, tensor): &(Arc<str>, Tensor)| NamedTensor {
        name: name.clone(),
        tensor: tensor.clone(),
    };
    tensors.iter().map(one).collect()
}

/// Tensors out of a message.
pub(crate) fn tensors_in(tensors: Vec<NamedTensor>) -> NamedTensors {
    tensors.into_iter().map(|one| (one.name, one.tensor)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::messages::Refusal;
    use proptest::prelude::*;

    fn again<T: Wire>(value: &T) -> T {
        let bytes = Writer::of(value).to_vec();
        Reader::new(Buffer::shared(Arc::new(bytes))).only().unwrap()
    }

    #[test]
    fn tensors_arrive_as_they_were_sent() {
        for rows in [0usize, 1, 7, 5000] {
            let numbers: Vec<f32> = (0..rows * 3).map(|n| n as f32).collect();
            let tensor = Tensor::from_slice(&[rows, 3], &numbers).unwrap();
            let [a, b] = [again(&(3u8, tensor.clone())).1, again(&vec![tensor.clone()]).remove(0)];
            for got in [a, b] {
                assert_eq!((got.dtype(), got.shape()), (DType::F32, tensor.shape()));
                assert_eq!(got.bytes(), tensor.bytes());
            }
        }
        let strings = Strings::from_slices(&["a", "", "long".repeat(2000).as_str()]).unwrap();
        let tensor = Tensor::from_strings(Shape::new(&[3]).unwrap(), strings).unwrap();
        let got = again(&tensor);
        assert_eq!(got.strings().unwrap().get(2), tensor.strings().unwrap().get(2));
    }

    #[test]
    fn a_message_is_as_long_as_its_pieces() {
        let tensor = Tensor::from_slice(&[4000], &[1f32; 4000]).unwrap();
        let writer = Writer::of(&vec![tensor.clone(), tensor]);
        assert_eq!(writer.len(), writer.to_vec().len());
        assert_eq!(writer.shared.len(), 2, "large tensors are not copied");
    }

    #[test]
    fn lengths_that_promise_more_than_came_are_refused() {
        let bytes = |bytes: &[u8]| Reader::new(Buffer::shared(Arc::new(bytes.to_vec())));
        assert!(bytes(&[255; 4]).only::<Vec<u64>>().is_err());
        assert!(bytes(&[255; 4]).only::<String>().is_err());
        assert!(bytes(&[1, 0, 0, 0, 0xff]).only::<String>().is_err(), "no UTF-8");
        assert!(bytes(&[2]).only::<bool>().is_err());
        assert!(bytes(&[0, 0]).only::<bool>().is_err(), "one byte too many");
        assert!(bytes(&[]).only::<u8>().is_err());
    }

    #[test]
    fn refusals_cross_with_codes_that_the_host_knows() {
        for code in Refusal::CODES {
            let refusal = Refusal { code, message: "w".repeat(5000) };
            let got = again(&refusal);
            assert_eq!((got.code, got.message.len()), (code, 4096));
        }
        let unknown = Writer::of(&(Refusal::CODES.len() as u64, "words".to_owned())).to_vec();
        let read = Reader::new(Buffer::shared(Arc::new(unknown))).only::<Refusal>();
        assert!(read.is_err_and(|error| error.to_string().contains("the code of a refusal")));
    }

    proptest! {
        #[test]
        fn bytes_that_nobody_wrote_are_errors_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let reader = || Reader::new(Buffer::shared(Arc::new(bytes.clone())));
            let _ = reader().only::<Vec<Tensor>>();
            let _ = reader().only::<Signature>();
            let _ = reader().only::<crate::worker::messages::Request>();
            let _ = reader().only::<Result<Vec<NamedTensor>, String>>();
        }
    }
}
