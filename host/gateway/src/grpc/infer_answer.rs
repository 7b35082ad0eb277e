//! `ModelInferResponse`, written straight into the frame that leaves. All data goes into
//! `raw_output_contents`: tritonclient reads nothing else.

use super::wire::{bytes_len, put_bytes, put_head, put_varint, varint_len};
use crate::failure::Failure;
use crate::oip::binary;
use aimass_engine::InferResponse;
use aimass_tensor::Tensor;
use bytes::BufMut;

/// An answer that can be written: every output has a datatype of the protocol.
#[derive(Debug)]
pub(crate) struct InferAnswer {
    response: InferResponse,
    version: String,
    id: Option<String>,
    place: Place,
    outputs: Vec<OutputHead>,
}

/// Where an answer stands among those to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The only one, of a request outside of a stream.
    Only,
    /// In a stream, with more to come.
    More,
    /// The last one, in a stream.
    Last,
}

impl Place {
    /// `parameters["triton_final_response"]`, an entry of field 4.
    fn parameter(self) -> &'static [u8] {
        match self {
            Place::Only => b"",
            Place::More => b"\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\x00",
            Place::Last => b"\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\x01",
        }
    }
}

#[derive(Debug)]
struct OutputHead {
    datatype: &'static str,
    shape_len: usize,
    len: usize,
}

impl InferAnswer {
    /// Prepares an answer.
    ///
    /// # Errors
    /// 400 for an output whose datatype the protocol does not know.
    pub(crate) fn new(
        response: InferResponse,
        id: Option<String>,
        place: Place,
    ) -> Result<InferAnswer, Failure> {
        let head = |(name, tensor): &(std::sync::Arc<str>, Tensor)| {
            let datatype = tensor.dtype().oip_name().ok_or_else(|| {
                let dtype = tensor.dtype();
                Failure::invalid(format!("output {name:?} has dtype {dtype}, unknown to OIP"))
            })?;
            let extents = tensor.shape().iter().map(|&extent| varint_len(extent as u64));
            let shape_len = extents.sum();
            let len = bytes_len(name.len()) + bytes_len(datatype.len()) + bytes_len(shape_len);
            Ok(OutputHead { datatype, shape_len, len })
        };
        let outputs: Result<Vec<OutputHead>, Failure> = response.outputs.iter().map(head).collect();
        let version = response.version.to_string();
        Ok(InferAnswer { outputs: outputs?, response, version, id, place })
    }

    /// Bytes that [`InferAnswer::write`] writes.
    pub(crate) fn len(&self) -> usize {
        let heads: usize = self.outputs.iter().map(|head| bytes_len(head.len)).sum();
        let data = self.response.outputs.iter().map(|(_, tensor)| bytes_len(binary::size(tensor)));
        let id = self.id.as_ref().map_or(0, |id| bytes_len(id.len()));
        bytes_len(self.response.model.len())
            + bytes_len(self.version.len())
            + id
            + self.place.parameter().len()
            + heads
            + data.sum::<usize>()
    }

    /// Writes the message.
    pub(crate) fn write(&self, out: &mut impl BufMut) {
        put_bytes(1, self.response.model.as_bytes(), out);
        put_bytes(2, self.version.as_bytes(), out);
        if let Some(id) = &self.id {
            put_bytes(3, id.as_bytes(), out);
        }
        out.put_slice(self.place.parameter());
        for ((name, tensor), head) in self.response.outputs.iter().zip(&self.outputs) {
            put_head(5, head.len, out);
            put_bytes(1, name.as_bytes(), out);
            put_bytes(2, head.datatype.as_bytes(), out);
            put_head(3, head.shape_len, out);
            for &extent in tensor.shape().iter() {
                put_varint(extent as u64, out);
            }
        }
        for (_, tensor) in &self.response.outputs {
            put_head(6, binary::size(tensor), out);
            binary::append(tensor, out);
        }
    }
}
