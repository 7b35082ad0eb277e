//! Shared memory regions: refused by design.

use crate::failure::Failure;
use axum::http::StatusCode;

/// Why no region can be registered.
pub(crate) fn refused() -> Failure {
    Failure::new(
        StatusCode::BAD_REQUEST,
        "shared-memory",
        "shared memory is refused by design: a region that a client can write while plugins and \
         kernels read it would let one tenant change another's checked inputs; send tensors as \
         binary data in the request",
    )
}
