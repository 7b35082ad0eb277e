//! The worlds that answer requests as traits, and the macros that export them.
//!
//! `init` runs once for a (component, configuration). The memory that it leaves becomes an image, and every
//! call gets a fresh instance that starts with it: what one call changes, no other call sees.
//! Handles (tensors, files) do not survive `init` and must not be kept.

use crate::call::{Inputs, NamedTensor, Outputs, Parameter, Parameters};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::signature::Signature;

/// Pre- or postprocessing: named tensors in, named tensors out.
///
/// ```
/// use aimass_sdk::prelude::*;
///
/// struct Shout;
///
/// impl Processor for Shout {
///     fn init(_config: Config) -> Result<Self> {
///         Ok(Shout)
///     }
///
///     fn describe(&self) -> Signature {
///         Signature::new()
///             .input(TensorSpec::new("text", DType::Bytes, [Dim::Batch]))
///             .output(TensorSpec::new("loud", DType::Bytes, [Dim::Batch]))
///     }
///
///     fn process(&self, inputs: Inputs, _parameters: &Parameters) -> Result<Outputs> {
///         let text = inputs.get("text")?;
///         let strings = text.as_strings()?;
///         let loud = strings.texts("text").map(|text| text.map(str::to_uppercase));
///         let loud = loud.collect::<Result<Vec<_>>>()?;
///         Ok(Outputs::new().with("loud", Tensor::strings(&text.shape(), loud)?))
///     }
/// }
///
/// aimass_sdk::export_processor!(Shout);
/// ```
pub trait Processor: Sized + 'static {
    /// Makes the plugin from its configuration and its files. An error refuses the load and is shown
    /// to whoever loads the model.
    ///
    /// # Errors
    /// Whatever the plugin says.
    fn init(config: Config) -> Result<Self>;

    /// Inputs and outputs, as configured.
    fn describe(&self) -> Signature;

    /// Answers one request.
    ///
    /// # Errors
    /// Whatever the plugin says; only [`Error::input`] is the client's fault.
    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs>;
}

/// Glue that calls plans and other models, streams answers, or keeps state in slots.
pub trait Model: Sized + 'static {
    /// As [`Processor::init`].
    ///
    /// # Errors
    /// Whatever the plugin says.
    fn init(config: Config) -> Result<Self>;

    /// As [`Processor::describe`].
    fn describe(&self) -> Signature;

    /// As [`Processor::process`]; what was sent with `emit` before comes first.
    ///
    /// # Errors
    /// Whatever the plugin says; only [`Error::input`] is the client's fault.
    fn process(&self, inputs: Inputs, parameters: &Parameters) -> Result<Outputs>;
}

/// What the export macros expand to.
#[doc(hidden)]
pub mod glue {
    use super::*;
    use std::cell::OnceCell;

    #[cfg(feature = "tracing-format")]
    pub use crate::tracing_format::glue as tracing;

    /// Where the plugin lives after `init`.
    pub type Place<T> = OnceCell<T>;

    /// Heap that `init` leaves free in the image. Memory that a call has to grow is taken away again
    /// after it, and both change the process's memory map, which all threads wait for; memory that is
    /// free in the image costs nothing until it is touched.
    const HEAP_RESERVE_BYTES: usize = 256 << 10;

    /// Stores what `init` made, or tells the host why there is nothing.
    #[inline(always)]
    pub fn init<T>(place: &Place<T>, made: Result<T>) {
        match made {
            Ok(plugin) => {
                let _ = place.set(plugin);
                reserve_heap();
            }
            Err(reason) => Config::reject(&reason),
        }
    }

    /// Grows the heap by allocating and freeing; the allocator keeps what it got. Where the memory
    /// limit leaves no room, calls go without.
    fn reserve_heap() {
        let mut reserve = Vec::<u8>::new();
        let _ = reserve.try_reserve_exact(HEAP_RESERVE_BYTES);
        drop(std::hint::black_box(reserve));
    }

    /// The plugin, or the error that the host called out of order.
    pub fn plugin<T>(place: &Place<T>) -> Result<&T> {
        let absent = || Error::internal("not-initialized", "the host did not call init first");
        place.get().ok_or_else(absent)
    }

    /// Answers one request.
    #[inline(always)]
    pub fn process(
        inputs: Vec<NamedTensor>,
        parameters: Vec<(String, Parameter)>,
        answer: impl FnOnce(Inputs, &Parameters) -> Result<Outputs>,
    ) -> Result<Vec<NamedTensor>> {
        answer(inputs.into(), &parameters.into()).map(Into::into)
    }
}

/// Exports a [`Processor`] as this component.
#[macro_export]
macro_rules! export_processor {
    ($plugin:ty) => {
        $crate::__export_call_world!($plugin, Processor, processor, export_processor_world);
    };
}

/// Exports a [`Model`] as this component.
#[macro_export]
macro_rules! export_model {
    ($plugin:ty) => {
        $crate::__export_call_world!($plugin, Model, model, export_model_world);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export_call_world {
    ($plugin:ty, $trait:ident, $world:ident, $export:ident) => {
        const _: () = {
            use $crate::bindings::$world as world;
            struct Component;
            ::std::thread_local! {
                static PLUGIN: $crate::glue::Place<$plugin> = const { $crate::glue::Place::new() };
            }
            impl world::Guest for Component {
                fn init() {
                    let config = $crate::Config::of_this_plugin();
                    let made = <$plugin as $crate::$trait>::init(config);
                    PLUGIN.with(|place| $crate::glue::init(place, made));
                }
                fn describe() -> $crate::Signature {
                    PLUGIN.with(|place| match $crate::glue::plugin(place) {
                        Ok(plugin) => <$plugin as $crate::$trait>::describe(plugin),
                        Err(_) => $crate::Signature::new(),
                    })
                }
                fn process(
                    inputs: ::std::vec::Vec<$crate::NamedTensor>,
                    parameters: ::std::vec::Vec<(::std::string::String, $crate::Parameter)>,
                ) -> $crate::Result<::std::vec::Vec<$crate::NamedTensor>> {
                    PLUGIN.with(|place| {
                        let plugin = $crate::glue::plugin(place)?;
                        $crate::glue::process(inputs, parameters, |inputs, parameters| {
                            <$plugin as $crate::$trait>::process(plugin, inputs, parameters)
                        })
                    })
                }
            }
            #[cfg(target_arch = "wasm32")]
    world::$export!(Component with_types_in world);
        };

        /// What `aimass plugin bench` calls in a native build.
        #[cfg(not(target_arch = "wasm32"))]
        #[doc(hidden)]
        #[allow(dead_code, unreachable_pub, missing_docs)]
        pub fn __aimass_native_bench() {
            $crate::testing::bench::<$plugin>(
                <$plugin as $crate::$trait>::init,
                <$plugin as $crate::$trait>::process,
            );
        }
    };
}
