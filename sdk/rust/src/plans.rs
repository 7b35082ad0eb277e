//! Running the compiled plans of the model that a `model` plugin belongs to. Needs the grant `plans`.

pub use crate::bindings::model::aimass::plugin::plans::{Plan, Slot, get, open_slot};
