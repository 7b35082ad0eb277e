//! The world `tracing-format` as a trait, and the macro that exports it.

pub use crate::bindings::tracing_format::TracedInput;

use crate::bindings::tracing_format::Stage as ContractStage;
use crate::call::{NamedTensor, NamedTensors};
use crate::config::Config;
use crate::error::Result;
use crate::files::FileInfo;
use crate::graph::Graph;
use crate::signature::Signature;
use crate::tensor::Tensor;

/// A model format whose graphs depend on the extents, or on the content, of some inputs.
///
/// The host tells the shapes of a call; the plugin answers stages of which every extent is known.
/// Stages are kept by shapes and by what was observed, so that a plugin runs only for combinations
/// that are new; in later calls a kept path may be asked for again, with the same answers.
pub trait TracingFormat: Sized + 'static {
    /// What lives in the instance from one stage of a trace to the next.
    type Trace: 'static;

    /// As [`Processor::init`](crate::Processor::init).
    ///
    /// # Errors
    /// Whatever the plugin says.
    fn init(config: Config) -> Result<Self>;

    /// The format's name if these files are of it.
    fn detect(&self, files: &[FileInfo]) -> Option<String>;

    /// Inputs and outputs of the model, with dtypes.
    ///
    /// # Errors
    /// Whatever the plugin says; it is shown to whoever loads the model.
    fn load(&self, files: &[FileInfo]) -> Result<Signature>;

    /// Starts a trace for inputs of these shapes, given in the order of the signature.
    ///
    /// # Errors
    /// Whatever the plugin says; only those of the family `input` are the caller's fault.
    fn trace(&self, files: &[FileInfo], inputs: &[TracedInput]) -> Result<(Self::Trace, Stage)>;

    /// Goes on after the last stage with what it asked to observe, in its order.
    ///
    /// # Errors
    /// As [`TracingFormat::trace`]; a trace ends with its first error.
    fn resume(&self, trace: &mut Self::Trace, observed: NamedTensors) -> Result<Stage>;
}

/// A part of a trace. The values of a call are its inputs, by the names of the signature, and what
/// stages add to them; a name is given once.
#[derive(Debug, Default)]
pub struct Stage {
    /// What runs now. Its inputs are values that exist, its outputs join them.
    pub graph: Option<Graph>,
    /// Values that the plugin knows by itself; they join the values before the graph runs.
    pub known: Vec<(String, Tensor)>,
    /// Values that `resume` gets next, at most 64. None: this is the last stage, and the values
    /// hold all outputs of the model.
    pub observe: Vec<String>,
    /// Whether the whole trace serves any extent of every `batch` dimension of the signature. The
    /// same in every stage; its graphs have `batch` dimensions then.
    pub batched: bool,
    /// Whether the stage answers later calls of the same shapes and observed content, too; if not,
    /// the host asks again every time.
    pub reusable: bool,
    /// For people: what keeps the trace from being batched, as the node and what it does across rows; at
    /// most 1,024 bytes.
    pub blocked_by: Option<String>,
}

impl From<Stage> for ContractStage {
    fn from(stage: Stage) -> Self {
        let known = stage.known.into_iter().map(|(name, value)| NamedTensor { name, value });
        ContractStage {
            graph: stage.graph,
            known: known.collect(),
            observe: stage.observe,
            batched: stage.batched,
            reusable: stage.reusable,
            blocked_by: stage.blocked_by,
        }
    }
}

/// What [`export_tracing_format!`](crate::export_tracing_format) expands to.
#[doc(hidden)]
pub mod glue {
    use super::*;
    use crate::error::Error;
    use std::cell::RefCell;

    /// Where the trace lives between two calls of this instance.
    pub type TracePlace<T> = RefCell<Option<T>>;

    /// Starts a trace; one that was under way is dropped.
    pub fn start<T>(place: &TracePlace<T>, started: Result<(T, Stage)>) -> Result<ContractStage> {
        *place.borrow_mut() = None;
        let (trace, stage) = started?;
        if !stage.observe.is_empty() {
            *place.borrow_mut() = Some(trace);
        }
        Ok(stage.into())
    }

    /// Goes on with the trace that [`start`] left; it stays if the answer asks to observe more.
    pub fn go_on<T>(
        place: &TracePlace<T>,
        answer: impl FnOnce(&mut T) -> Result<Stage>,
    ) -> Result<ContractStage> {
        let absent =
            || Error::internal("no-trace", "the host called resume, but no trace is under way");
        let mut trace = place.borrow_mut().take().ok_or_else(absent)?;
        let stage = answer(&mut trace)?;
        if !stage.observe.is_empty() {
            *place.borrow_mut() = Some(trace);
        }
        Ok(stage.into())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn observing(name: &str) -> Stage {
            Stage { observe: vec![name.to_owned()], ..Stage::default() }
        }

        #[test]
        fn a_trace_lives_until_its_last_stage() {
            let place = TracePlace::<u32>::default();
            let orphan = go_on(&place, |_| Ok(Stage::default())).unwrap_err();
            assert_eq!(orphan.code, "no-trace");
            start(&place, Ok((1, observing("a")))).unwrap();
            let grown = |trace: &mut u32| {
                *trace += 1;
                Ok(if *trace == 2 { observing("b") } else { Stage::default() })
            };
            assert_eq!(go_on(&place, grown).unwrap().observe, ["b"]);
            assert!(go_on(&place, grown).unwrap().observe.is_empty());
            assert_eq!(go_on(&place, grown).unwrap_err().code, "no-trace");
        }

        #[test]
        fn an_error_ends_the_trace() {
            let place = TracePlace::<u32>::default();
            start(&place, Ok((1, observing("a")))).unwrap();
            go_on(&place, |_| Err(Error::input("x", "y"))).unwrap_err();
            assert_eq!(go_on(&place, |_| Ok(Stage::default())).unwrap_err().code, "no-trace");
            start(&place, Ok((1, observing("a")))).unwrap();
            start(&place, Err(Error::input("x", "y"))).unwrap_err();
            assert!(place.borrow().is_none());
        }
    }
}

/// Exports a [`TracingFormat`] as this component.
#[macro_export]
macro_rules! export_tracing_format {
    ($plugin:ty) => {
        const _: () = {
            use $crate::TracingFormat;
            use $crate::bindings::tracing_format as world;
            use $crate::glue::tracing;
            struct Component;
            ::std::thread_local! {
                static PLUGIN: $crate::glue::Place<$plugin> = const { $crate::glue::Place::new() };
                static TRACE: tracing::TracePlace<<$plugin as TracingFormat>::Trace> =
                    const { tracing::TracePlace::new(::std::option::Option::None) };
            }
            impl world::Guest for Component {
                fn init() {
                    let config = $crate::Config::of_this_plugin();
                    let made = <$plugin as TracingFormat>::init(config);
                    PLUGIN.with(|place| $crate::glue::init(place, made));
                }
                fn detect(
                    files: ::std::vec::Vec<$crate::files::FileInfo>,
                ) -> ::std::option::Option<::std::string::String> {
                    PLUGIN.with(|place| {
                        let plugin = $crate::glue::plugin(place).ok()?;
                        <$plugin as TracingFormat>::detect(plugin, &files)
                    })
                }
                fn load(
                    files: ::std::vec::Vec<$crate::files::FileInfo>,
                ) -> $crate::Result<$crate::Signature> {
                    PLUGIN.with(|place| {
                        let plugin = $crate::glue::plugin(place)?;
                        <$plugin as TracingFormat>::load(plugin, &files)
                    })
                }
                fn trace(
                    files: ::std::vec::Vec<$crate::files::FileInfo>,
                    inputs: ::std::vec::Vec<$crate::TracedInput>,
                ) -> $crate::Result<world::Stage> {
                    PLUGIN.with(|place| {
                        let plugin = $crate::glue::plugin(place)?;
                        let started = <$plugin as TracingFormat>::trace(plugin, &files, &inputs);
                        TRACE.with(|trace| tracing::start(trace, started))
                    })
                }
                fn resume(
                    observed: ::std::vec::Vec<$crate::NamedTensor>,
                ) -> $crate::Result<world::Stage> {
                    PLUGIN.with(|place| {
                        let plugin = $crate::glue::plugin(place)?;
                        TRACE.with(|trace| {
                            tracing::go_on(trace, |trace| {
                                <$plugin as TracingFormat>::resume(plugin, trace, observed.into())
                            })
                        })
                    })
                }
            }
            #[cfg(target_arch = "wasm32")]
    world::export_tracing_format_world!(Component with_types_in world);
        };
    };
}
