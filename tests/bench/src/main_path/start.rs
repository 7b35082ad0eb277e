//! (e) From starting the server to its first embedding, with warm caches.

use super::Setup;
use crate::row::{Row, median};
use crate::server::{Connection, Server, request};
use anyhow::bail;
use std::time::{Duration, Instant};
use tokio::process::Command;

const RUNS: usize = 5;

/// The row of part (e).
pub(crate) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let threads = std::thread::available_parallelism()?.get();
    let (mut values, mut peers, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    first_answer(setup).await?;
    for _ in 0..RUNS {
        let value = first_answer(setup).await?;
        let start = Instant::now();
        setup.peer(threads).await?;
        let theirs = start.elapsed().as_secs_f64() * 1e3;
        values.push(value);
        peers.push(theirs);
        ratios.push(value / theirs);
    }
    let ratio = median(&ratios);
    Ok(vec![Row {
        name: "server start to first embedding, warm caches".into(),
        value: median(&values),
        unit: "ms",
        peer: "Python with ONNX Runtime, process start to first embedding".into(),
        peer_value: Some(median(&peers)),
        ratio,
        goal: "<= 1.0".into(),
        holds: ratio <= 1.0,
    }])
}

async fn first_answer(setup: &Setup) -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut command = Command::new(&setup.aimass);
    command.arg("--data").arg(&setup.data).args(["serve", "--listen", "127.0.0.1:0"]);
    let server = Server::start(&mut command).await?;
    let body = br#"{"model":"minilm","input":"first","encoding_format":"base64"}"#;
    let bytes = request(&server.address, &setup.api_key, "POST", "/v1/embeddings", body);
    let mut connection = Connection::open(&server.address).await?;
    loop {
        let (status, answer) = connection.exchange(&bytes).await?;
        if status == 200 {
            return Ok(start.elapsed().as_secs_f64() * 1e3);
        }
        if start.elapsed() > Duration::from_secs(60) {
            bail!("{status}: {}", String::from_utf8_lossy(&answer));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
