//! (a) What a request costs in CPU time, through a Wasm plugin, beside a bare axum server.

use super::Setup;
use crate::row::{Row, median};
use anyhow::{Context, bail};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Connections at which the cost is measured.
const CONNECTIONS: [usize; 3] = [1, 8, 32];
/// Requests of one run.
const REQUESTS: usize = 20_000;
/// What the plugin, the authentication and the limits may cost.
const RATIO_MAX: f64 = 2.5;

/// A server process that is killed when it goes out of scope.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
}

impl Server {
    /// Starts a server and reads `http://host:port`, or a bare loopback address, from its output.
    pub(crate) async fn start(command: &mut Command) -> anyhow::Result<Server> {
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn().with_context(|| format!("{command:?}"))?;
        let output = process.stdout.take().context("its output is piped")?;
        let mut lines = BufReader::new(output).lines();
        while let Some(line) = lines.next_line().await? {
            let bare = line.starts_with("127.0.0.1:").then_some(line.as_str());
            if let Some(rest) = line.split("http://").nth(1).or(bare) {
                let address = rest.split_whitespace().next().unwrap_or_default().to_owned();
                // The rest of the output is read and dropped, so that the server never blocks on it.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Server { process, address });
            }
        }
        bail!("{command:?} ended before it said where it listens")
    }

    /// `aimass serve` on a free port.
    pub(crate) async fn aimass(setup: &Setup) -> anyhow::Result<Server> {
        let mut command = Command::new(&setup.aimass);
        command.arg("--data").arg(&setup.data).args(["serve", "--listen", "127.0.0.1:0"]);
        let server = Server::start(&mut command).await?;
        let ready = request(&server.address, &setup.api_key, "GET", "/v2/health/ready", b"");
        for _ in 0..6000 {
            let mut connection = Connection::open(&server.address).await?;
            if connection.exchange(&ready).await?.0 == 200 {
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("aimass serve is not ready after 60 s")
    }

    /// CPU time of all its threads so far.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let pid = self.process.id().context("the server runs")?;
        let mut total = 0;
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            total += text.split(' ').next().unwrap_or("0").parse::<u64>()?;
        }
        Ok(Duration::from_nanos(total))
    }
}

/// One keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await.with_context(|| address.to_owned())?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::new() })
    }

    /// Sends a request and reads the whole answer: status and body.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
        };
        let text = std::str::from_utf8(&self.buffer[..head])?.to_ascii_lowercase();
        let status = text.split(' ').nth(1).unwrap_or_default().parse()?;
        let length: usize = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(Ok(0), str::parse)?;
        while self.buffer.len() < head + length {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the server closed the connection");
            }
        }
        Ok((status, self.buffer[head..head + length].to_vec()))
    }
}

/// The bytes of one request.
pub(crate) fn request(address: &str, key: &str, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Rows of part (a).
pub(crate) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let ours = Server::aimass(setup).await?;
    let bare = Server::start(&mut Command::new(&setup.axum)).await?;
    let numbers: Vec<String> = (0..16).map(|i| format!("{}.5", i)).collect();
    let body = format!(
        "{{\"inputs\":[{{\"name\":\"INPUT0\",\"datatype\":\"FP32\",\"shape\":[1,16],\"data\":[{}]}}]}}",
        numbers.join(",")
    );
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let (mut values, mut peers, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..setup.pairs.min(9) {
            let value = cost(&ours, setup, connections, body.as_bytes()).await?;
            let peer = cost(&bare, setup, connections, body.as_bytes()).await?;
            values.push(value);
            peers.push(peer);
            ratios.push(value / peer);
        }
        let ratio = median(&ratios);
        rows.push(Row {
            name: format!("identity over HTTP, {connections} connections"),
            value: median(&values),
            unit: "CPU us/request",
            peer: "bare axum".into(),
            peer_value: Some(median(&peers)),
            ratio,
            goal: format!("<= {RATIO_MAX}"),
            holds: ratio <= RATIO_MAX,
        });
    }
    Ok(rows)
}

/// CPU microseconds of one request.
///
/// The load comes from one thread, so that it never takes both cores of a small machine from the
/// server: what the server pays for being preempted would be measured instead.
async fn cost(
    server: &Server,
    setup: &Setup,
    connections: usize,
    body: &[u8],
) -> anyhow::Result<f64> {
    let bytes = request(&server.address, &setup.api_key, "POST", "/v2/models/identity/infer", body);
    let address = server.address.clone();
    let before = server.cpu()?;
    let load = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(load(address, bytes, connections))
    });
    let done = tokio::task::spawn_blocking(move || load.join()).await?;
    done.map_err(|_| anyhow::anyhow!("the load generator panicked"))??;
    let requests = (REQUESTS / connections * connections) as f64;
    Ok((server.cpu()? - before).as_secs_f64() * 1e6 / requests)
}

/// Sends the request over and over, on so many connections.
async fn load(address: String, bytes: Vec<u8>, connections: usize) -> anyhow::Result<()> {
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (bytes, address) = (bytes.clone(), address.clone());
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(&address).await?;
            for _ in 0..REQUESTS / connections {
                let (status, answer) = connection.exchange(&bytes).await?;
                if status != 200 {
                    bail!("{status}: {}", String::from_utf8_lossy(&answer));
                }
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
