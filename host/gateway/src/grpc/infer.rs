//! `ModelInfer` and `ModelStreamInfer`: a message becomes an [`InferRequest`], and its answer a
//! message.

use super::codec::{Method, StreamAnswer};
use super::infer_answer::{InferAnswer, Place};
use super::infer_request::{self, GrpcInfer};
use super::metered::Meter;
use super::{Grpc, model_of};
use crate::admission::Admitted;
use crate::body::off_thread;
use crate::failure::Failure;
use crate::identity::access::Infer;
use crate::router::Gateway;
use crate::streaming::{Answers, Part};
use aimass_engine::{InferRequest, Parameter};
use axum::body::Body;
use axum::http::{HeaderMap, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use std::sync::Arc;
use std::time::Instant;
use tonic::codec::Streaming;
use tracing::Instrument;

/// Requests of one stream that are worked on at once; their answers keep their order.
const STREAM_AHEAD: usize = 8;
/// The parameter by which Triton's clients ask for a last answer that has no outputs.
const EMPTY_FINAL_RESPONSE: &str = "triton_enable_empty_final_response";

impl Grpc {
    pub(super) async fn infer(self, admitted: Admitted<Infer>, method: Method) -> Response<Body> {
        let gateway = self.gateway;
        let bytes_max = gateway.config.body_bytes_max;
        let meter = method.request.body().meter();
        method
            .infer(bytes_max, move |message: Bytes| {
                let start = Instant::now();
                let span = tracing::debug_span!("grpc_infer");
                async move { answer(&gateway, admitted, message, start, &meter).await }
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
            let begun = match grpc.admit::<Infer>(&headers).await {
                Ok(admitted) => begin(&grpc.gateway, admitted, message, start, &meter).await,
                Err(failure) => Err(failure),
            };
            Ok::<_, tonic::Status>(Parts { begun: Some(begun), id, meter })
        }
    };
    messages.map(one).buffered(STREAM_AHEAD).map_ok(Parts::answers).try_flatten()
}

/// An inference whose client reads a stream, and what its answers want of its request.
struct Begun {
    answers: Answers,
    wants_empty_last: bool,
}

/// The answers to one request of a stream.
struct Parts {
    /// What is read; `None` behind the last answer.
    begun: Option<Result<Begun, Failure>>,
    id: Option<String>,
    meter: Meter,
}

impl Parts {
    fn answers(self) -> impl Stream<Item = Result<StreamAnswer, tonic::Status>> + Send + 'static {
        futures_util::stream::unfold(self, |mut parts| async {
            let answer = parts.next().await?;
            Some((Ok(answer), parts))
        })
    }

    async fn next(&mut self) -> Option<StreamAnswer> {
        let part = match self.begun.as_mut()? {
            Ok(begun) => begun.answers.next().await?,
            Err(_) => match self.end()? {
                Ok(_) => return None,
                Err(failure) => Err(failure),
            },
        };
        let (response, place) = match part {
            Ok(Part::Item(item)) => (item.response, Place::More),
            Ok(Part::Last(response)) => {
                let begun = self.end()?;
                // As Triton does: a last answer without outputs is for those who ask for it.
                let unwanted = begun.is_ok_and(|begun| !begun.wants_empty_last);
                if response.outputs.is_empty() && unwanted {
                    return None;
                }
                (response, Place::Last)
            }
            Err(failure) => return Some(self.failed(&failure)),
        };
        Some(match InferAnswer::new(response, self.id.clone(), place) {
            Ok(answer) => StreamAnswer::Answer(answer),
            Err(failure) => self.failed(&failure),
        })
    }

    fn failed(&mut self, failure: &Failure) -> StreamAnswer {
        self.end();
        StreamAnswer::Failed { message: failure.text().to_owned(), id: self.id.clone() }
    }

    /// Nothing follows; the memory of the request is given back.
    fn end(&mut self) -> Option<Result<Begun, Failure>> {
        self.meter.settle();
        self.begun.take()
    }
}

/// Begins a request of a stream; it runs whether its answers are read yet or not.
async fn begin(
    gateway: &Arc<Gateway>,
    mut admitted: Admitted<Infer>,
    message: Bytes,
    start: Instant,
    meter: &Meter,
) -> Result<Begun, Failure> {
    let mut request = read(&mut admitted, message, start, meter).await?.0;
    let wants_empty_last = match request.parameters.remove(EMPTY_FINAL_RESPONSE) {
        Some(Parameter::Bool(wants)) => wants,
        None => false,
        Some(Parameter::Int(_) | Parameter::Float(_) | Parameter::Text(_)) => {
            return Err(Failure::invalid(format!("{EMPTY_FINAL_RESPONSE}: expected a boolean")));
        }
    };
    let answers = gateway.infer_stream(admitted, request)?;
    Ok(Begun { answers, wants_empty_last })
}

async fn answer(
    gateway: &Gateway,
    mut admitted: Admitted<Infer>,
    message: Bytes,
    start: Instant,
    meter: &Meter,
) -> Result<InferAnswer, Failure> {
    let (request, id) = read(&mut admitted, message, start, meter).await?;
    let response = gateway.infer(request).await?;
    InferAnswer::new(response, id, Place::Only)
}

/// The inference that a message asks for, and its id.
async fn read(
    admitted: &mut Admitted<Infer>,
    message: Bytes,
    start: Instant,
    meter: &Meter,
) -> Result<(InferRequest, Option<String>), Failure> {
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
    let infer = InferRequest {
        model: model_of(model)?,
        selector,
        inputs: request.inputs,
        outputs: wanted.collect(),
        parameters: request.parameters,
        tenant: admitted.tenant().clone(),
        deadline: admitted.deadline(),
    };
    Ok((infer, request.id))
}
