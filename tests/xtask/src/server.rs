//! An `aimass serve` process, and just enough HTTP to talk to it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::installation::Installation;
use crate::run;

/// Time until a server must be ready.
const START_MAX: Duration = Duration::from_secs(120);
/// Time that one answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// A server that was started here.
pub(crate) struct Server {
    process: Option<Child>,
    /// `host:port`.
    address: String,
    /// A key that it accepts.
    pub(crate) api_key: String,
}

/// What the server answered.
pub(crate) struct Answer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Header lines, lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    /// Body.
    pub(crate) body: String,
}

impl Server {
    /// Serves `installation` on a free port; its output goes to `log`.
    pub(crate) fn start(installation: &Installation, log: &Path) -> anyhow::Result<Server> {
        let made = run::output(installation.command().args(["key", "new", "api"]))?;
        let api_key = made.lines().next().unwrap_or_default().to_owned();
        let output = File::create(log).with_context(|| log.display().to_string())?;
        let mut command = installation.command();
        command.args(["serve", "--listen", "127.0.0.1:0"]).stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let process = command.spawn().context("starting `aimass serve`")?;
        let mut server = Server { process: Some(process), address: String::new(), api_key };
        server.address = server.wait_for_address(log)?;
        server.wait_until_ready(log)?;
        Ok(server)
    }

    /// Address for clients.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets the server run on; returns its process id.
    pub(crate) fn leave_running(mut self) -> Option<u32> {
        self.process.take().map(|process| process.id())
    }

    /// One request with this server's key.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address).context(self.url())?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\nx-aimass-timing: 1\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            self.address,
            self.api_key,
            body.len()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text).with_context(|| format!("{method} {path}"))?;
        parse(&text).with_context(|| format!("{method} {path}"))
    }

    fn wait_for_address(&mut self, log: &Path) -> anyhow::Result<String> {
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            let after = text.split("http://").nth(1);
            if let Some(address) = after.and_then(|rest| rest.split_whitespace().next()) {
                return Ok(address.to_owned());
            }
            self.check_alive(&text, start)?;
        }
    }

    fn wait_until_ready(&mut self, log: &Path) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            if let Ok(answer) = self.ask("GET", "/v2/health/ready", "")
                && answer.status == 200
            {
                return Ok(());
            }
            self.check_alive(&std::fs::read_to_string(log).unwrap_or_default(), start)?;
        }
    }

    /// Waits a little, and fails if the server ended or takes too long.
    fn check_alive(&mut self, log: &str, start: Instant) -> anyhow::Result<()> {
        let ended = match &mut self.process {
            Some(process) => process.try_wait()?,
            None => None,
        };
        if let Some(status) = ended {
            bail!("`aimass serve` ended with {status}; it said:\n{log}");
        }
        if start.elapsed() > START_MAX {
            bail!("the server is not ready after {START_MAX:?}; it said:\n{log}");
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
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

fn parse(text: &str) -> anyhow::Result<Answer> {
    let (head, body) = text.split_once("\r\n\r\n").context("an HTTP answer has a head")?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    Ok(Answer {
        status: status.parse().with_context(|| format!("status of {head:?}"))?,
        headers: headers.collect(),
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = parse("HTTP/1.1 404 Not Found\r\nServer-Timing: a;dur=1\r\n\r\n{}").unwrap();
        assert_eq!(answer.status, 404);
        assert_eq!(answer.header("server-timing"), Some("a;dur=1"));
        assert_eq!(answer.body, "{}");
        assert!(parse("nonsense").is_err());
    }
}
