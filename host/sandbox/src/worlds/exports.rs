//! The functions that the worlds export, found and typed once, at load.

use super::bindings::tensor::NamedTensor;
use super::bindings::types::{Dtype, Error, Parameter, Signature};
use crate::host_api::graph::GraphHandle;
use crate::host_api::tensor::TensorHandle;
use crate::package::World;
use std::marker::PhantomData;
use std::sync::Arc;
use wasmtime::Store;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, ComponentType, Instance, Lift, Lower,
    Resource, TypedFunc,
};

/// What `describe` answers.
pub(crate) type Described = (Signature,);
/// What `process` takes.
pub(crate) type ProcessArguments = (Vec<NamedInput>, Vec<(String, Parameter)>);
/// What `process` answers.
pub(crate) type Processed = (Result<Vec<NamedTensor>, Error>,);
/// What `detect` and `load` take.
pub(crate) type Files = (Vec<super::bindings::files::FileInfo>,);
/// What `detect` answers.
pub(crate) type Detected = (Option<String>,);
/// What `load` answers.
pub(crate) type Loaded = (Result<LoadedModel, Error>,);

/// What `load` of the world `tracing-format` answers.
pub(crate) type LoadedSignature = (Result<Signature, Error>,);
/// What `trace` takes.
pub(crate) type TraceArguments = (Vec<super::bindings::files::FileInfo>, Vec<TracedInput>);
/// What `resume` takes.
pub(crate) type ResumeArguments = (Vec<NamedInput>,);
/// What `trace` and `resume` answer.
pub(crate) type Staged = (Result<Stage, Error>,);

/// An input on its way to the guest: `tensor.named-tensor`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct NamedInput {
    pub(crate) name: Arc<str>,
    pub(crate) value: Resource<TensorHandle>,
}

/// `format.named-plan`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct NamedPlan {
    pub(crate) name: String,
    pub(crate) graph: Resource<GraphHandle>,
}

/// `format.loaded-model`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct LoadedModel {
    pub(crate) plans: Vec<NamedPlan>,
    pub(crate) signature: Signature,
}

/// `tracing-format.traced-input`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct TracedInput {
    pub(crate) name: Arc<str>,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
}

/// `tracing-format.stage`.
#[derive(ComponentType, Lift)]
#[component(record)]
pub(crate) struct Stage {
    pub(crate) graph: Option<Resource<GraphHandle>>,
    pub(crate) known: Vec<NamedTensor>,
    pub(crate) observe: Vec<String>,
    pub(crate) batched: bool,
    pub(crate) reusable: bool,
    #[component(name = "blocked-by")]
    pub(crate) blocked_by: Option<String>,
}

/// A function of a component: its place, and the types that the world gives it.
pub(crate) struct Export<A, R> {
    index: ComponentExportIndex,
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> Export<A, R>
where
    A: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift + 'static,
{
    fn find(component: &Component, name: &'static str) -> Result<Export<A, R>, &'static str> {
        let index = component.get_export_index(None, name).ok_or(name)?;
        Ok(Export { index, types: PhantomData })
    }

    /// Compares the function's types with the world's. Once for a component is enough.
    ///
    /// # Errors
    /// wasmtime's, naming the first difference.
    pub(crate) fn check<T: 'static>(
        &self,
        store: &mut Store<T>,
        instance: &Instance,
    ) -> wasmtime::Result<()> {
        instance.get_typed_func::<A, R>(store, self.index).map(|_| ())
    }

    /// The function in an instance of the component.
    ///
    /// # Safety
    /// [`Export::check`] has been passed by an instance of the same component.
    ///
    /// # Errors
    /// If the instance is of another component.
    #[expect(unsafe_code, reason = "types are compared once a component, not once a call")]
    pub(crate) unsafe fn of<T: 'static>(
        &self,
        store: &mut Store<T>,
        instance: &Instance,
    ) -> wasmtime::Result<TypedFunc<A, R>> {
        let function = instance.get_func(store, self.index);
        let function = function.ok_or_else(|| {
            wasmtime::Error::msg("expected an instance of the component that has this export")
        })?;
        // SAFETY: promised by the caller.
        Ok(unsafe { TypedFunc::new_unchecked(function) })
    }
}

/// The functions of a component's world.
pub(crate) enum Exports {
    /// Worlds `processor` and `model`.
    Process { describe: Export<(), Described>, process: Export<ProcessArguments, Processed> },
    /// World `format`.
    Format { detect: Export<Files, Detected>, load: Export<Files, Loaded> },
    /// World `tracing-format`.
    Tracing {
        detect: Export<Files, Detected>,
        load: Export<Files, LoadedSignature>,
        trace: Export<TraceArguments, Staged>,
        resume: Export<ResumeArguments, Staged>,
    },
}

impl Exports {
    /// Finds the exports; the name of the first that is missing otherwise.
    pub(crate) fn of(component: &Component, world: World) -> Result<Exports, &'static str> {
        Ok(match world {
            World::Processor | World::Model => Exports::Process {
                describe: Export::find(component, "describe")?,
                process: Export::find(component, "process")?,
            },
            World::Format => Exports::Format {
                detect: Export::find(component, "detect")?,
                load: Export::find(component, "load")?,
            },
            World::TracingFormat => Exports::Tracing {
                detect: Export::find(component, "detect")?,
                load: Export::find(component, "load")?,
                trace: Export::find(component, "trace")?,
                resume: Export::find(component, "resume")?,
            },
        })
    }

    /// [`Export::check`] of all.
    ///
    /// # Errors
    /// wasmtime's, for the first that differs.
    pub(crate) fn check<T: 'static>(
        &self,
        store: &mut Store<T>,
        instance: &Instance,
    ) -> wasmtime::Result<()> {
        match self {
            Exports::Process { describe, process } => {
                describe.check(store, instance)?;
                process.check(store, instance)
            }
            Exports::Format { detect, load } => {
                detect.check(store, instance)?;
                load.check(store, instance)
            }
            Exports::Tracing { detect, load, trace, resume } => {
                detect.check(store, instance)?;
                load.check(store, instance)?;
                trace.check(store, instance)?;
                resume.check(store, instance)
            }
        }
    }
}
