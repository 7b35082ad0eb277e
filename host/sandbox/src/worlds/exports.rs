//! The functions that the worlds export, found once at load and typed at each call.

use super::bindings::tensor::NamedTensor;
use super::bindings::types::{Error, Parameter, Signature};
use crate::host_api::graph::GraphHandle;
use crate::host_api::tensor::TensorHandle;
use crate::package::World;
use std::sync::Arc;
use wasmtime::component::{Component, ComponentExportIndex, ComponentType, Lift, Lower, Resource};

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

/// Where a component keeps the functions of its world.
#[derive(Clone, Copy)]
pub(crate) enum Exports {
    /// Worlds `processor` and `model`.
    Process { describe: ComponentExportIndex, process: ComponentExportIndex },
    /// World `format`.
    Format { detect: ComponentExportIndex, load: ComponentExportIndex },
}

impl Exports {
    /// Finds the exports; the name of the first that is missing otherwise.
    pub(crate) fn of(component: &Component, world: World) -> Result<Exports, &'static str> {
        let find = |name: &'static str| component.get_export_index(None, name).ok_or(name);
        Ok(match world {
            World::Processor | World::Model => {
                Exports::Process { describe: find("describe")?, process: find("process")? }
            }
            World::Format => Exports::Format { detect: find("detect")?, load: find("load")? },
        })
    }
}
