//! gRPC over a real socket, with the frames of the protocol made here.

use super::Server;
use crate::grpc::METHODS;
use axum::http::{HeaderMap, Request};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tonic::Code;

/// What came back.
pub(super) struct Answer {
    pub(super) code: Code,
    pub(super) message: String,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

pub(super) struct Client {
    sender: SendRequest<Full<Bytes>>,
    pub(super) key: Option<String>,
}

impl Client {
    pub(super) async fn new(server: &Server) -> Client {
        let stream = TcpStream::connect(server.grpc).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client { sender, key: Some(server.key.clone()) }
    }

    pub(super) async fn call(&mut self, method: &str, message: &[u8]) -> Answer {
        let path = format!("/inference.GRPCInferenceService/{method}");
        self.call_at(&path, &[], framed(&[message])).await
    }

    pub(super) async fn call_at(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Answer {
        let mut request = Request::post(format!("http://h{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        let collected = response.into_body().collect().await.unwrap();
        let trailers = collected.trailers().unwrap_or(&headers);
        let text = |name| trailers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        Answer {
            code: Code::from_bytes(text("grpc-status").as_bytes()),
            message: text("grpc-message"),
            headers: headers.iter().chain(trailers).map(|(k, v)| (k.clone(), v.clone())).collect(),
            body: collected.to_bytes(),
        }
    }
}

pub(super) fn framed(messages: &[&[u8]]) -> Bytes {
    let mut frame = BytesMut::new();
    for message in messages {
        frame.put_u8(0);
        frame.put_u32(message.len() as u32);
        frame.put_slice(message);
    }
    frame.freeze()
}

/// `ModelInferRequest` for `model` with one FP32 input `INPUT0` of one element.
pub(super) fn infer(model: &str) -> Vec<u8> {
    let mut message = vec![0x0a, model.len() as u8];
    message.extend_from_slice(model.as_bytes());
    message.extend_from_slice(b"\x1a\x02id\x2a\x11\x0a\x06INPUT0\x12\x04FP32\x1a\x01\x01");
    message.extend_from_slice(b"\x3a\x04\0\0\x80\x3f");
    message
}

#[tokio::test]
async fn an_infer_request_is_answered_with_raw_contents() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    let answer = client.call("ModelInfer", &infer("identity")).await;
    assert_eq!((answer.code, answer.message.as_str()), (Code::Ok, ""));
    let expected = b"\x0a\x08identity\x12\x011\x1a\x02id\x2a\x12\x0a\x07OUTPUT0\x12\x04FP32\
        \x1a\x01\x01\x32\x04\0\0\x80\x3f";
    assert_eq!(&answer.body[5..], expected);
    assert_eq!(&answer.body[..5], [0, 0, 0, 0, expected.len() as u8]);
}

#[tokio::test]
async fn every_method_but_health_is_shut_without_a_key() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    for key in [None, Some(format!("{}x", &server.key[..54])), Some(String::new())] {
        client.key = key;
        for (method, _) in METHODS {
            let answer = client.call(method, b"").await;
            match method {
                "ServerLive" | "ServerReady" => assert_eq!(answer.code, Code::Ok, "{method}"),
                _ => assert_eq!(answer.code, Code::Unauthenticated, "{method}"),
            }
        }
        let unknown = client.call("Unknown", b"").await;
        assert_eq!(unknown.code, Code::Unauthenticated);
        let health = client.call_at("/grpc.health.v1.Health/Check", &[], framed(&[b""])).await;
        assert_eq!((health.code, &health.body[5..]), (Code::Ok, &[8u8, 1][..]));
    }
    client.key = Some(server.key.clone());
    assert_eq!(client.call("Unknown", b"").await.code, Code::Unimplemented);
}

#[tokio::test]
async fn failures_have_their_codes_and_say_whether_to_retry() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    for (model, code, pushback) in [
        ("trap", Code::Internal, Some("-1")),
        ("busy", Code::Unavailable, Some("1000")),
        ("nothing", Code::NotFound, None),
    ] {
        let answer = client.call("ModelInfer", &infer(model)).await;
        assert_eq!(answer.code, code, "{model}: {}", answer.message);
        let told = answer.headers.get("grpc-retry-pushback-ms").map(|v| v.to_str().unwrap());
        assert_eq!(told, pushback, "{model}");
    }
    assert_eq!(client.call("ModelInfer", b"\x0b").await.code, Code::InvalidArgument);
    assert_eq!(client.call("ModelInfer", b"").await.code, Code::InvalidArgument);
    let path = "/inference.GRPCInferenceService/ModelInfer";
    let timeout = [("grpc-timeout", "1n")];
    let late = client.call_at(path, &timeout, framed(&[&infer("stuck")])).await;
    assert_eq!(late.code, Code::DeadlineExceeded);
    let wrong = client.call_at(path, &[("grpc-timeout", "soon")], framed(&[&infer("stuck")])).await;
    assert_eq!(wrong.code, Code::InvalidArgument);
}

#[tokio::test]
async fn a_limited_tenant_reads_what_it_has_left_with_every_answer() {
    let server = Server::with(|config| {
        config.flow.default.requests_per_minute = Some(3);
        config.flow.default.requests_burst = Some(3);
    })
    .await;
    let mut client = Client::new(&server).await;
    let field =
        |answer: &Answer, name| answer.headers.get(name).map(|v| v.to_str().unwrap().to_owned());
    let policy = "\"requests\";q=3;w=60, \"concurrency\";q=512;qu=\"concurrent-requests\"";
    for (model, code, left) in [
        ("identity", Code::Ok, "\"requests\";r=2;t=20, \"concurrency\";r=512"),
        ("trap", Code::Internal, "\"requests\";r=1;t=20, \"concurrency\";r=512"),
    ] {
        let answer = client.call("ModelInfer", &infer(model)).await;
        assert_eq!(answer.code, code);
        assert_eq!(field(&answer, "ratelimit-policy").as_deref(), Some(policy), "{model}");
        assert_eq!(field(&answer, "ratelimit").as_deref(), Some(left), "{model}");
    }
    let path = "/inference.GRPCInferenceService/ModelStreamInfer";
    let stream = client.call_at(path, &[], framed(&[])).await;
    assert_eq!(stream.code, Code::Ok);
    assert!(field(&stream, "ratelimit").unwrap().starts_with("\"requests\";r=0;t=20"));
    let refused = client.call("ServerMetadata", b"").await;
    assert_eq!(refused.code, Code::ResourceExhausted);
    assert!(field(&refused, "ratelimit").unwrap().starts_with("\"requests\";r=0;t=20,"));
    let millis: u64 = field(&refused, "grpc-retry-pushback-ms").unwrap().parse().unwrap();
    assert!((10_000..=20_000).contains(&millis));
    let open = client.call("ServerLive", b"").await;
    assert_eq!((open.code, field(&open, "ratelimit")), (Code::Ok, None));
}

#[tokio::test]
async fn a_message_may_be_as_large_as_the_limit_also_after_decompression() {
    let server = Server::with(|config| config.body_bytes_max = 2000).await;
    let mut client = Client::new(&server).await;
    let path = "/inference.GRPCInferenceService/ModelInfer";
    let large = vec![0; 2001];
    assert_eq!(client.call("ModelInfer", &large).await.code, Code::OutOfRange);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut encoder, &large).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < 100);
    let mut frame = BytesMut::from(&framed(&[&packed])[..]);
    frame[0] = 1;
    let bomb = client.call_at(path, &[("grpc-encoding", "gzip")], frame.freeze()).await;
    assert_eq!(bomb.code, Code::ResourceExhausted, "{}", bomb.message);
    let control = client.call("ModelMetadata", &vec![0; (64 << 10) + 1]).await;
    assert_eq!(control.code, Code::OutOfRange);
    assert_eq!(client.call("ModelInfer", &infer("identity")).await.code, Code::Ok);
}

#[tokio::test]
async fn a_stream_answers_in_order_and_goes_on_after_a_failure() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    let (good, bad) = (infer("identity"), infer("trap"));
    let body = framed(&[&good, &bad, b"\x0b", &good]);
    let path = "/inference.GRPCInferenceService/ModelStreamInfer";
    let answer = client.call_at(path, &[], body).await;
    assert_eq!(answer.code, Code::Ok, "{}", answer.message);
    let mut rest = &answer.body[..];
    let mut kinds = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        kinds.push(tail[0]);
        rest = &tail[len..];
    }
    // Field 2 is an answer, field 1 an error.
    assert_eq!(kinds, [0x12, 0x0a, 0x0a, 0x12]);
}

#[tokio::test]
async fn an_answer_in_parts_says_which_is_the_last() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    let mut asks_for_the_end = infer("words");
    asks_for_the_end
        .extend_from_slice(b"\x22\x28\x0a\x22triton_enable_empty_final_response\x12\x02\x08\x01");
    let body = framed(&[&infer("words"), &infer("late"), &asks_for_the_end, &infer("identity")]);
    let path = "/inference.GRPCInferenceService/ModelStreamInfer";
    let answer = client.call_at(path, &[], body).await;
    assert_eq!(answer.code, Code::Ok, "{}", answer.message);
    let mut rest = &answer.body[..];
    let mut kinds = Vec::new();
    let is_final = b"triton_final_response\x12\x02\x08";
    while let Some((head, tail)) = rest.split_first_chunk::<5>() {
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let message = &tail[..len];
        let at = message.windows(is_final.len()).position(|window| window == is_final);
        let has_output = message.windows(7).any(|window| window == b"OUTPUT0");
        kinds.push((message[0], at.map(|at| message[at + is_final.len()]), has_output));
        rest = &tail[len..];
    }
    let (more, last) = ((0x12, Some(0), true), (0x12, Some(1), true));
    let (failed, empty_last) = ((0x0a, None, false), (0x12, Some(1), false));
    assert_eq!(kinds, [more, more, more, failed, more, more, empty_last, last]);
    // Outside of a stream nothing is said of parts.
    let alone = client.call("ModelInfer", &infer("identity")).await;
    assert!(!alone.body.windows(is_final.len()).any(|window| window == is_final));
}

#[tokio::test]
async fn a_call_whose_client_goes_away_is_cancelled() {
    use std::sync::atomic::Ordering;
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    let call = tokio::spawn(async move { client.call("ModelInfer", &infer("slow")).await.code });
    server.engine.started.notified().await;
    call.abort();
    while !server.engine.cancelled.load(Ordering::Relaxed) {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn unloading_needs_no_more_than_a_name_in_either_dialect() {
    let server = Server::start().await;
    let mut client = Client::new(&server).await;
    assert_eq!(client.call("RepositoryModelLoad", b"").await.code, Code::PermissionDenied);
    client.key = Some(server.add_key(|record| record.roles = Some(vec![crate::Role::Operator])));
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    // KServe: the model is field 1. Triton: field 2, and 1 is the repository.
    for message in [&b"\x0a\x05embed"[..], b"\x12\x05embed", b"\x0a\x04repo\x12\x05embed"] {
        let done = client.call("RepositoryModelUnload", message).await;
        assert_eq!((done.code, &done.body[5..]), (Code::Ok, &b"\x0a\x05embed\x10\x01"[..]));
        let index = client.call("RepositoryIndex", b"\x10\x01").await;
        let names = String::from_utf8_lossy(&index.body);
        assert!(!names.contains("embed") && names.contains("identity"), "{names}");
        assert_eq!(client.call("RepositoryModelLoad", message).await.code, Code::Ok);
    }
    let with_config = b"\x12\x05embed\x1a\x0c\x0a\x06config\x12\x02\x1a\0";
    let refused = client.call("RepositoryModelLoad", with_config).await;
    assert_eq!(refused.code, Code::InvalidArgument, "{}", refused.message);
    let region = client.call("SystemSharedMemoryRegister", b"").await;
    assert!(region.message.contains("by%20design"), "{}", region.message);
}
