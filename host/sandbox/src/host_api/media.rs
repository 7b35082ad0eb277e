//! `media`: decoding of pictures and sound.
//!
//! Headers are read, held against limits and charged to the call before any memory is taken. What is
//! small is decoded at once, out of the guest's own memory; anything larger is copied once and
//! decoded on a thread for blocking work, while the guest's fiber sleeps until it is there or until its deadline.

use super::tensor::TensorHandle;
use super::{HostError, HostResult, answer};
use crate::decoders::{Busy, Decoders, decoded};
use crate::error::ErrorFamily;
use crate::metrics::Metrics;
use crate::state::{CallState, Charge, LimitHit};
use crate::worlds::bindings::types::Error;
use aimass_media::{Channels, Image, Limits, MediaError, Wav};
use aimass_tensor::{BufferMut, DType, Shape, Tensor};
use std::sync::Arc;
use std::time::Instant;
use wasmtime::component::{Linker, Resource, WasmList};
use wasmtime::{Result, StoreContextMut};

type Handle = Resource<TensorHandle>;
type Cx<'a> = StoreContextMut<'a, CallState>;
type Answer<T> = Result<(std::result::Result<T, Error>,)>;

/// Pixels that are decoded at once: a fraction of a millisecond.
const PIXELS_INLINE_MAX: u64 = 32 << 10;
/// Samples that are decoded at once.
const SAMPLES_INLINE_MAX: usize = 256 << 10;
/// Bytes of a file that is decoded at once.
const BYTES_INLINE_MAX: usize = 1 << 20;

/// Binds the interface.
///
/// # Errors
/// wasmtime's, if a name were defined twice.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    let mut it = linker.instance("aimass:plugin/media@0.1.0")?;
    it.func_wrap_async("decode-image", |cx, arguments| Box::new(decode_image(cx, arguments)))?;
    it.func_wrap_async("decode-audio", |cx, arguments| Box::new(decode_audio(cx, arguments)))?;
    Ok(())
}

async fn decode_image(mut cx: Cx<'_>, (data, channels): (WasmList<u8>, u32)) -> Answer<Handle> {
    cx.data_mut().count_host_call()?;
    let started = image_job(&cx, &data, channels).and_then(|job| job.start(&cx, &data));
    let made = finished(started).await;
    answer(made.and_then(|made| cx.data_mut().push_decoded(made)))
}

async fn decode_audio(mut cx: Cx<'_>, (data,): (WasmList<u8>,)) -> Answer<(Handle, u32)> {
    cx.data_mut().count_host_call()?;
    let (started, rate) = match audio_job(&cx, &data) {
        Ok((job, rate)) => (job.start(&cx, &data), rate),
        Err(error) => (Err(error), 0),
    };
    let made = finished(started).await;
    answer(made.and_then(|made| Ok((cx.data_mut().push_decoded(made)?, rate))))
}

/// A file that is within limits, and what was charged for it.
struct Job {
    kind: Kind,
    dtype: DType,
    shape: Shape,
    output_bytes: usize,
    inline: bool,
    /// The tensor's own, kept as long as it.
    charge: Arc<Charge>,
    /// That of the decoder, given back when it is done.
    working: Arc<Charge>,
    limits: Limits,
}

#[derive(Clone, Copy)]
enum Kind {
    Image(Channels),
    Audio,
}

/// Samples with their share of the call's host memory.
type Made = (Tensor, Arc<Charge>);

fn image_job(cx: &Cx<'_>, data: &WasmList<u8>, channels: u32) -> HostResult<Job> {
    let state = cx.data();
    let (bytes, limits) = (data.as_le_slice(cx), state.media_limits());
    let channels = Channels::of_count(channels)?;
    let image = Image::open(bytes, &limits)?;
    let extents = [image.height() as usize, image.width() as usize, channels.count()];
    let inline = image.pixels() <= PIXELS_INLINE_MAX && bytes.len() <= BYTES_INLINE_MAX;
    let copied = if inline { 0 } else { bytes.len() };
    let output_bytes = image.output_bytes(channels);
    Ok(Job {
        kind: Kind::Image(channels),
        dtype: DType::U8,
        shape: shape(&extents)?,
        output_bytes,
        inline,
        charge: state.charge(output_bytes)?,
        working: state.charge(image.working_bytes(channels) + copied)?,
        limits,
    })
}

fn audio_job(cx: &Cx<'_>, data: &WasmList<u8>) -> HostResult<(Job, u32)> {
    let state = cx.data();
    let (bytes, limits) = (data.as_le_slice(cx), state.media_limits());
    let wav = Wav::open(bytes, &limits)?;
    let extents = [wav.frames(), wav.channels()];
    let inline = wav.frames() * wav.channels() <= SAMPLES_INLINE_MAX;
    let output_bytes = wav.output_bytes();
    let job = Job {
        kind: Kind::Audio,
        dtype: DType::F32,
        shape: shape(&extents)?,
        output_bytes,
        inline,
        charge: state.charge(output_bytes)?,
        working: state.charge(if inline { 0 } else { bytes.len() })?,
        limits,
    };
    Ok((job, wav.rate()))
}

fn shape(extents: &[usize]) -> HostResult<Shape> {
    Shape::new(extents).map_err(|error| HostError::input("media", error.to_string()))
}

/// A job that is done, or what another thread needs for it.
enum Started {
    Done(Made),
    Elsewhere { job: Job, data: Vec<u8>, decoders: Arc<Decoders>, deadline: Instant },
}

async fn finished(started: HostResult<Started>) -> HostResult<Made> {
    match started? {
        Started::Done(made) => Ok(made),
        Started::Elsewhere { job, data, decoders, deadline } => {
            decoders.run(deadline, move || job.decode(&data)).await?
        }
    }
}

impl Job {
    fn start(self, cx: &Cx<'_>, data: &WasmList<u8>) -> HostResult<Started> {
        let (state, bytes) = (cx.data(), data.as_le_slice(cx));
        if self.inline {
            return Ok(Started::Done(decoded(|| self.decode(bytes))??));
        }
        let (decoders, deadline) = (state.decoders.clone(), state.context.deadline);
        Ok(Started::Elsewhere { job: self, data: bytes.to_vec(), decoders, deadline })
    }

    fn decode(self, bytes: &[u8]) -> HostResult<Made> {
        let mut block = BufferMut::uninit(self.output_bytes);
        let out = block.as_mut_slice();
        match self.kind {
            Kind::Image(channels) => Image::open(bytes, &self.limits)?.decode(channels, out)?,
            Kind::Audio => Wav::open(bytes, &self.limits)?.decode(out)?,
        }
        drop(self.working);
        let tensor = Tensor::new(self.dtype, self.shape, block.freeze());
        let tensor = tensor.map_err(|error| HostError::input("media", error.to_string()))?;
        Ok((tensor, self.charge))
    }
}

impl CallState {
    fn media_limits(&self) -> Limits {
        let limits = self.limits();
        Limits { pixels_max: limits.image_pixels_max, samples_max: limits.audio_samples_max }
    }

    fn push_decoded(&mut self, (tensor, charge): Made) -> HostResult<Handle> {
        Metrics::add(&self.metrics.bytes_created, tensor.byte_len() as u64);
        Ok(self.table.push(TensorHandle::made(tensor, charge))?)
    }
}

impl From<MediaError> for HostError {
    fn from(error: MediaError) -> HostError {
        let family = if error.is_limit() { ErrorFamily::Limit } else { ErrorFamily::Input };
        HostError::answer(family, error.code(), error.to_string())
    }
}

impl From<Busy> for HostError {
    fn from(busy: Busy) -> HostError {
        match busy {
            Busy::Deadline => LimitHit::Deadline.into(),
            Busy::Panicked => {
                let message = "the decoder failed on this file; please report it with the file";
                HostError::answer(ErrorFamily::Internal, "decoder", message)
            }
        }
    }
}
