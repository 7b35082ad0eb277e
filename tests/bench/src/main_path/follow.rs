//! (f) Labels move and versions appear while 500 requests a second are answered.

use super::Setup;
use crate::row::Row;
use crate::server::{Connection, Server, request};
use aimass_registry::{Limits, Registry};
use anyhow::{Context, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::process::Command;

const MODEL: &str = "identity";
const LABEL: &str = "stable";
const MOVES: usize = 40;
/// Between two moves, so that the load sees the label for a while at each place.
const PAUSE: Duration = Duration::from_millis(200);
const PUBLISHES: usize = 3;
const MOVE_MS_MAX: f64 = 100.0;
const FOLLOW_MS_MAX: f64 = 1000.0;
const REQUESTS_A_SECOND: u64 = 500;
const CONNECTIONS: u64 = 10;
const BODY: &[u8] = br#"{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1],"data":[1]}]}"#;

/// Rows of part (f).
pub(crate) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let registry = Registry::open(&setup.data.join("registry"), Limits::default())?;
    let server = Server::aimass(&setup.aimass, &setup.data, &[]).await?;
    let load = Load::start(&server, setup);
    let second = publish(setup, &registry).await?.0;
    let mut moves = Vec::new();
    for turn in 0..MOVES {
        tokio::time::sleep(PAUSE).await;
        let target = if turn % 2 == 0 { second } else { 1 };
        registry.set_label(MODEL, LABEL, target, SystemTime::now())?;
        let start = Instant::now();
        wait_for_version(&server, setup, "/v2/models/identity/infer", target).await?;
        moves.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let mut followed = Vec::new();
    for _ in 0..PUBLISHES {
        let (newest, published) = publish(setup, &registry).await?;
        let path = "/v2/models/identity/versions/newest/infer";
        wait_for_version(&server, setup, path, newest).await?;
        followed.push(published.elapsed().as_secs_f64() * 1e3);
    }
    let (sent, failed) = load.stop().await;
    Ok(vec![
        limit("label moved to first answer, slowest of 40", slowest(&moves), MOVE_MS_MAX),
        limit("publish to `newest` following, slowest of 3", slowest(&followed), FOLLOW_MS_MAX),
        Row {
            name: format!("failed of {sent} requests at {REQUESTS_A_SECOND}/s meanwhile"),
            value: failed as f64,
            unit: "requests",
            peer: "limit".into(),
            peer_value: Some(0.0),
            ratio: failed as f64,
            goal: "= 0".into(),
            holds: failed == 0,
        },
    ])
}

fn slowest(times: &[f64]) -> f64 {
    times.iter().copied().fold(0.0, f64::max)
}

fn limit(name: &str, value: f64, max: f64) -> Row {
    Row {
        name: name.into(),
        value,
        unit: "ms",
        peer: "limit".into(),
        peer_value: Some(max),
        ratio: value / max,
        goal: "<= 1.0".into(),
        holds: value <= max,
    }
}

/// Publishes another version of the model; returns it and when the registry acknowledged it.
async fn publish(setup: &Setup, registry: &Registry) -> anyhow::Result<(u64, Instant)> {
    let mut command = Command::new(&setup.aimass);
    command.arg("--data").arg(&setup.data).args(["model", "add", "--name", MODEL]);
    let status = command.arg(&setup.identity_package).kill_on_drop(true).output().await?;
    let acknowledged = Instant::now();
    if !status.status.success() {
        bail!("publishing failed: {}", String::from_utf8_lossy(&status.stderr));
    }
    let newest = registry.versions(MODEL)?.iter().map(|record| record.version).max();
    Ok((newest.context("a version was published")?, acknowledged))
}

async fn wait_for_version(
    server: &Server,
    setup: &Setup,
    path: &str,
    version: u64,
) -> anyhow::Result<()> {
    let bytes = request(&server.address, &setup.api_key, "POST", path, BODY);
    let mut connection = Connection::open(&server.address).await?;
    let expected = format!("\"model_version\":\"{version}\"");
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(10) {
        let (_, answer) = connection.exchange(&bytes).await?;
        if String::from_utf8_lossy(&answer).contains(&expected) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bail!("version {version} did not answer within 10 s")
}

/// Requests at a steady rate, counted.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(server: &Server, setup: &Setup) -> Load {
        let mut load = Load {
            stop: Arc::default(),
            sent: Arc::default(),
            failed: Arc::default(),
            tasks: Vec::new(),
        };
        let path = "/v2/models/identity/infer";
        let bytes = Arc::new(request(&server.address, &setup.api_key, "POST", path, BODY));
        for _ in 0..CONNECTIONS {
            let (stop, sent, failed) = (load.stop.clone(), load.sent.clone(), load.failed.clone());
            let (bytes, address) = (bytes.clone(), server.address.clone());
            load.tasks.push(tokio::spawn(async move {
                let pause = Duration::from_micros(1_000_000 * CONNECTIONS / REQUESTS_A_SECOND);
                let mut ticks = tokio::time::interval(pause);
                let mut connection = None;
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    if connection.is_none() {
                        connection = Connection::open(&address).await.ok();
                    }
                    let answer = match &mut connection {
                        Some(open) => open.exchange(&bytes).await.map(|(status, _)| status).ok(),
                        None => None,
                    };
                    sent.fetch_add(1, Ordering::Relaxed);
                    if answer != Some(200) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        connection = None;
                    }
                }
            }));
        }
        load
    }

    /// Ends the load; requests sent and failed.
    async fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            // A task that panicked sent nothing more; what it counted stands.
            let _ = task.await;
        }
        (self.sent.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}
