//! The suites of the sandbox once more, with every plugin in a worker process. `support` knows this
//! program by its name.
#![allow(clippy::duplicate_mod, reason = "each suite brings its own `support`")]

#[path = "abuse.rs"]
mod abuse;
#[path = "calls.rs"]
mod calls;
#[path = "hostile_guests.rs"]
mod hostile_guests;
