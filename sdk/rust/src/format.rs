//! The world `format` as a trait, and the macro that exports it.

use crate::bindings::format::{LoadedModel as ContractModel, NamedPlan};
use crate::config::Config;
use crate::error::Result;
use crate::files::FileInfo;
use crate::graph::Graph;
use crate::signature::Signature;

/// A model format: reads the package's files and builds graphs from them.
pub trait Format: Sized + 'static {
    /// As [`Processor::init`](crate::Processor::init).
    ///
    /// # Errors
    /// Whatever the plugin says.
    fn init(config: Config) -> Result<Self>;

    /// The format's name if these files are of it.
    fn detect(&self, files: &[FileInfo]) -> Option<String>;

    /// Builds the model's graphs.
    ///
    /// # Errors
    /// Whatever the plugin says; it is shown to whoever loads the model.
    fn load(&self, files: &[FileInfo]) -> Result<LoadedModel>;
}

/// What a format plugin makes of a package.
#[derive(Debug)]
pub struct LoadedModel {
    plans: Vec<(String, Graph)>,
    signature: Signature,
}

impl LoadedModel {
    /// A model that is one static graph: its inputs and outputs are the graph's.
    #[must_use]
    pub fn of_graph(graph: Graph) -> Self {
        let signature = graph.signature();
        LoadedModel { plans: vec![("main".to_owned(), graph)], signature }
    }

    /// A model of several graphs, by the names that glue finds them with (at most 64 bytes each).
    #[must_use]
    pub fn of_graphs(graphs: Vec<(String, Graph)>, signature: Signature) -> Self {
        LoadedModel { plans: graphs, signature }
    }
}

impl From<LoadedModel> for ContractModel {
    fn from(model: LoadedModel) -> Self {
        let named = |(name, graph)| NamedPlan { name, graph };
        ContractModel {
            plans: model.plans.into_iter().map(named).collect(),
            signature: model.signature,
        }
    }
}

/// Exports a [`Format`] as this component.
#[macro_export]
macro_rules! export_format {
    ($plugin:ty) => {
        const _: () = {
            use $crate::bindings::format as world;
            struct Component;
            ::std::thread_local! {
                static PLUGIN: $crate::glue::Place<$plugin> = const { $crate::glue::Place::new() };
            }
            impl world::Guest for Component {
                fn init() {
                    let config = $crate::Config::of_this_plugin();
                    let made = <$plugin as $crate::Format>::init(config);
                    PLUGIN.with(|place| $crate::glue::init(place, made));
                }
                fn detect(
                    files: ::std::vec::Vec<$crate::files::FileInfo>,
                ) -> ::std::option::Option<::std::string::String> {
                    PLUGIN.with(|place| {
                        let plugin = $crate::glue::plugin(place).ok()?;
                        <$plugin as $crate::Format>::detect(plugin, &files)
                    })
                }
                fn load(
                    files: ::std::vec::Vec<$crate::files::FileInfo>,
                ) -> $crate::Result<world::LoadedModel> {
                    PLUGIN.with(|place| {
                        let plugin = $crate::glue::plugin(place)?;
                        let model = <$plugin as $crate::Format>::load(plugin, &files)?;
                        Ok(model.into())
                    })
                }
            }
            #[cfg(target_arch = "wasm32")]
    world::export_format_world!(Component with_types_in world);
        };
    };
}
