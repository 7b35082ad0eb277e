//! The body of a call, counted into the memory of all bodies while its message is worked on, and
//! limited in time.

use crate::body::{Bodies, Share};
use crate::failure::Failure;
use crate::flow::Permit;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use tonic::Status;

/// An HTTP/2 body that holds a share of the memory of all bodies.
pub(super) struct MeteredBody {
    body: Incoming,
    share: Arc<Mutex<Share>>,
    bytes: usize,
    wait: Duration,
    /// Runs from the first frame that did not come at once.
    late: Option<Pin<Box<Sleep>>>,
}

/// Gives back the memory that a stream's earlier messages took.
#[derive(Clone)]
pub(super) struct Meter(Arc<Mutex<Share>>);

impl MeteredBody {
    pub(super) fn new(body: Incoming, bodies: &Bodies) -> MeteredBody {
        let share = Arc::new(Mutex::new(bodies.share()));
        MeteredBody { body, share, bytes: 0, wait: bodies.time_max(), late: None }
    }

    /// From now on its bytes are also those of a tenant: of its rate and of its memory.
    ///
    /// # Errors
    /// 429 if the tenant's rate of bytes is used up.
    pub(super) fn charge_to(&self, permit: &Permit) -> Result<(), Failure> {
        permit.take_body(0, std::time::Instant::now())?;
        self.share.lock().unwrap_or_else(PoisonError::into_inner).charge_to(permit.held());
        Ok(())
    }

    /// What the body's share is given back with.
    pub(super) fn meter(&self) -> Meter {
        Meter(self.share.clone())
    }

    /// Lets the body take any time: a stream waits for its client's next message.
    pub(super) fn without_time_limit(mut self) -> MeteredBody {
        self.wait = Duration::MAX;
        self
    }
}

impl Meter {
    /// Makes sure that a message of `bytes`, as it is after decompression, is counted.
    pub(super) fn hold(&self, bytes: usize) -> Result<(), Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hold(bytes)
    }

    /// All that came so far was worked on.
    pub(super) fn settle(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).release();
    }
}

impl Body for MeteredBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            if this.wait == Duration::MAX {
                return Poll::Pending;
            }
            let wait = this.wait;
            let late = this
                .late
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + wait)));
            ready!(late.as_mut().poll(cx));
            let message = format!("the message took more than {} s", wait.as_secs());
            return Poll::Ready(Some(Err(Status::deadline_exceeded(message))));
        };
        let Some(frame) = frame else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(|error| Status::cancelled(error.to_string()));
        if let Ok(frame) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.bytes = this.bytes.saturating_add(data.len());
            let mut share = this.share.lock().unwrap_or_else(PoisonError::into_inner);
            share.charge(data.len());
            if let Err(failure) = share.add(data.len()) {
                return Poll::Ready(Some(Err(failure.status())));
            }
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
