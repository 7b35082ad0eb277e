//! The description of the routes.

use crate::admission::Admitted;
use crate::failure::json_answer;
use crate::identity::access::Read;
use crate::openapi::DOCUMENT;
use crate::router::Shared;
use axum::body::Body;
use axum::http::Response;

/// `GET /v2/openapi.json`
pub(crate) async fn document(_: Shared, _admitted: Admitted<Read>) -> Response<Body> {
    json_answer(DOCUMENT.clone())
}
