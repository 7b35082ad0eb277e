//! ONNX models through the engine, as a client meets them: signed, published, asked, removed.
//!
//! Cases come from outside: the node tests of the `onnx` package, real models and other graphs with
//! ONNX Runtime's answers. The scripts in `python/` write them into the cache; `cargo xtask fetch`
//! runs those. Nothing here knows an operator.

mod case;
mod compare;
mod docs;
mod prepared;
mod report;
mod runner;
mod site;

pub use case::{Case, Step, Suite, Test};
pub use compare::{Tolerance, compare};
pub use docs::{documented_failures, operators_page};
pub use prepared::{operators_page_text, prepared};
pub use report::{Group, Outcome, Report, Verdict};
pub use runner::{Plan, run, sample};
pub use site::{Site, TestModel};
