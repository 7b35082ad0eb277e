//! The gateway over real sockets, with an engine that echoes and fails on purpose.

mod abuse;
mod admin;
mod batch;
mod circuit;
mod drain;
mod everybody;
mod fake_engine;
mod grpc;
mod limits;
mod oip;
mod openai;
mod refused_bodies;
mod services;
mod streaming;
mod telemetry;
mod tls;
mod walk;

use crate::{
    ApiKeyRecord, GatewayConfig, Listeners, Setup, append_api_key, generate_api_key, serve_until,
};
use fake_engine::{FakeEngine, FakeObservation};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A gateway on a free port, with one key.
struct Server {
    address: SocketAddr,
    grpc: SocketAddr,
    /// Of the listener for operators.
    admin: SocketAddr,
    engine: Arc<FakeEngine>,
    key: String,
    stop: Option<oneshot::Sender<()>>,
    cut: Option<oneshot::Sender<()>>,
    done: JoinHandle<Result<(), crate::ServeError>>,
    dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Server {
        Server::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut GatewayConfig)) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api_keys.toml");
        let (key, record) = generate_api_key("acme", "test").unwrap();
        append_api_key(&path, &record).unwrap();
        let mut config = GatewayConfig::new(path);
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let grpc_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = grpc_listener.local_addr().unwrap();
        let admin_listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let admin = admin_listener.local_addr().unwrap();
        let listeners =
            Listeners { http: listener, grpc: Some(grpc_listener), admin: Some(admin_listener) };
        let engine = Arc::new(FakeEngine::default());
        let (stop, stopped) = oneshot::channel();
        let setup = Setup {
            engine: engine.clone(),
            config,
            listeners,
            observation: Arc::new(FakeObservation::default()),
        };
        let (cut, was_cut) = oneshot::channel();
        let ended = |signal: oneshot::Receiver<()>| async {
            if signal.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let done = tokio::spawn(serve_until(setup, ended(stopped), ended(was_cut)));
        Server { address, grpc, admin, engine, key, stop: Some(stop), cut: Some(cut), done, dir }
    }

    /// Another key; `change` says what it may do. In force once the file is looked at again.
    fn add_key(&self, change: impl FnOnce(&mut ApiKeyRecord)) -> String {
        let (key, mut record) = generate_api_key("acme", "").unwrap();
        change(&mut record);
        append_api_key(&self.dir.path().join("api_keys.toml"), &record).unwrap();
        key
    }

    async fn connect(&self) -> Connection {
        Connection { stream: TcpStream::connect(self.address).await.unwrap() }
    }

    /// A connection to the listener for operators.
    async fn connect_admin(&self) -> Connection {
        Connection { stream: TcpStream::connect(self.admin).await.unwrap() }
    }

    /// One request with the key, on a connection of its own.
    async fn send(&self, method: &str, path: &str, body: &[u8]) -> Reply {
        self.send_with(method, path, "", body).await
    }

    /// The same with further header lines, each ending in `\r\n`.
    async fn send_with(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let headers = format!("Authorization: Bearer {}\r\n{headers}", self.key);
        self.connect().await.send(method, path, &headers, body).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, b"").await
    }

    async fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, body.as_bytes()).await
    }
}

struct Connection {
    stream: TcpStream,
}

impl Connection {
    async fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let len = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n{headers}\r\n"
        );
        self.write(&[head.as_bytes(), body].concat()).await;
        self.reply().await.expect("an answer")
    }

    async fn write(&mut self, bytes: &[u8]) {
        // The server may have answered and closed before everything is written.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next answer, or nothing if the connection ends first.
    async fn reply(&mut self) -> Option<Reply> {
        let read = async {
            let mut bytes = Vec::new();
            loop {
                if let Some(reply) = Reply::parse(&bytes) {
                    return Some(reply);
                }
                let mut block = [0; 65536];
                match self.stream.read(&mut block).await {
                    Ok(0) | Err(_) => return None,
                    Ok(len) => bytes.extend_from_slice(&block[..len]),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("an answer or an end")
    }
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Option<Reply> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut reply = Reply { status: head[9..12].parse().unwrap(), head, body: Vec::new() };
        let len: usize = reply.header("content-length").unwrap_or("0").parse().unwrap();
        reply.body = bytes.get(end..end + len)?.to_vec();
        Some(reply)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"), "{}", self.head);
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The text of an OIP error with this status.
    #[track_caller]
    fn oip_error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        let json = self.json();
        assert_eq!(json.as_object().unwrap().len(), 1);
        json["error"].as_str().unwrap().to_owned()
    }

    /// Problem details with this status.
    #[track_caller]
    fn problem(&self, status: u16) -> serde_json::Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], status);
        for field in ["type", "title", "detail", "code"] {
            assert!(problem[field].is_string(), "{field} in {problem}");
        }
        problem
    }

    /// The error object of the OpenAI API with this status.
    #[track_caller]
    fn openai_error(&self, status: u16) -> serde_json::Value {
        assert_eq!(self.status, status, "{}", self.text());
        let error = self.json()["error"].clone();
        for field in ["message", "type", "param", "code"] {
            assert!(error.get(field).is_some(), "{field} in {error}");
        }
        error
    }
}
