//! Watching plan calls come in, for tools that measure a model.

use crate::PlanCall;
use std::fmt;

/// Sees every plan call as it comes in, from whatever step or plugin, before it waits or runs.
///
/// It is called by the task that makes the call and must not block. A server has none.
pub trait CallObserver: fmt::Debug + Send + Sync {
    /// A call whose inputs fit its plan.
    fn called(&self, call: &PlanCall);
}
