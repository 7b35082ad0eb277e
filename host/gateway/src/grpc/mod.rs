//! Room 1 for gRPC: `inference.GRPCInferenceService` as the current Triton client and KServe's speak
//! it, and `grpc.health.v1`.
//!
//! [`METHODS`] says who may call what, before a byte of the message is read. Requests and answers of
//! inference are read and written by hand (`infer_request.rs`, `infer_answer.rs`); every method meets
//! the HTTP routes in the same admission and the same engine.

mod codec;
mod contents;
mod control;
mod infer;
mod infer_answer;
mod infer_request;
mod messages;
mod metadata;
mod metered;
mod wire;

use crate::admission::Admitted;
use crate::failure::{Failure, Retry};
use crate::identity::access::{Guarded, Infer, Operate, Read};
use crate::identity::{Caller, Principal, Verb};
use crate::oip::request::ParsedRequest;
use crate::router::{Asker, Gateway};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
pub(crate) use codec::CONTROL_BYTES_MAX;
use codec::Method;
use hyper::body::Incoming;
use metered::MeteredBody;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tonic::{Code, Status};
use tracing::Instrument;

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const INFERENCE: &str = "/inference.GRPCInferenceService/";
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

/// Every method of the inference service, and the verb that it asks for; absent if it is open to
/// everybody, as health over HTTP is.
pub(crate) const METHODS: [(&str, Option<Verb>); 20] = [
    ("ServerLive", None),
    ("ServerReady", None),
    ("ModelReady", Some(Verb::Read)),
    ("ServerMetadata", Some(Verb::Read)),
    ("ModelMetadata", Some(Verb::Read)),
    ("ModelInfer", Some(Verb::Infer)),
    ("ModelStreamInfer", Some(Verb::Infer)),
    ("ModelConfig", Some(Verb::Read)),
    ("ModelStatistics", Some(Verb::Read)),
    ("RepositoryIndex", Some(Verb::Read)),
    ("RepositoryModelLoad", Some(Verb::Operate)),
    ("RepositoryModelUnload", Some(Verb::Operate)),
    ("SystemSharedMemoryStatus", Some(Verb::Read)),
    ("SystemSharedMemoryRegister", Some(Verb::Read)),
    ("SystemSharedMemoryUnregister", Some(Verb::Read)),
    ("CudaSharedMemoryStatus", Some(Verb::Read)),
    ("CudaSharedMemoryRegister", Some(Verb::Read)),
    ("CudaSharedMemoryUnregister", Some(Verb::Read)),
    // Each reads and changes: one method for both.
    ("TraceSetting", Some(Verb::Operate)),
    ("LogSettings", Some(Verb::Operate)),
];

/// The gRPC service.
#[derive(Clone)]
pub(crate) struct Grpc {
    gateway: Arc<Gateway>,
    /// Whose client certificate the connection has.
    peer: Option<Arc<Principal>>,
    /// Told who was admitted.
    asker: Option<Asker>,
}

impl Grpc {
    pub(crate) fn new(gateway: Arc<Gateway>) -> Grpc {
        Grpc { gateway, peer: None, asker: None }
    }

    /// Answers one call; a failure is an answer too.
    pub(crate) async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        Ok(self.route(request).await.unwrap_or_else(|failure| failure.grpc()))
    }

    async fn route(mut self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        self.peer = request.extensions().get().cloned();
        self.asker = request.extensions().get().cloned();
        let path = request.uri().path();
        let known = path
            .strip_prefix(INFERENCE)
            .and_then(|name| METHODS.iter().find(|(known, _)| *known == name));
        let (name, verb) = match known {
            Some((name, verb)) => (*name, *verb),
            None if path == HEALTH_CHECK => ("Check", None),
            None => {
                let text: String = path.chars().take(200).collect();
                self.admit::<Read>(request.headers()).await?;
                let message = format!("there is no method {text}");
                return Err(Failure::new(StatusCode::NOT_IMPLEMENTED, "unknown-method", message));
            }
        };
        let (parts, body) = request.into_parts();
        let body = MeteredBody::new(body, &self.gateway.bodies);
        let method = |parts, body| Method { request: Request::from_parts(parts, body) };
        // Futures of what is rare are boxed: they would make that of every call larger.
        match verb {
            None => Ok(Box::pin(self.open(name, method(parts, body))).await),
            Some(Verb::Read) => {
                let admitted = self.admit::<Read>(&parts.headers).await?;
                body.charge_to(admitted.permit())?;
                Ok(Box::pin(self.read(name, admitted, method(parts, body))).await)
            }
            Some(Verb::Infer) if name == "ModelStreamInfer" => {
                let headers = parts.headers.clone();
                let admitted = self.admit::<Infer>(&headers).await?;
                body.charge_to(admitted.permit())?;
                Ok(Box::pin(self.stream_infer(admitted, headers, method(parts, body))).await)
            }
            Some(Verb::Infer) => {
                let admitted = self.admit::<Infer>(&parts.headers).await?;
                body.charge_to(admitted.permit())?;
                Ok(self.infer(admitted, method(parts, body)).await)
            }
            Some(Verb::Operate | Verb::Publish | Verb::Administer) => {
                let admitted = self.admit::<Operate>(&parts.headers).await?;
                body.charge_to(admitted.permit())?;
                Ok(Box::pin(self.operate(name, admitted, method(parts, body))).await)
            }
        }
    }

    /// Lets a call in that may do `V`, until its `grpc-timeout` at most.
    async fn admit<V: Guarded>(&self, headers: &HeaderMap) -> Result<Admitted<V>, Failure> {
        let wait = timeout(headers)?.unwrap_or(Duration::MAX);
        let caller = Caller { headers, peer: self.peer.as_deref() };
        let admission = &self.gateway.admission;
        let admitting = admission.admit_within(wait, caller, Instant::now(), SystemTime::now());
        let admitted = admitting.instrument(tracing::debug_span!("admission")).await?;
        if let Some(Asker(asker)) = &self.asker {
            // Set once: further requests of a stream are the same tenant's.
            let _ = asker.set(admitted.permit().tenant().clone());
        }
        Ok(admitted)
    }
}

/// The wait that `grpc-timeout` allows (gRPC over HTTP/2, "Timeout").
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Failure> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else {
        return Ok(None);
    };
    let wrong =
        || Failure::invalid("grpc-timeout: expected 1 to 8 digits and one of H, M, S, m, u, n");
    let text = value.to_str().map_err(|_| wrong())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let count: u64 = digits.parse().map_err(|_| wrong())?;
    Ok(Some(match unit {
        "H" => Duration::from_secs(3600 * count),
        "M" => Duration::from_secs(60 * count),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return Err(wrong()),
    }))
}

/// Status codes of both protocols that mean the same.
const CODES: [(Code, StatusCode); 10] = [
    (Code::InvalidArgument, StatusCode::BAD_REQUEST),
    (Code::Unauthenticated, StatusCode::UNAUTHORIZED),
    (Code::PermissionDenied, StatusCode::FORBIDDEN),
    (Code::NotFound, StatusCode::NOT_FOUND),
    (Code::FailedPrecondition, StatusCode::UNPROCESSABLE_ENTITY),
    (Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS),
    (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR),
    (Code::Unimplemented, StatusCode::NOT_IMPLEMENTED),
    (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE),
    (Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT),
];

/// The HTTP status that means what a `grpc-status` means.
pub(crate) fn http_status(grpc_status: &HeaderValue) -> StatusCode {
    let code = Code::from_bytes(grpc_status.as_bytes());
    let same = CODES.iter().find(|(known, _)| *known == code).map(|(_, status)| *status);
    match code {
        Code::Ok => StatusCode::OK,
        Code::Cancelled => StatusCode::REQUEST_TIMEOUT,
        _ => same.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

impl Failure {
    /// The status of the gRPC protocol.
    pub(crate) fn status(&self) -> Status {
        let code = match self.status {
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                Code::ResourceExhausted
            }
            StatusCode::REQUEST_TIMEOUT => Code::DeadlineExceeded,
            StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
            status => {
                let same = CODES.iter().find(|(_, known)| *known == status);
                same.map_or(Code::Internal, |(code, _)| *code)
            }
        };
        let mut status = Status::new(code, self.text());
        let pushback = match self.retry {
            Retry::Unsaid => None,
            Retry::Never => Some("-1".to_owned()),
            Retry::After(time) => Some(time.as_nanos().div_ceil(1_000_000).to_string()),
        };
        // gRFC A6: how long a client waits before it tries again; negative for never.
        if let Some(value) = pushback.and_then(|text| text.parse().ok()) {
            status.metadata_mut().insert("grpc-retry-pushback-ms", value);
        }
        status
    }

    /// The answer of the gRPC protocol.
    pub(crate) fn grpc(&self) -> Response<Body> {
        let mut response = self.status().into_http::<tonic::body::Body>().map(Body::new);
        if let Some(fields) = self.fields.as_deref() {
            response.headers_mut().extend(fields.clone());
        }
        response
    }
}

/// The infer request of a message.
///
/// # Errors
/// 400 if it is none.
pub(crate) fn read_message(message: &bytes::Bytes) -> Result<ParsedRequest, Failure> {
    Ok(infer_request::parse(message)?.request)
}

/// The name of a model, which no message may leave out.
fn model_of(name: String) -> Result<String, Failure> {
    if name.is_empty() {
        return Err(Failure::invalid("model_name: expected the name of a model, got none"));
    }
    Ok(name)
}

/// A future that answers with a message or a failure.
pub(crate) trait Answering<T>: Future<Output = Result<T, Failure>> + Send {}

impl<T, F: Future<Output = Result<T, Failure>> + Send> Answering<T> for F {}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_engine::{EngineError, Family};

    /// Futures are moved as a whole: into their box, and into each that waits for them.
    const FUTURE_BYTES_MAX: usize = 8 << 10;

    #[test]
    fn the_future_of_a_call_is_small() {
        fn size<F>(_: fn(Grpc, Request<Incoming>) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(Grpc::answer);
        assert!(bytes <= FUTURE_BYTES_MAX, "{bytes} bytes, expected at most {FUTURE_BYTES_MAX}");
    }

    #[test]
    fn every_family_has_the_code_of_the_table() {
        let expected = [
            Code::InvalidArgument,
            Code::PermissionDenied,
            Code::NotFound,
            Code::ResourceExhausted,
            Code::FailedPrecondition,
            Code::ResourceExhausted,
            Code::Internal,
            Code::Unavailable,
            Code::DeadlineExceeded,
        ];
        for (family, code) in Family::ALL.into_iter().zip(expected) {
            let status = Failure::from(EngineError::new(family, "some-code", "text")).status();
            assert_eq!(status.code(), code, "{family:?}");
        }
        let trap = Failure::from(EngineError::new(Family::Plugin, "trap", "it trapped")).status();
        assert_eq!(trap.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1");
        let busy = Failure::overloaded("full").status();
        assert_eq!(busy.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    }

    #[test]
    fn timeouts_are_read_as_the_protocol_says() {
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(GRPC_TIMEOUT, text.parse().unwrap())]);
            timeout(&headers).map(Option::unwrap)
        };
        assert_eq!(read("1S").unwrap(), Duration::from_secs(1));
        assert_eq!(read("99999999n").unwrap(), Duration::from_nanos(99_999_999));
        assert_eq!(read("99999999H").unwrap(), Duration::from_secs(3600 * 99_999_999));
        for wrong in ["", "S", "1", "1x", "123456789S", "-1S", "1 S"] {
            assert_eq!(read(wrong).unwrap_err().status, StatusCode::BAD_REQUEST, "{wrong}");
        }
        assert_eq!(timeout(&HeaderMap::new()).unwrap(), None);
    }
}
