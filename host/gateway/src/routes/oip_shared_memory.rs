//! Shared memory regions of Triton's extension: none can be registered, by design, so that the
//! status is empty and there is nothing to unregister.

use crate::admission::Admitted;
use crate::failure::{OipFailure, json_answer};
use crate::identity::access::Read;
use crate::oip::shared_memory;
use crate::router::Shared;
use axum::body::Body;
use axum::http::Response;

/// `GET /v2/{system,cuda}sharedmemory[/region/{region}]/status`
pub(crate) async fn status(_: Shared, _admitted: Admitted<Read>) -> Response<Body> {
    json_answer(Vec::from(b"[]"))
}

/// `POST /v2/{system,cuda}sharedmemory/region/{region}/register`: refused.
pub(crate) async fn register(_: Shared, _admitted: Admitted<Read>) -> OipFailure {
    OipFailure(shared_memory::refused())
}

/// `POST /v2/{system,cuda}sharedmemory[/region/{region}]/unregister`
pub(crate) async fn unregister(_: Shared, _admitted: Admitted<Read>) -> Response<Body> {
    json_answer(Vec::from(b"{}"))
}
