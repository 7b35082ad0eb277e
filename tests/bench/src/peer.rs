//! A peer in a Python process of its own, asked line by line.

use anyhow::{Context, bail};
use serde_json::Value;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a peer's threads may still spin after an answer. Nothing is measured meanwhile:
/// they would hold the cores that the other side needs.
const SETTLE: Duration = Duration::from_millis(50);

/// The running peer.
pub(crate) struct Peer {
    _process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts the peer and waits for its first line, which says that its session is made.
    pub(crate) async fn start(mut command: Command) -> anyhow::Result<Peer> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().with_context(|| format!("{command:?}"))?;
        let input = process.stdin.take().context("its input is piped")?;
        let output = process.stdout.take().context("its output is piped")?;
        let mut peer = Peer { _process: process, input, output: BufReader::new(output).lines() };
        peer.answer().await?;
        Ok(peer)
    }

    /// One question; the answer is a JSON object.
    pub(crate) async fn ask(&mut self, question: &Value) -> anyhow::Result<Value> {
        self.input.write_all(format!("{question}\n").as_bytes()).await?;
        let answer = self.answer().await;
        tokio::time::sleep(SETTLE).await;
        answer
    }

    async fn answer(&mut self) -> anyhow::Result<Value> {
        match self.output.next_line().await? {
            Some(line) => serde_json::from_str(&line).with_context(|| line.clone()),
            None => bail!("the peer ended; its error output says why"),
        }
    }
}
