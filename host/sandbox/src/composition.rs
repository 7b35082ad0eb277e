//! What a call can reach beyond its own plugin: other models ([`ModelCaller`]), and the client that
//! reads what it emits ([`ItemSink`]).
//!
//! The sandbox knows no registry and no protocol. Who makes a [`Call`](crate::Call) passes objects that
//! already know whose call it is; a call without them reaches nothing.

use crate::BoxFuture;
use crate::error::GuestError;
use crate::plugin::Parameter;
use crate::signature::{NamedTensors, PluginSignature};
use crate::state::Charge;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a call may reach beyond its own plugin. The default is nothing.
#[derive(Clone, Default)]
pub struct Composition {
    /// Other models; `None` refuses each with `forbidden/model`.
    pub models: Option<Arc<dyn ModelCaller>>,
    /// The client that reads a stream; `None` where a request takes one answer.
    pub items: Option<Arc<dyn ItemSink>>,
}

/// A call of another model by a guest.
#[derive(Debug, Clone)]
pub struct ModelCall {
    /// `name`, `name@label` or `name@version`, as the guest wrote it; at most 128 bytes.
    pub model: String,
    /// Inputs by name, at most 64.
    pub inputs: NamedTensors,
    /// Parameters by name, at most 64.
    pub parameters: Vec<(String, Parameter)>,
    /// When the answer is worth nothing any more: the caller's own deadline.
    pub deadline: Instant,
}

/// The answer of [`ModelCaller::call`], later: outputs by name, or what the guest is told.
pub type ModelAnswer<'a> = BoxFuture<'a, Result<NamedTensors, GuestError>>;

/// Runs other models for one call, on behalf of its tenant.
pub trait ModelCaller: Send + Sync {
    /// Runs a model. Dropping the future cancels it.
    fn call(&self, call: ModelCall) -> ModelAnswer<'_>;
}

/// One item of a stream. What it holds of its call's host memory is given back when it is dropped.
pub struct EmittedItem {
    /// Outputs by name: some or all of those that the plugin described.
    pub outputs: NamedTensors,
    /// What keeps its memory charged to the call.
    pub held: ItemHeld,
}

/// The share of its call's host memory that an item holds until it was sent.
#[derive(Clone, Default)]
pub struct ItemHeld {
    _charges: Vec<Arc<Charge>>,
}

impl ItemHeld {
    pub(crate) fn new(charges: Vec<Arc<Charge>>) -> ItemHeld {
        ItemHeld { _charges: charges }
    }
}

/// The client that reads a stream went away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client went away")]
pub struct SinkGone;

/// Where the items of one call go.
pub trait ItemSink: Send + Sync {
    /// Sends an item; waits while as many as the sink holds are not read yet.
    fn send(&self, item: EmittedItem) -> BoxFuture<'_, Result<(), SinkGone>>;
}

/// What a store knows of the outside.
#[derive(Default)]
pub(crate) struct Outside {
    pub(crate) composition: Composition,
    /// What items are held against.
    pub(crate) outputs: Arc<PluginSignature>,
    /// Time that each item gives the call anew.
    pub(crate) window: Duration,
    /// When the call ends whatever it emits; `None` for calls that cannot emit.
    pub(crate) deadline_max: Option<Instant>,
    /// Items so far.
    pub(crate) emitted: u64,
}

impl Outside {
    /// Counts an item that was sent at `now`; the deadline that the call has from then on.
    pub(crate) fn item_sent(&mut self, deadline: Instant, now: Instant) -> Instant {
        self.emitted += 1;
        self.renewed(deadline, now)
    }

    /// The deadline after an item at `now`, where it was `deadline` before. Never earlier.
    fn renewed(&self, deadline: Instant, now: Instant) -> Instant {
        let renewed = self.deadline_max.map(|most| (now + self.window).min(most));
        renewed.map_or(deadline, |renewed| renewed.max(deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_renews_the_deadline_up_to_the_total_and_never_shortens_it() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let outside = Outside {
            window: second,
            deadline_max: Some(start + 3 * second),
            ..Outside::default()
        };
        let first = start + second;
        assert_eq!(outside.renewed(first, start + second / 2), start + second * 3 / 2);
        assert_eq!(outside.renewed(first, start + second * 5 / 2), start + 3 * second);
        assert_eq!(outside.renewed(first, start), first);
        assert_eq!(Outside::default().renewed(first, start + 9 * second), first);
    }
}
