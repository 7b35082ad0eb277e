//! Frames around messages: tonic's, with codecs for what is read and written by hand.

use super::infer_answer::InferAnswer;
use super::metered::MeteredBody;
use super::{Answering, wire};
use crate::failure::Failure;
use axum::body::Body;
use axum::http::{Request, Response};
use bytes::{Buf, Bytes};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::Status;
use tonic::codec::{
    BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming,
};
use tonic_prost::ProstCodec;
use tower_service::Service;

/// Largest message of a control method.
pub(crate) const CONTROL_BYTES_MAX: usize = 64 << 10;
/// Frames grow by this much, so that a small answer is one block.
fn blocks() -> BufferSettings {
    BufferSettings::new(1 << 10, 1 << 20)
}

/// A call that was let in and not read yet.
pub(super) struct Method {
    pub(super) request: Request<MeteredBody>,
}

impl Method {
    /// Reads one message that prost knows, and answers with another.
    pub(super) async fn unary<Q, A, F>(self, handler: impl FnOnce(Q) -> F + Send) -> Response<Body>
    where
        Q: prost::Message + Default + Send + 'static,
        A: prost::Message + Default + Send + 'static,
        F: Answering<A> + 'static,
    {
        let codec = ProstCodec::<A, Q>::default();
        let mut grpc = with_compression(tonic::server::Grpc::new(codec))
            .max_decoding_message_size(CONTROL_BYTES_MAX);
        grpc.unary(Once(Some(handler)), self.request).await.map(Body::new)
    }

    /// Reads one infer request of at most `bytes_max` bytes.
    pub(super) async fn infer<F>(
        self,
        bytes_max: usize,
        handler: impl FnOnce(Bytes) -> F + Send,
    ) -> Response<Body>
    where
        F: Answering<InferAnswer> + 'static,
    {
        let mut grpc = with_compression(tonic::server::Grpc::new(InferCodec))
            .max_decoding_message_size(bytes_max)
            .max_encoding_message_size(usize::MAX);
        grpc.unary(Once(Some(handler)), self.request).await.map(Body::new)
    }

    /// Reads infer requests until the client ends the stream, and answers with a stream.
    pub(super) async fn stream<S, F>(
        self,
        bytes_max: usize,
        handler: impl FnOnce(Streaming<Bytes>) -> F + Send,
    ) -> Response<Body>
    where
        S: futures_util::Stream<Item = Result<StreamAnswer, Status>> + Send + 'static,
        F: Answering<S> + 'static,
    {
        let mut grpc = with_compression(tonic::server::Grpc::new(StreamCodec))
            .max_decoding_message_size(bytes_max)
            .max_encoding_message_size(usize::MAX);
        let request = self.request.map(MeteredBody::without_time_limit);
        grpc.streaming(Once(Some(handler)), request).await.map(Body::new)
    }
}

fn with_compression<T: Codec>(grpc: tonic::server::Grpc<T>) -> tonic::server::Grpc<T> {
    // What a client compresses is read; answers go out as they are, since that is faster on every
    // network that is not slow.
    grpc.accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
}

/// A handler that is called once, as tonic wants it.
struct Once<H>(Option<H>);

type Later<A> = Pin<Box<dyn Future<Output = Result<tonic::Response<A>, Status>> + Send>>;

/// What one event of an answering stream is.
#[derive(Debug)]
pub(super) enum StreamAnswer {
    /// The outputs of a request.
    Answer(InferAnswer),
    /// Why a request failed, and its id: the stream goes on.
    Failed {
        /// What went wrong.
        message: String,
        /// The id of the request, if it had one.
        id: Option<String>,
    },
}

impl<Q, A, H, F> Service<tonic::Request<Q>> for Once<H>
where
    A: Send + 'static,
    H: FnOnce(Q) -> F,
    F: Future<Output = Result<A, Failure>> + Send + 'static,
{
    type Response = tonic::Response<A>;
    type Error = Status;
    type Future = Later<A>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Q>) -> Later<A> {
        let Some(handler) = self.0.take() else {
            return Box::pin(async { Err(Status::internal("called twice")) });
        };
        let answering = handler(request.into_inner());
        Box::pin(async move {
            let answer = answering.await.map_err(|failure: Failure| failure.status())?;
            Ok(tonic::Response::new(answer))
        })
    }
}

/// The message as it came, for `infer_request.rs` to read.
struct RawDecoder;

impl Decoder for RawDecoder {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, frame: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        let len = frame.remaining();
        Ok(Some(frame.copy_to_bytes(len)))
    }

    fn buffer_settings(&self) -> BufferSettings {
        blocks()
    }
}

struct InferCodec;

impl Codec for InferCodec {
    type Encode = InferAnswer;
    type Decode = Bytes;
    type Encoder = AnswerEncoder;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> AnswerEncoder {
        AnswerEncoder
    }

    fn decoder(&mut self) -> RawDecoder {
        RawDecoder
    }
}

struct AnswerEncoder;

impl Encoder for AnswerEncoder {
    type Item = InferAnswer;
    type Error = Status;

    fn encode(&mut self, answer: InferAnswer, frame: &mut EncodeBuf<'_>) -> Result<(), Status> {
        frame.reserve(answer.len());
        answer.write(frame);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        blocks()
    }
}

struct StreamCodec;

impl Codec for StreamCodec {
    type Encode = StreamAnswer;
    type Decode = Bytes;
    type Encoder = StreamEncoder;
    type Decoder = RawDecoder;

    fn encoder(&mut self) -> StreamEncoder {
        StreamEncoder
    }

    fn decoder(&mut self) -> RawDecoder {
        RawDecoder
    }
}

/// Writes `ModelStreamInferResponse`: 1 is the error's text, 2 the answer.
struct StreamEncoder;

impl Encoder for StreamEncoder {
    type Item = StreamAnswer;
    type Error = Status;

    fn encode(&mut self, event: StreamAnswer, frame: &mut EncodeBuf<'_>) -> Result<(), Status> {
        match event {
            StreamAnswer::Answer(answer) => {
                frame.reserve(answer.len() + 16);
                wire::put_head(2, answer.len(), frame);
                answer.write(frame);
            }
            StreamAnswer::Failed { message, id } => {
                let id = id.unwrap_or_default();
                frame.reserve(message.len() + id.len() + 32);
                wire::put_bytes(1, message.as_bytes(), frame);
                if !id.is_empty() {
                    wire::put_head(2, wire::bytes_len(id.len()), frame);
                    wire::put_bytes(3, id.as_bytes(), frame);
                }
            }
        }
        Ok(())
    }
}
