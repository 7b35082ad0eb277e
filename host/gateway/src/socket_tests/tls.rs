//! TLS over real sockets: protocols, client certificates, time limits.

use super::{Reply, Server};
use crate::tls::testing::{Authority, client, write};
use crate::{CertificateConfig, Role, TlsConfig};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const SAN: &str = "spiffe://example/shop";

/// A server with a certificate, which asks clients for theirs.
async fn setup(authority: &Authority, change: impl FnOnce(&mut TlsConfig)) -> Server {
    Server::with(|config| {
        let dir = config.api_keys.parent().unwrap();
        let files = write(dir, &authority.issue(&["localhost"], &[]));
        let client_ca = dir.join("ca.pem");
        std::fs::write(&client_ca, authority.pem()).unwrap();
        let mut tls = TlsConfig {
            certificate: files.0,
            key: files.1,
            client_ca: Some(client_ca),
            client_required: false,
            handshake_seconds: 10,
        };
        change(&mut tls);
        config.tls = Some(tls);
        config.identity.certificate = vec![CertificateConfig {
            san: SAN.into(),
            tenant: "shop".into(),
            roles: vec![Role::Viewer],
            models: Some(vec!["identity".into()]),
        }];
    })
    .await
}

async fn connect(
    server: &Server,
    config: rustls::ClientConfig,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// One request over HTTP/1.1, or nothing if the server does not want to talk.
async fn ask(
    server: &Server,
    config: rustls::ClientConfig,
    path: &str,
    key: &str,
) -> Option<Reply> {
    let mut stream = connect(server, config).await.ok()?;
    let key = if key.is_empty() { key.into() } else { format!("Authorization: Bearer {key}\r\n") };
    let head = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{key}\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    Reply::parse(&bytes)
}

#[tokio::test]
async fn a_certificate_opens_what_its_name_may_and_a_key_counts_more() {
    let authority = Authority::new();
    let server = setup(&authority, |_| {}).await;
    let shop = authority.issue(&[], &[SAN]);
    let nobody = authority.issue(&["nobody.example"], &[]);
    let plain = || client(&authority, None);
    assert_eq!(ask(&server, plain(), "/v2", &server.key).await.unwrap().status, 200);
    assert_eq!(ask(&server, plain(), "/v2", "").await.unwrap().status, 401);
    let shown = || client(&authority, Some(&shop));
    assert_eq!(ask(&server, shown(), "/v2/models/identity", "").await.unwrap().status, 200);
    ask(&server, shown(), "/v2/models/embed", "").await.unwrap().oip_error(403);
    let with_key = ask(&server, shown(), "/v2/models/embed", &server.key).await.unwrap();
    assert_eq!(with_key.status, 200);
    assert_eq!(ask(&server, shown(), "/v2", "am_wrong").await.unwrap().status, 401);
    let stranger = client(&authority, Some(&nobody));
    assert_eq!(ask(&server, stranger, "/v2", "").await.unwrap().status, 401);
    let forged = Authority::new().issue(&[], &[SAN]);
    assert!(ask(&server, client(&authority, Some(&forged)), "/v2", "").await.is_none());
}

#[tokio::test]
async fn a_required_certificate_is_required() {
    let authority = Authority::new();
    let server = setup(&authority, |tls| tls.client_required = true).await;
    assert!(ask(&server, client(&authority, None), "/v2", &server.key).await.is_none());
    let shop = authority.issue(&[], &[SAN]);
    let reply = ask(&server, client(&authority, Some(&shop)), "/v2", "").await;
    assert_eq!(reply.unwrap().status, 200);
}

#[tokio::test]
async fn http_2_is_spoken_where_both_sides_know_it() {
    let authority = Authority::new();
    let server = setup(&authority, |_| {}).await;
    let mut config = client(&authority, None);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = connect(&server, config).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = hyper::Request::post("https://localhost/v2/models/identity/infer")
            .header("authorization", format!("Bearer {}", server.key))
            .body(Full::new(Bytes::from_static(b"{\"inputs\":[]}")))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers().contains_key("x-request-id"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{\"model_name\":\"identity\""), "{body:?}");
    }
}

#[tokio::test]
async fn who_does_not_shake_hands_is_cut_and_plain_http_is_not_answered() {
    let authority = Authority::new();
    let server = setup(&authority, |tls| tls.handshake_seconds = 1).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut byte = [0];
    let ended = silent.read(&mut byte);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), ended).await.unwrap();
    assert!(matches!(ended, Ok(0) | Err(_)));
    let mut plain = server.connect().await;
    plain.write(b"GET /v2/health/live HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(plain.reply().await.is_none());
    let mut admin = server.connect_admin().await;
    admin.write(b"GET /admin/v1/keys HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(admin.reply().await.is_none());
}
