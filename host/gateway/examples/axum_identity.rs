//! The floor that the gateway is measured against: a bare axum server that parses an OIP infer
//! request with typed serde, moves its input into an output, and writes the answer, as JSON and with
//! binary data.
//!
//! No keys, no limits, no models. Prints the address it listens on; runs until it is killed.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Response, StatusCode, header};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};

const JSON_LEN: &str = "inference-header-content-length";
const BODY_BYTES_MAX: usize = 64 << 20;

#[derive(Deserialize)]
struct InferRequest {
    id: Option<String>,
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default)]
    data: Vec<f32>,
    parameters: Option<Size>,
}

#[derive(Deserialize, Serialize)]
struct Size {
    binary_data_size: usize,
}

#[derive(Serialize)]
struct InferResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    model_name: &'static str,
    model_version: &'static str,
    outputs: Vec<Output>,
}

#[derive(Serialize)]
struct Output {
    name: String,
    datatype: String,
    shape: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    data: Vec<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Size>,
}

async fn infer(request: Request) -> Response<Body> {
    let answer = |status, body| {
        let response = Response::builder().status(status);
        let response = response.header(header::CONTENT_TYPE, "application/json");
        response.body(Body::from(body)).expect("a static header")
    };
    let json_len =
        request.headers().get(JSON_LEN).and_then(|value| value.to_str().ok()?.parse().ok());
    let Ok(body) = to_bytes(request.into_body(), BODY_BYTES_MAX).await else {
        return answer(StatusCode::PAYLOAD_TOO_LARGE, Vec::new());
    };
    let (json, blobs) = body.split_at(json_len.unwrap_or(body.len()).min(body.len()));
    let request: InferRequest = match serde_json::from_slice(json) {
        Ok(request) => request,
        Err(error) => return answer(StatusCode::BAD_REQUEST, error.to_string().into_bytes()),
    };
    let output = |input: Input| Output {
        name: input.name.replace("INPUT", "OUTPUT"),
        datatype: input.datatype,
        shape: input.shape,
        data: input.data,
        parameters: input.parameters,
    };
    let response = InferResponse {
        id: request.id,
        model_name: "identity",
        model_version: "1",
        outputs: request.inputs.into_iter().map(output).collect(),
    };
    let mut body = serde_json::to_vec(&response).expect("string keys");
    if blobs.is_empty() {
        return answer(StatusCode::OK, body);
    }
    let len = body.len();
    body.extend_from_slice(blobs);
    let mut response = answer(StatusCode::OK, body);
    response.headers_mut().insert(JSON_LEN, len.into());
    response
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let router = Router::new()
        .route("/v2/health/ready", get(|| async { "{\"ready\":true}" }))
        .route("/v2/models/identity/infer", post(infer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, router).await
}
