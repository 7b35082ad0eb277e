//! One line: a request in, an answer or an error out.

use super::lines::Text;
use super::turn::{SystemClock, turn};
use crate::body::off_thread;
use crate::failure::Failure;
use crate::flow::Tenant;
use crate::oip::request::{self, ParsedRequest};
use crate::oip::response;
use crate::router::Gateway;
use crate::routes::model_id;
use aimass_engine::{InferRequest, JobRecord};
use aimass_telemetry::call::Call;
use aimass_telemetry::usage::UsageKind;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Attempts at a line that is refused for the moment.
const ATTEMPTS_MAX: u32 = 10;
/// Pause before the second attempt; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How the line of an error starts, and that of no answer.
const ERROR_START: &[u8] = b"{\"error\":";

/// What all lines of a job share.
#[derive(Clone)]
pub(super) struct Line {
    gateway: Arc<Gateway>,
    model: Arc<str>,
    tenant: Arc<Tenant>,
    job: Arc<str>,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    error: ErrorWire<'a>,
}

#[derive(Serialize)]
struct ErrorWire<'a> {
    line: u64,
    code: &'a str,
    message: &'a str,
}

impl Line {
    pub(super) fn new(gateway: &Arc<Gateway>, model: &str, job: &JobRecord) -> Line {
        let (model, job_id) = (Arc::from(model), Arc::from(job.id.as_str()));
        let tenant = gateway.admission.identity().tenant(&job.tenant);
        Line { gateway: gateway.clone(), model, tenant, job: job_id }
    }

    /// The output line of input line `number`, counted from 0.
    pub(super) async fn answer(self, number: u64, text: Text) -> Vec<u8> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            // Records of one line have one name, whatever attempt they are of.
            let call = Call::new(&format!("{}-{}", self.job, number + 1), None);
            match call.scope(self.once(&text)).await {
                Ok(mut answer) => {
                    answer.push(b'\n');
                    return answer;
                }
                Err(failure) if passes(&failure) && attempt < ATTEMPTS_MAX => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
                Err(failure) => return error_line(number, &failure),
            }
        }
        Vec::new()
    }

    async fn once(&self, text: &Text) -> Result<Vec<u8>, Failure> {
        let bytes = text.clone().map_err(Failure::invalid)?;
        let path = model_id(&self.model)?;
        let most = Duration::from_secs(self.gateway.config.request_seconds);
        let flow = self.gateway.admission.flow();
        let permit = turn(flow, &self.tenant, bytes.len(), most, &SystemClock).await;
        let parsed = off_thread(bytes.len(), move || request::parse(&bytes, None)).await?;
        let ParsedRequest { id, inputs, parameters, timeout, mut wanted } = parsed;
        // A line of text has no place for binary data.
        wanted.binary = false;
        wanted.outputs.iter_mut().for_each(|(_, binary)| *binary = None);
        let request = InferRequest {
            model: path.name,
            selector: path.selector,
            inputs,
            outputs: wanted.outputs.iter().map(|(name, _)| name.clone()).collect(),
            parameters,
            tenant: self.tenant.name.clone(),
            deadline: Instant::now() + timeout.unwrap_or(most).min(most),
        };
        let response = self.gateway.infer_as(UsageKind::Batch, request).await?;
        drop(permit);
        let size = response.outputs.iter().map(|(_, tensor)| tensor.byte_len()).sum();
        let writing = move || response::write(&response, id.as_deref(), &wanted);
        Ok(off_thread(size, writing).await?.body)
    }
}

/// Whether another attempt may help.
fn passes(failure: &Failure) -> bool {
    matches!(failure.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS)
}

fn error_line(number: u64, failure: &Failure) -> Vec<u8> {
    let (code, message) = (&*failure.code, &*failure.message);
    let line = ErrorLine { error: ErrorWire { line: number + 1, code, message } };
    let mut bytes = serde_json::to_vec(&line).expect("texts and numbers are JSON");
    bytes.push(b'\n');
    bytes
}

/// Whether an output line says an error.
pub(super) fn is_error(line: &[u8]) -> bool {
    line.starts_with(ERROR_START)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_line_that_can_be_told() {
        let line = error_line(4, &Failure::invalid("a\nb"));
        let text = "{\"error\":{\"line\":5,\"code\":\"invalid-input\",\"message\":\"a\\nb\"}}\n";
        assert_eq!(String::from_utf8(line.clone()).unwrap(), text);
        assert!(is_error(&line) && !is_error(b"{\"model_name\":\"m\"}"));
        assert!(passes(&Failure::overloaded("x")) && !passes(&Failure::invalid("x")));
    }
}
