//! How often the gateway allocates for a request, from its first byte to the last one of its answer: over
//! real sockets, before an engine that only echoes. The client's own allocations are not counted.

#[path = "../examples/echo/mod.rs"]
mod echo;

use aimass_gateway::{GatewayConfig, Listeners, Setup, append_api_key, generate_api_key, serve};
use aimass_testkit::Allocations;
use bytes::{BufMut, Bytes, BytesMut};
use echo::{Echo, Silent};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

#[global_allocator]
static ALLOCATIONS: Allocations = Allocations::new();

/// Requests before anything is counted: buffers have grown, keys were verified.
const WARM: u64 = 200;
/// Requests that are counted.
const COUNTED: u64 = 1_000;
/// What the gateway does once a second beside its requests, in all.
const BESIDE_MAX: u64 = COUNTED;

/// A gateway on a thread of its own, whose allocations count.
struct Gateway {
    http: SocketAddr,
    grpc: SocketAddr,
    key: String,
    _keys: tempfile::TempDir,
}

impl Gateway {
    fn start() -> Gateway {
        let keys = tempfile::tempdir().expect("a folder");
        let path = keys.path().join("api_keys.toml");
        let (key, record) = generate_api_key("acme", "test").expect("a key");
        append_api_key(&path, &record).expect("a file of keys");
        let [http, grpc] = [(); 2].map(|()| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
            listener.set_nonblocking(true).expect("a socket for tokio");
            listener
        });
        let [http_address, grpc_address] =
            [&http, &grpc].map(|listener| listener.local_addr().expect("its address"));
        std::thread::spawn(move || {
            Allocations::count_this_thread();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let tokio = |listener| tokio::net::TcpListener::from_std(listener).expect("tokio");
                let setup = Setup {
                    engine: Arc::new(Echo),
                    config: GatewayConfig::new(path),
                    listeners: Listeners {
                        http: tokio(http),
                        grpc: Some(tokio(grpc)),
                        admin: None,
                    },
                    observation: Arc::new(Silent),
                };
                serve(setup, std::future::pending()).await.expect("it serves");
            });
        });
        Gateway { http: http_address, grpc: grpc_address, key, _keys: keys }
    }

    fn request(&self, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
        let (key, length) = (&self.key, body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n{headers}\
             Content-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

/// One exchange on a connection that stays open; the answer's status line and body.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> (String, Vec<u8>) {
    stream.write_all(request).expect("it is taken");
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |text| text.parse().expect("a length"));
            if bytes.len() >= end + 4 + length {
                return (head, bytes.split_off(end + 4));
            }
        }
        let mut block = [0; 4096];
        let read = stream.read(&mut block).expect("an answer");
        assert!(read > 0, "the connection ended");
        bytes.extend_from_slice(&block[..read]);
    }
}

/// Allocations of one request, rounded to the nearest, that `ask` makes again and again.
fn of_one(mut ask: impl FnMut()) -> u64 {
    for _ in 0..WARM {
        ask();
    }
    let before = ALLOCATIONS.so_far();
    for _ in 0..COUNTED {
        ask();
    }
    (ALLOCATIONS.so_far() - before + BESIDE_MAX / 2) / COUNTED
}

fn over_http(gateway: &Gateway, path: &str, headers: &str, body: &[u8], contains: &[u8]) -> u64 {
    let request = gateway.request(path, headers, body);
    let mut stream = TcpStream::connect(gateway.http).expect("a connection");
    stream.set_nodelay(true).expect("no delay");
    of_one(|| {
        let (head, answer) = exchange(&mut stream, &request);
        let is_there = answer.windows(contains.len()).any(|window| window == contains);
        let answer = String::from_utf8_lossy(&answer);
        assert!(head.starts_with("http/1.1 200") && is_there, "{head} {answer}");
    })
}

async fn call(sender: &mut SendRequest<Full<Bytes>>, key: &str, message: &Bytes) {
    let request = Request::post("http://h/inference.GRPCInferenceService/ModelInfer")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {key}"))
        .body(Full::new(message.clone()))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    let collected = answer.into_body().collect().await.expect("a body");
    let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status"));
    assert_eq!(status.expect("a status"), "0");
    assert!(collected.to_bytes().ends_with(&[7; 64]));
}

fn over_grpc(gateway: &Gateway) -> u64 {
    // model_name, then an input of 16 FP32 elements, then its raw contents.
    let mut message =
        b"\x0a\x08identity\x2a\x11\x0a\x06INPUT0\x12\x04FP32\x1a\x01\x10\x3a\x40".to_vec();
    message.extend([7; 64]);
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).expect("a short message"));
    frame.put_slice(&message);
    let frame = frame.freeze();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut sender = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(gateway.grpc).await.expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        let made = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = made.expect("HTTP/2");
        tokio::spawn(connection);
        sender
    });
    of_one(|| runtime.block_on(call(&mut sender, &gateway.key, &frame)))
}

/// The bounds are a little above what was found when this was written: 49, 54, 63 and 48.
#[test]
fn a_request_allocates_no_more_than_it_did() {
    let gateway = Gateway::start();
    let infer = "/v2/models/identity/infer";
    let json = br#"{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[4],"data":[1,2,3,4]}]}"#;
    let head = br#"{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[16],"parameters":{"binary_data_size":64}}],"parameters":{"binary_data_output":true}}"#;
    let binary = [&head[..], &[7; 64]].concat();
    let divided = format!("Inference-Header-Content-Length: {}\r\n", head.len());
    let texts = br#"{"model":"embed","input":["one","two"],"encoding_format":"float"}"#;
    let plain = "Content-Type: application/json\r\n";
    let found = [
        ("JSON", 52, over_http(&gateway, infer, plain, json, b"[1.0,2.0,3.0,4.0]")),
        ("binary", 57, over_http(&gateway, infer, &divided, &binary, &[7; 64])),
        ("embeddings", 66, over_http(&gateway, "/v1/embeddings", plain, texts, b"[3.0,")),
        ("gRPC", 51, over_grpc(&gateway)),
    ];
    println!("allocations of a request, at most and found: {found:?}");
    for (name, most, got) in found {
        assert!(got <= most, "{name}: {got} allocations a request, expected at most {most}");
    }
}
