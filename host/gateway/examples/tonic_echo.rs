//! The floor that gRPC is measured against: a bare tonic server that decodes a `ModelInferRequest`
//! with prost, moves its inputs into outputs, and encodes the answer.
//!
//! No keys, no limits, no models. Prints the address it listens on; runs until it is killed.

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower_service::Service;

#[derive(Clone, PartialEq, prost::Message)]
struct InferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    raw_input_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InferResponse {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(string, tag = "2")]
    model_version: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    raw_output_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Tensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
}

struct Echo;

impl Service<Request<InferRequest>> for Echo {
    type Response = Response<InferResponse>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<InferResponse>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<InferRequest>) -> Self::Future {
        Box::pin(async move {
            let request = request.into_inner();
            let output = |mut tensor: Tensor| {
                tensor.name = tensor.name.replace("INPUT", "OUTPUT");
                tensor
            };
            Ok(Response::new(InferResponse {
                model_name: request.model_name,
                model_version: "1".to_owned(),
                id: request.id,
                outputs: request.inputs.into_iter().map(output).collect(),
                raw_output_contents: request.raw_input_contents,
            }))
        })
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let answer = service_fn(|request| async {
            let codec = ProstCodec::<InferResponse, InferRequest>::default();
            Ok::<_, Infallible>(tonic::server::Grpc::new(codec).unary(Echo, request).await)
        });
        let serving = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), answer);
        tokio::spawn(serving);
    }
}
