//! An inference that answers in parts: the task that runs it, and the end that a route reads.
//!
//! The record of a stream is written before its last part leaves. Dropping [`Answers`] tells the plugin
//! that its client went away, and soon ends it.

use crate::admission::Admitted;
use crate::failure::Failure;
use crate::identity::access::Infer;
use crate::router::{DEADLINE_GRACE, Gateway};
use crate::telemetry::Metered;
use aimass_engine::{
    EngineError, Family, InferRequest, InferResponse, ItemReceiver, ItemSender, StreamItem,
    stream_items,
};
use aimass_telemetry::usage::UsageKind;
use axum::http::StatusCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long a plugin whose client went away may take to notice.
const CANCEL_GRACE: Duration = Duration::from_millis(100);

/// One part of an answer.
pub(crate) enum Part {
    /// One of several, with more to come.
    Item(StreamItem),
    /// The last one; without outputs if the items said all.
    Last(InferResponse),
}

/// The parts of one answer, in order.
pub(crate) struct Answers {
    items: ItemReceiver,
    end: Option<JoinHandle<Result<InferResponse, Failure>>>,
    /// Time that each part may take.
    window: Duration,
    /// Room at the door, until the last part was read.
    _admitted: Admitted<Infer>,
    /// Dropped with the rest: what the task waits for.
    _alive: oneshot::Sender<()>,
}

impl Gateway {
    /// Runs one inference whose plugins may answer in parts.
    ///
    /// # Errors
    /// 503 if there is no room for its record. All else comes as a part.
    pub(crate) fn infer_stream(
        self: &Arc<Gateway>,
        admitted: Admitted<Infer>,
        request: InferRequest,
    ) -> Result<Answers, Failure> {
        let (sender, items) = stream_items();
        let (alive, gone) = oneshot::channel();
        let window = request.deadline.saturating_duration_since(Instant::now());
        let metered = self.telemetry.begin(&request, UsageKind::Infer)?.in_parts(sender.bytes());
        let running = self.clone().run_stream(request, sender, metered, gone);
        let end = Some(tokio::spawn(running));
        Ok(Answers { items, end, window, _admitted: admitted, _alive: alive })
    }

    async fn run_stream(
        self: Arc<Gateway>,
        request: InferRequest,
        items: ItemSender,
        metered: Metered,
        mut gone: oneshot::Receiver<()>,
    ) -> Result<InferResponse, Failure> {
        let call = match self.admission.flow().call(&*self.engine, &request) {
            Ok(call) => call,
            Err(failure) => {
                metered.never_ran();
                return Err(failure);
            }
        };
        let running = metered.call().clone().scope(self.engine.infer_stream(request, items));
        let cancelled = async {
            // Nothing is ever sent: it resolves when the reader is dropped.
            let _ = (&mut gone).await;
            tokio::time::sleep(CANCEL_GRACE).await;
        };
        let result = tokio::select! {
            biased;
            result = running => Some(result),
            () = cancelled => None,
        };
        // Nobody is told; the record says `cancelled`.
        let is_gone = matches!(gone.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        let Some(result) = result.filter(|result| result.is_ok() || !is_gone) else {
            return Err(client_gone());
        };
        call.ended(&result);
        metered.end(&result).await?;
        Ok(result?)
    }
}

impl Answers {
    /// Whether the last part, or an error, was read.
    pub(crate) fn ended(&self) -> bool {
        self.end.is_none()
    }

    /// The next part; `None` behind the last one or an error.
    pub(crate) async fn next(&mut self) -> Option<Result<Part, Failure>> {
        let end = self.end.as_mut()?;
        let part = async {
            match self.items.next().await {
                Some(item) => Ok(Part::Item(item)),
                None => match end.await {
                    Ok(answer) => answer.map(Part::Last),
                    Err(panic) => Err(Failure::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "stream-panic",
                        panic.to_string(),
                    )),
                },
            }
        };
        let late = tokio::time::timeout(self.window.saturating_add(DEADLINE_GRACE), part).await;
        let part = late.unwrap_or_else(|_| {
            let message = "the deadline passed before there was an answer";
            Err(EngineError::new(Family::Deadline, "deadline", message).into())
        });
        if !matches!(part, Ok(Part::Item(_))) {
            self.end = None;
        }
        Some(part)
    }
}

fn client_gone() -> Failure {
    Failure::new(StatusCode::REQUEST_TIMEOUT, "cancelled", "the client went away")
}
