//! `ModelInfer` and `ModelStreamInfer`: a message becomes an [`InferRequest`], and its answer a
//! message.

use super::codec::{Method, StreamAnswer};
use super::infer_answer::InferAnswer;
use super::infer_request::{self, GrpcInfer};
use super::metered::Meter;
use super::{Grpc, model_of};
use crate::admission::Admitted;
use crate::body::off_thread;
use crate::failure::Failure;
use crate::identity::access::Infer;
use crate::router::Gateway;
use aimass_engine::InferRequest;
use axum::body::Body;
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use std::sync::Arc;
use std::time::Instant;
use tonic::codec::Streaming;
use tracing::Instrument;

/// Requests of one stream that are worked on at once; their answers keep their order.
const STREAM_AHEAD: usize = 8;

impl Grpc {
    pub(super) async fn infer(self, admitted: Admitted<Infer>, method: Method) -> Response<Body> {
        let gateway = self.gateway;
        let bytes_max = gateway.config.body_bytes_max;
        let meter = method.request.body().meter();
        method
            .infer(bytes_max, move |message: Bytes| {
                let start = Instant::now();
                let span = tracing::debug_span!("grpc_infer");
                async move { answer(&gateway, admitted, message, start, &meter, false).await }
                    .instrument(span)
            })
            .await
    }

    pub(super) async fn stream_infer(
        self,
        admitted: Admitted<Infer>,
        headers: HeaderMap,
        method: Method,
    ) -> Response<Body> {
        let bytes_max = self.gateway.config.body_bytes_max;
        let meter = method.request.body().meter();
        let headers = Arc::new(headers);
        // The stream was let in; each of its requests asks again, so that limits hold for each.
        drop(admitted);
        let grpc = self;
        method
            .stream(bytes_max, move |messages| async move {
                Ok(answers(grpc, headers, messages, meter))
            })
            .await
    }
}

/// The answers to the messages of a stream, in their order. A request that fails is answered in
/// the stream, which goes on; a stream that breaks off ends.
fn answers(
    grpc: Grpc,
    headers: Arc<HeaderMap>,
    messages: Streaming<Bytes>,
    meter: Meter,
) -> impl Stream<Item = Result<StreamAnswer, tonic::Status>> + Send + 'static {
    let one = move |message: Result<Bytes, tonic::Status>| {
        let (grpc, headers, meter) = (grpc.clone(), headers.clone(), meter.clone());
        async move {
            let message = message?;
            let start = Instant::now();
            let id = infer_request::request_id(&message).map(str::to_owned);
            let answered = match grpc.admit::<Infer>(&headers) {
                Ok(admitted) => answer(&grpc.gateway, admitted, message, start, &meter, true).await,
                Err(failure) => Err(failure),
            };
            meter.settle();
            Ok(match answered {
                Ok(answer) => StreamAnswer::Answer(answer),
                Err(failure) => StreamAnswer::Failed { message: failure.text().to_owned(), id },
            })
        }
    };
    messages.map(one).buffered(STREAM_AHEAD)
}

async fn answer(
    gateway: &Gateway,
    mut admitted: Admitted<Infer>,
    message: Bytes,
    start: Instant,
    meter: &Meter,
    is_stream: bool,
) -> Result<InferAnswer, Failure> {
    // The key decides before anything is parsed.
    admitted.require(infer_request::model_name(&message).unwrap_or_default())?;
    meter.hold(message.len())?;
    let parsed = off_thread(message.len(), move || infer_request::parse(&message)).await?;
    let GrpcInfer { model, selector, request } = parsed;
    admitted.require(&model)?;
    if let Some(timeout) = request.timeout {
        admitted.shorten(start + timeout);
    }
    let wanted = request.wanted.outputs.into_iter().map(|(name, _)| name);
    let response = gateway
        .infer(InferRequest {
            model: model_of(model)?,
            selector,
            inputs: request.inputs,
            outputs: wanted.collect(),
            parameters: request.parameters,
            tenant: admitted.tenant().clone(),
            deadline: admitted.deadline(),
        })
        .await?;
    InferAnswer::new(response, request.id, is_stream)
}
