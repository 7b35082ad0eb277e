//! Shared memory regions of Triton's extension: none can be registered, by design, so that the
//! status is empty and there is nothing to unregister.

use crate::admission::Admitted;
use crate::failure::{OipFailure, json_answer};
use crate::oip::shared_memory;
use axum::body::Body;
use axum::http::Response;

/// `GET /v2/{system,cuda}sharedmemory[/region/{region}]/status`
pub(crate) async fn status(_admitted: Admitted) -> Response<Body> {
    json_answer(Vec::from(b"[]"))
}

/// `POST /v2/{system,cuda}sharedmemory/region/{region}/register`: refused.
pub(crate) async fn register(_admitted: Admitted) -> OipFailure {
    OipFailure(shared_memory::refused())
}

/// `POST /v2/{system,cuda}sharedmemory[/region/{region}]/unregister`
pub(crate) async fn unregister(_admitted: Admitted) -> Response<Body> {
    json_answer(Vec::from(b"{}"))
}
