//! Server processes under load: their CPU time, and connections that keep alive.

use anyhow::{Context, bail};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Requests of one run.
const REQUESTS: usize = 20_000;

/// A server process that is killed when it goes out of scope.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
    /// Where it speaks gRPC, if it says so.
    pub(crate) grpc: Option<String>,
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
                let address = word(rest);
                let grpc = match bare {
                    Some(_) => None,
                    None => lines
                        .next_line()
                        .await?
                        .and_then(|l| Some(word(l.split("grpc://").nth(1)?))),
                };
                // The rest of the output is read and dropped, so that the server never blocks on it.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Ok(Server { process, address, grpc });
            }
        }
        bail!("{command:?} ended before it said where it listens")
    }

    /// `aimass serve` on free ports, with further arguments, once it is ready.
    pub(crate) async fn aimass(
        aimass: &Path,
        data: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Server> {
        let mut command = Command::new(aimass);
        command.arg("--data").arg(data).args(["serve", "--listen", "127.0.0.1:0"]).args(arguments);
        let server = Server::start(&mut command).await?;
        let ready = request(&server.address, "", "GET", "/v2/health/ready", b"");
        for _ in 0..6000 {
            let mut connection = Connection::open(&server.address).await?;
            if connection.exchange(&ready).await?.0 == 200 {
                return Ok(server);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("aimass serve is not ready after 60 s")
    }

    /// Process id.
    pub(crate) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// CPU time of all its threads so far, ended ones too, and of the processes that it started, in steps
    /// of 10 ms.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let pid = self.process.id().context("the server runs")?;
        let all: Vec<Usage> = std::fs::read_dir("/proc")?.filter_map(usage).collect();
        let mut ours = vec![pid];
        let mut ticks = 0;
        while let Some(pid) = ours.pop() {
            ours.extend(all.iter().filter(|it| it.parent == pid).map(|it| it.pid));
            ticks += all.iter().filter(|it| it.pid == pid).map(|it| it.ticks).sum::<u64>();
        }
        Ok(Duration::from_millis(10 * ticks))
    }
}

/// What a process has used.
struct Usage {
    pid: u32,
    parent: u32,
    ticks: u64,
}

/// What the process of a folder of `/proc` has used; none if it is no process, or one that has ended.
fn usage(entry: std::io::Result<std::fs::DirEntry>) -> Option<Usage> {
    let entry = entry.ok()?;
    let pid = entry.file_name().to_str()?.parse().ok()?;
    let text = std::fs::read_to_string(entry.path().join("stat")).ok()?;
    // proc(5): after the name in parentheses, the parent is field 4; user and system time are fields 14 and
    // 15, those of children that were waited for 16 and 17.
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok());
    Some(Usage { pid, parent: fields.get(1)?.parse().ok()?, ticks: ticks.sum::<Option<u64>>()? })
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

/// The bytes of one request with a JSON body.
pub(crate) fn request(address: &str, key: &str, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    request_with(address, key, method, path, "content-type: application/json\r\n", body)
}

/// The bytes of one request with further header lines, each ending in `\r\n`.
pub(crate) fn request_with(
    address: &str,
    key: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Vec<u8> {
    let mut bytes = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n{headers}\
         content-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn word(text: &str) -> String {
    text.split_whitespace().next().unwrap_or_default().to_owned()
}

/// CPU microseconds of one request.
///
/// The load comes from one thread, so that it never takes both cores of a small machine from the
/// server: what the server pays for being preempted would be measured instead.
pub(crate) async fn cost(
    server: &Server,
    connections: usize,
    bytes: Vec<u8>,
) -> anyhow::Result<f64> {
    cost_of(REQUESTS, server, connections, bytes).await
}

/// As [`cost`], over about so many requests.
pub(crate) async fn cost_of(
    requests: usize,
    server: &Server,
    connections: usize,
    bytes: Vec<u8>,
) -> anyhow::Result<f64> {
    let address = server.address.clone();
    let each = requests / connections;
    under_load(server, each * connections, load(address, bytes, connections, each)).await
}

/// CPU microseconds of one of `requests` requests that `load` makes, on a thread of its own.
pub(crate) async fn under_load(
    server: &Server,
    requests: usize,
    load: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<f64> {
    let before = server.cpu()?;
    let load = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(load)
    });
    let done = tokio::task::spawn_blocking(move || load.join()).await?;
    done.map_err(|_| anyhow::anyhow!("the load generator panicked"))??;
    Ok((server.cpu()? - before).as_secs_f64() * 1e6 / requests as f64)
}

/// Sends the request `each` times on every one of so many connections.
pub(crate) async fn load(
    address: String,
    bytes: Vec<u8>,
    connections: usize,
    each: usize,
) -> anyhow::Result<()> {
    let mut tasks = Vec::new();
    for _ in 0..connections {
        let (bytes, address) = (bytes.clone(), address.clone());
        tasks.push(tokio::spawn(async move {
            let mut connection = Connection::open(&address).await?;
            for _ in 0..each {
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
