//! CPU of a small request over gRPC, beside a bare tonic server.

use super::{CONNECTIONS, Setup, cpu_row};
use crate::row::Row;
use crate::server::{Server, under_load};
use anyhow::{Context, bail};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::process::Command;

/// Requests of one run.
const REQUESTS: usize = 20_000;

/// Rows of this part.
pub(super) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let ours = Server::aimass(&setup.aimass, &setup.data, &[]).await?;
    let bare = Server::start(&mut Command::new(&setup.tonic)).await?;
    let our_address = ours.grpc.clone().context("aimass serve says where it speaks gRPC")?;
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let mut pairs = Vec::new();
        for _ in 0..setup.pairs {
            let value = cost(&ours, &our_address, &setup.api_key, connections).await?;
            pairs.push((value, cost(&bare, &bare.address, &setup.api_key, connections).await?));
        }
        let name = format!("identity over gRPC, {connections} connections");
        rows.push(cpu_row(name, "bare tonic", &pairs));
    }
    Ok(rows)
}

async fn cost(
    server: &Server,
    address: &str,
    key: &str,
    connections: usize,
) -> anyhow::Result<f64> {
    let (address, key) = (address.to_owned(), key.to_owned());
    let each = REQUESTS / connections;
    under_load(server, each * connections, load(address, key, connections, each)).await
}

async fn load(address: String, key: String, connections: usize, each: usize) -> anyhow::Result<()> {
    let message = message();
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (address, key, message) = (address.clone(), key.clone(), message.clone());
        tasks.push(tokio::spawn(one_connection(address, key, message, each)));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

async fn one_connection(
    address: String,
    key: String,
    message: Bytes,
    each: usize,
) -> anyhow::Result<()> {
    let stream = TcpStream::connect(&address).await.with_context(|| address.clone())?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let uri = format!("http://{address}/inference.GRPCInferenceService/ModelInfer");
    for _ in 0..each {
        let request = Request::post(&uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {key}"))
            .body(Full::new(message.clone()))?;
        let answer = sender.send_request(request).await?.into_body().collect().await?;
        let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status"));
        if status.is_none_or(|status| status != "0") || answer.to_bytes().len() < 64 {
            bail!("expected an answer with grpc-status 0");
        }
    }
    Ok(())
}

/// A framed `ModelInferRequest` for `identity` with 16 f32.
fn message() -> Bytes {
    let mut message = BytesMut::new();
    message.put_slice(b"\x0a\x08identity\x2a\x12\x0a\x06INPUT0\x12\x04FP32\x1a\x02\x01\x10");
    message.put_slice(b"\x3a\x40");
    for index in 0..16 {
        message.put_f32_le(index as f32 + 0.5);
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(&message);
    frame.freeze()
}
