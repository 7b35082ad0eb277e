//! An `aimass serve` process, and just enough HTTP to talk to it; an OCI registry that others
//! wrote; allocators that count.
//!
//! Shared by the demo, the end-to-end tests, the fuzzer and crates' tests. Links nothing of the product: what it
//! talks to is the binary that a user runs.

mod allocations;
mod peak;
mod registry;

pub use allocations::Allocations;
pub use peak::Peak;
pub use registry::OciRegistry;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Time until a server must be ready.
const START_MAX: Duration = Duration::from_secs(120);
/// Time that one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(120);

/// A server that was started here; it is killed when it goes out of scope.
pub struct Server {
    process: Option<Child>,
    address: String,
    /// A key that it accepts.
    pub api_key: String,
    log: PathBuf,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Header lines, lower-case names.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Server {
    /// Serves the data folder on a free loopback port; its output goes to `log`. `arguments` follow
    /// `aimass serve`.
    ///
    /// # Errors
    /// The server ended, or was not ready in two minutes; the message holds its output.
    pub fn start(
        aimass: &Path,
        data: &Path,
        arguments: &[&str],
        log: &Path,
    ) -> anyhow::Result<Server> {
        let mut server = Server::start_unready(aimass, data, arguments, log)?;
        server.wait_until_ready()?;
        Ok(server)
    }

    /// As [`Server::start`], without waiting until it is ready.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_unready(
        aimass: &Path,
        data: &Path,
        arguments: &[&str],
        log: &Path,
    ) -> anyhow::Result<Server> {
        let with_data = || {
            let mut command = Command::new(aimass);
            command.arg("--data").arg(data).stdin(Stdio::null());
            command
        };
        let made =
            with_data().args(["key", "new", "api"]).output().context("aimass key new api")?;
        let api_key =
            String::from_utf8_lossy(&made.stdout).lines().next().unwrap_or_default().into();
        let output = File::create(log).with_context(|| log.display().to_string())?;
        let mut serve = with_data();
        serve.args(["serve", "--listen", "127.0.0.1:0"]).args(arguments);
        serve.stdout(output.try_clone()?).stderr(output);
        let process = serve.spawn().context("aimass serve")?;
        let mut server =
            Server { process: Some(process), address: String::new(), api_key, log: log.to_owned() };
        server.address = server.wait_for_address()?;
        Ok(server)
    }

    /// Address for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Address for gRPC clients, `HOST:PORT`, once it has printed one.
    pub fn grpc_address(&self) -> Option<String> {
        let text = self.output();
        let (_, after) = text.split_once("grpc://")?;
        let (address, _) = after.split_once('\n')?;
        Some(address.trim().to_owned())
    }

    /// Process id.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// What it has printed so far.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lets the server run on; returns its process id.
    pub fn leave_running(mut self) -> Option<u32> {
        self.process.take().map(|process| process.id())
    }

    /// Ends it as Ctrl-C would and waits; returns its exit code.
    ///
    /// # Errors
    /// The signal cannot be sent.
    pub fn stop(mut self) -> anyhow::Result<Option<i32>> {
        let Some(mut process) = self.process.take() else { return Ok(None) };
        let status = Command::new("kill").args(["-INT", &process.id().to_string()]).status()?;
        if !status.success() {
            bail!("kill -INT {} ended with {status}", process.id());
        }
        Ok(process.wait()?.code())
    }

    /// One request with this server's key and a JSON body.
    ///
    /// # Errors
    /// No connection, or no whole answer in two minutes.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let key = format!("Bearer {}", self.api_key);
        let headers = [("authorization", &*key), ("content-type", "application/json")];
        self.send(method, path, &headers, body.as_bytes())
    }

    /// One request with exactly these headers besides host, length and connection.
    ///
    /// # Errors
    /// As [`Server::ask`].
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> anyhow::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address).with_context(|| self.url())?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\nconnection: close\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        // A server that refuses a large body may close before it has read all of it.
        let sent = stream.write_all(body);
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        if bytes.is_empty() {
            sent.and(read.map(|_| ())).with_context(|| format!("{method} {path}"))?;
        }
        parse(&bytes).with_context(|| format!("{method} {path}"))
    }

    fn wait_for_address(&mut self) -> anyhow::Result<String> {
        let start = Instant::now();
        loop {
            let text = self.output();
            // The line is whole once something follows the address.
            let after = text.split("http://").nth(1).filter(|rest| rest.contains(' '));
            if let Some(address) = after.and_then(|rest| rest.split_whitespace().next()) {
                return Ok(address.to_owned());
            }
            self.check_alive(start)?;
        }
    }

    /// Waits until `/v2/health/ready` says 200.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            if let Ok(answer) = self.ask("GET", "/v2/health/ready", "")
                && answer.status == 200
            {
                return Ok(());
            }
            self.check_alive(start)?;
        }
    }

    /// Waits a little, and fails if the server ended or takes too long.
    fn check_alive(&mut self, start: Instant) -> anyhow::Result<()> {
        let ended = match &mut self.process {
            Some(process) => process.try_wait()?,
            None => None,
        };
        if let Some(status) = ended {
            bail!("`aimass serve` ended with {status}; it said:\n{}", self.output());
        }
        if start.elapsed() > START_MAX {
            bail!("the server is not ready after {START_MAX:?}; it said:\n{}", self.output());
        }
        std::thread::sleep(Duration::from_millis(5));
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended already; nothing is lost either way.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Answer {
    /// Value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn parse(bytes: &[u8]) -> anyhow::Result<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end =
        end.with_context(|| format!("no HTTP head in {:?}", String::from_utf8_lossy(bytes)))?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Ok(Answer {
        status: status.parse().with_context(|| format!("status of {head:?}"))?,
        headers: headers.collect(),
        body: bytes[end + 4..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = parse(b"HTTP/1.1 404 Not Found\r\nServer-Timing: a;dur=1\r\n\r\n{}").unwrap();
        assert_eq!(answer.status, 404);
        assert_eq!(answer.header("server-timing"), Some("a;dur=1"));
        assert_eq!(answer.text(), "{}");
        assert!(parse(b"nonsense").is_err());
    }
}
