//! The small JSON bodies of routes that look and steer.

use crate::failure::Failure;
use crate::flow::Permit;
use crate::grpc::CONTROL_BYTES_MAX;
use crate::object::read_object;
use crate::router::Gateway;
use axum::extract::Request;
use serde::Deserialize;

/// The body as JSON; an empty one is an empty object.
///
/// # Errors
/// 413 above [`CONTROL_BYTES_MAX`] or the limit of all bodies if that is less, 400 if it is not what was
/// expected, and whatever [`crate::body::Bodies::read_within`] refuses.
pub(super) async fn control_body<T: for<'de> Deserialize<'de>>(
    gateway: &Gateway,
    permit: &Permit,
    request: Request,
) -> Result<T, Failure> {
    let (parts, body) = request.into_parts();
    let reading = gateway.bodies.read_within(CONTROL_BYTES_MAX, permit, &parts.headers, body);
    let body = reading.await?;
    let bytes = if body.bytes.is_empty() { b"{}" } else { &body.bytes[..] };
    read_object(bytes)
}
