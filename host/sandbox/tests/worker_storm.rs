//! The storm of hostile components once more, with every plugin in a worker process. `support` knows this
//! program by its name.

#[path = "storm.rs"]
mod storm;
