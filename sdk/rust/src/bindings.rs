//! Rust types and functions generated from `wit/`.
//!
//! The interfaces that every world may import are generated once and the worlds map to them, so
//! that a tensor is the same type everywhere. Functions that a plugin does not call leave no
//! import in its component. Each world has a Cargo feature of its own, because what a world names in
//! its `use` lines is imported by every component that links it.

#![allow(
    unsafe_code,
    missing_docs,
    unreachable_pub,
    clippy::undocumented_unsafe_blocks,
    clippy::too_many_arguments,
    clippy::too_many_lines,
    reason = "all of it is generated; the canonical ABI passes pointers"
)]

#[cfg(not(target_arch = "wasm32"))]
pub mod native;

#[cfg(target_arch = "wasm32")]
wit_bindgen::generate!({
    path: "../../wit",
    inline: "
        package aimass:sdk;
        world imports {
            import aimass:plugin/types@0.1.0;
            import aimass:plugin/tensor@0.1.0;
            import aimass:plugin/config@0.1.0;
            import aimass:plugin/files@0.1.0;
            import aimass:plugin/media@0.1.0;
            import aimass:plugin/log@0.1.0;
            import aimass:plugin/clock@0.1.0;
            import aimass:plugin/random@0.1.0;
        }
    ",
    world: "aimass:sdk/imports",
    generate_all,
    generate_unused_types: true,
    additional_derives: [PartialEq],
    additional_derives_ignore: ["named-tensor"],
});

/// On any other target than WebAssembly there is no host behind an import: what a stub can answer is in
/// `native`, and the rest is generated and panics when it is called.
#[cfg(not(target_arch = "wasm32"))]
pub mod aimass {
    /// The interfaces of the contract.
    pub mod plugin {
        pub use crate::bindings::generated::aimass::plugin::{media, types};
        pub use crate::bindings::native::{clock, config, files, log, random, tensor};
    }
}

/// Plain data types, and interfaces without a stub.
#[cfg(not(target_arch = "wasm32"))]
pub mod generated {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package aimass:sdk;
            world imports {
                import aimass:plugin/types@0.1.0;
                import aimass:plugin/media@0.1.0;
            }
        ",
        world: "aimass:sdk/imports",
        generate_all,
        generate_unused_types: true,
        additional_derives: [PartialEq],
        with: {
            "aimass:plugin/tensor@0.1.0": crate::bindings::native::tensor,
        },
    });
}

/// The world `processor`.
#[cfg(feature = "processor")]
pub mod processor {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "aimass:plugin/processor",
        pub_export_macro: true,
        export_macro_name: "export_processor_world",
        with: {
            "aimass:plugin/types@0.1.0": crate::bindings::aimass::plugin::types,
            "aimass:plugin/tensor@0.1.0": crate::bindings::aimass::plugin::tensor,
            "aimass:plugin/config@0.1.0": crate::bindings::aimass::plugin::config,
            "aimass:plugin/files@0.1.0": crate::bindings::aimass::plugin::files,
            "aimass:plugin/media@0.1.0": crate::bindings::aimass::plugin::media,
            "aimass:plugin/log@0.1.0": crate::bindings::aimass::plugin::log,
            "aimass:plugin/clock@0.1.0": crate::bindings::aimass::plugin::clock,
            "aimass:plugin/random@0.1.0": crate::bindings::aimass::plugin::random,
        },
    });
}

/// The interface `graph`, which both worlds of formats import.
#[cfg(any(feature = "format", feature = "tracing-format"))]
pub mod graphs {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package aimass:sdk-graphs;
            world imports {
                import aimass:plugin/graph@0.1.0;
            }
        ",
        world: "aimass:sdk-graphs/imports",
        generate_all,
        generate_unused_types: true,
        with: {
            "aimass:plugin/types@0.1.0": crate::bindings::aimass::plugin::types,
            "aimass:plugin/tensor@0.1.0": crate::bindings::aimass::plugin::tensor,
            "aimass:plugin/files@0.1.0": crate::bindings::aimass::plugin::files,
        },
    });
}

/// The world `format`.
#[cfg(feature = "format")]
pub mod format {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "aimass:plugin/format",
        pub_export_macro: true,
        export_macro_name: "export_format_world",
        with: {
            "aimass:plugin/types@0.1.0": crate::bindings::aimass::plugin::types,
            "aimass:plugin/tensor@0.1.0": crate::bindings::aimass::plugin::tensor,
            "aimass:plugin/config@0.1.0": crate::bindings::aimass::plugin::config,
            "aimass:plugin/files@0.1.0": crate::bindings::aimass::plugin::files,
            "aimass:plugin/graph@0.1.0": crate::bindings::graphs::aimass::plugin::graph,
            "aimass:plugin/log@0.1.0": crate::bindings::aimass::plugin::log,
        },
    });
}

/// The world `tracing-format`.
#[cfg(feature = "tracing-format")]
pub mod tracing_format {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "aimass:plugin/tracing-format",
        pub_export_macro: true,
        export_macro_name: "export_tracing_format_world",
        with: {
            "aimass:plugin/types@0.1.0": crate::bindings::aimass::plugin::types,
            "aimass:plugin/tensor@0.1.0": crate::bindings::aimass::plugin::tensor,
            "aimass:plugin/config@0.1.0": crate::bindings::aimass::plugin::config,
            "aimass:plugin/files@0.1.0": crate::bindings::aimass::plugin::files,
            "aimass:plugin/graph@0.1.0": crate::bindings::graphs::aimass::plugin::graph,
            "aimass:plugin/log@0.1.0": crate::bindings::aimass::plugin::log,
        },
    });
}

/// The world `model`.
#[cfg(feature = "model")]
pub mod model {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "aimass:plugin/model",
        pub_export_macro: true,
        export_macro_name: "export_model_world",
        generate_all,
        generate_unused_types: true,
        with: {
            "aimass:plugin/types@0.1.0": crate::bindings::aimass::plugin::types,
            "aimass:plugin/tensor@0.1.0": crate::bindings::aimass::plugin::tensor,
            "aimass:plugin/config@0.1.0": crate::bindings::aimass::plugin::config,
            "aimass:plugin/files@0.1.0": crate::bindings::aimass::plugin::files,
            "aimass:plugin/media@0.1.0": crate::bindings::aimass::plugin::media,
            "aimass:plugin/log@0.1.0": crate::bindings::aimass::plugin::log,
            "aimass:plugin/clock@0.1.0": crate::bindings::aimass::plugin::clock,
            "aimass:plugin/random@0.1.0": crate::bindings::aimass::plugin::random,
        },
    });
}
