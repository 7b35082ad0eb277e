//! Types and host traits generated from `wit/`, for every interface that a plugin can be granted.
//!
//! One world imports them all, so that each WIT type has one Rust type; which interfaces a plugin
//! really reaches is decided by its grants (`host_api/mod.rs`). The hot functions of `tensor` and
//! `files` are bound by hand there; their generated traits stay unused.
#![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]

wasmtime::component::bindgen!({
    path: "../../wit",
    inline: "
        package aimass:host;
        world host {
            import aimass:plugin/types@0.1.0;
            import aimass:plugin/tensor@0.1.0;
            import aimass:plugin/config@0.1.0;
            import aimass:plugin/files@0.1.0;
            import aimass:plugin/graph@0.1.0;
            import aimass:plugin/plans@0.1.0;
            import aimass:plugin/models@0.1.0;
            import aimass:plugin/media@0.1.0;
            import aimass:plugin/emit@0.1.0;
            import aimass:plugin/log@0.1.0;
            import aimass:plugin/clock@0.1.0;
            import aimass:plugin/random@0.1.0;
        }
    ",
    world: "aimass:host/host",
    imports: {
        "aimass:plugin/plans.[method]plan.run": async | trappable,
        "aimass:plugin/models.infer": async | trappable,
        "aimass:plugin/emit.emit": async | trappable,
        default: trappable,
    },
    with: {
        "aimass:plugin/tensor.tensor": crate::host_api::tensor::TensorHandle,
        "aimass:plugin/files.file": crate::host_api::files::FileHandle,
        "aimass:plugin/graph.builder": crate::host_api::graph::BuilderHandle,
        "aimass:plugin/graph.graph": crate::host_api::graph::GraphHandle,
        "aimass:plugin/plans.plan": crate::host_api::plans::PlanHandle,
        "aimass:plugin/plans.slot": crate::host_api::plans::SlotHandle,
    },
    trappable_error_type: {
        "aimass:plugin/types.error" => crate::host_api::HostError,
    },
});

pub use self::aimass::plugin::*;
