//! `media`: decoding of images and sound, which this version has no code for.

use super::tensor::TensorHandle;
use super::{HostError, HostResult};
use crate::state::CallState;
use crate::worlds::bindings::media::Host;
use wasmtime::component::Resource;

impl Host for CallState {
    fn decode_image(&mut self, _: Vec<u8>, _: u32) -> HostResult<Resource<TensorHandle>> {
        self.count_host_call()?;
        Err(HostError::unsupported("media.decode-image"))
    }

    fn decode_audio(&mut self, _: Vec<u8>) -> HostResult<(Resource<TensorHandle>, u32)> {
        self.count_host_call()?;
        Err(HostError::unsupported("media.decode-audio"))
    }
}
