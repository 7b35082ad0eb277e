//! Building graphs in a `format` or `tracing-format` plugin.
//!
//! Every op is a method of [`Builder`] and answers the [`Value`] it makes; the host checks dtype
//! and shape at once. A value is valid only in the builder that made it. What is added here to the
//! contract's own methods only saves bytes and lines.

pub use crate::bindings::graphs::aimass::plugin::graph::{
    AttentionOptions, Builder, GeluForm, Graph, PadMode, Recurrence, Region, ResizeMode,
    ScatterMode, StateInit, Value, Window,
};

use crate::dtype::Element;
use crate::error::Result;

impl Builder {
    /// A small constant (at most 1 MiB) of `shape` with these elements, row-major.
    ///
    /// # Errors
    /// `limit/constant-bytes`; `input/byte-count` if `shape` takes another number of elements.
    pub fn constant_of<T: Element>(&self, shape: &[u64], data: &[T]) -> Result<Value> {
        self.constant(T::DTYPE, shape, bytemuck::cast_slice(data))
    }

    /// Ends construction.
    ///
    /// # Errors
    /// `input/no-output`, `input/open-region`.
    pub fn build(self) -> Result<Graph> {
        Builder::finish(self)
    }
}

impl AttentionOptions {
    /// Attention of every token to every token of its sequence, with as many key heads as query
    /// heads and the usual scale `1 / √(head size)`.
    #[must_use]
    pub fn full(heads: u32) -> Self {
        AttentionOptions { heads, kv_heads: heads, scale: None, causal: false, window: None }
    }
}
