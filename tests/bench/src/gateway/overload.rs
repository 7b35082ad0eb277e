//! More load than the server can take: what it still answers, how soon it refuses the rest, what memory
//! it takes; and whether a tenant that floods it is felt by one that does not.
//!
//! The load is paced: each connection sends at its time, not when the answer before has come. Requests
//! are one sentence for MiniLM, so that capacity is the machine's and not a setting's.

use super::Setup;
use crate::row::{Row, median};
use crate::server::{Connection, Server, request};
use anyhow::{Context, bail};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;

/// Places of the server: few, so that whoever is inside is answered soon.
const PLACES: usize = 16;
/// Connections that ask for the peak, each after its answer: no more than there are places.
const PEAK_CONNECTIONS: [usize; 3] = [PLACES / 4, PLACES / 2, PLACES];
const BODY: &[u8] =
    br#"{"model":"minilm","input":"The quick brown fox jumps over the lazy dog near the river."}"#;
const RUN: Duration = Duration::from_secs(8);
/// Connections of the flood, and of one well-behaved tenant.
const CROWD: usize = TENANTS * FEW;
const FEW: usize = 8;
/// Tenants over which the same load is spread evenly.
const TENANTS: usize = 20;
const GOODPUT_MIN: f64 = 0.9;
const REFUSED_MS_MAX: f64 = 10.0;
const MEMORY_RATIO_MAX: f64 = 1.2;
const QUIET_RATIO_MAX: f64 = 1.2;

/// What a load got.
#[derive(Default)]
struct Answers {
    good_ms: Vec<f64>,
    refused_ms: Vec<f64>,
}

/// One tenant's load: requests a second over so many connections.
struct Load {
    key: String,
    rate: f64,
    connections: usize,
}

/// Rows of the parts `overload` and `flood`.
pub(super) async fn rows(setup: &Setup, flood: bool) -> anyhow::Result<Vec<Row>> {
    let config = setup.data.join("overload.toml");
    std::fs::write(&config, format!("[gateway]\nin_flight_max = {PLACES}\n"))?;
    let mut keys = Vec::new();
    for tenant in 0..=TENANTS {
        keys.push(key(setup, &format!("tenant-{tenant}")).await?);
    }
    let path = config.display().to_string();
    let server = Server::aimass(&setup.aimass, &setup.data, &["--config", &path]).await?;
    let peak = peak(&server, &keys[0]).await?;
    if flood { quiet(&server, &keys, peak).await } else { overload(&server, &keys[0], peak).await }
}

async fn key(setup: &Setup, tenant: &str) -> anyhow::Result<String> {
    let mut command = Command::new(&setup.aimass);
    command.arg("--data").arg(&setup.data).args(["key", "new", "api", "--tenant", tenant]);
    let output = command.stderr(Stdio::null()).output().await?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().context("a key")?.trim().to_owned())
}

/// Answers a second at the best of [`PEAK_CONNECTIONS`], of which none makes the server refuse anything.
async fn peak(server: &Server, key: &str) -> anyhow::Result<f64> {
    let mut best = 0f64;
    // Twice: the first round warms up.
    for connections in PEAK_CONNECTIONS.into_iter().chain(PEAK_CONNECTIONS) {
        let loads = [Load { key: key.to_owned(), rate: f64::INFINITY, connections }];
        let Some(answers) = run(server, &loads).await?.pop() else { bail!("one load, one result") };
        let refused = answers.refused_ms.len();
        if refused > 0 {
            bail!("expected no refusals of {connections} connections, got {refused}");
        }
        best = best.max(answers.good_ms.len() as f64 / RUN.as_secs_f64());
    }
    if best < 1.0 {
        bail!("expected answers of minilm, got {best} a second");
    }
    Ok(best)
}

async fn overload(server: &Server, key: &str, peak: f64) -> anyhow::Result<Vec<Row>> {
    let before = resident(server)?;
    let loads = [Load { key: key.to_owned(), rate: 10.0 * peak, connections: CROWD }];
    let Some(answers) = run(server, &loads).await?.pop() else { bail!("one load, one result") };
    if answers.refused_ms.is_empty() {
        bail!("expected refusals at ten times the peak of {peak:.0} a second, got none");
    }
    let after = resident(server)?;
    let goodput = answers.good_ms.len() as f64 / RUN.as_secs_f64();
    let refused = percentile(&answers.refused_ms, 0.99);
    let row =
        |name: &str, value: f64, unit, peer: &str, beside: f64, holds: bool, goal: String| Row {
            name: name.to_owned(),
            value,
            unit,
            peer: peer.to_owned(),
            peer_value: Some(beside),
            ratio: value / beside,
            goal,
            holds,
        };
    let offered = (answers.good_ms.len() + answers.refused_ms.len()) as f64 / RUN.as_secs_f64();
    let name = format!("answers a second at {:.1}x the peak", offered / peak);
    let keeps = goodput >= GOODPUT_MIN * peak;
    let soon = refused <= REFUSED_MS_MAX;
    let flat = after <= MEMORY_RATIO_MAX * before;
    Ok(vec![
        row(&name, goodput, "1/s", "its peak", peak, keeps, format!(">= {GOODPUT_MIN}")),
        row(
            "refused within, 99 of 100",
            refused,
            "ms",
            "limit",
            REFUSED_MS_MAX,
            soon,
            "<= 1.0".into(),
        ),
        row(
            "memory after it (PSS)",
            after,
            "MB",
            "before",
            before,
            flat,
            format!("<= {MEMORY_RATIO_MAX}"),
        ),
    ])
}

/// A quiet tenant beside one that floods at twenty times its share, and beside twenty that send as
/// much together.
async fn quiet(server: &Server, keys: &[String], peak: f64) -> anyhow::Result<Vec<Row>> {
    let share = peak / TENANTS as f64;
    let quiet = || Load { key: keys[0].clone(), rate: share / 2.0, connections: FEW };
    let all = TENANTS as f64 * share;
    let flood = [quiet(), Load { key: keys[1].clone(), rate: all, connections: CROWD }];
    let even: Vec<Load> = std::iter::once(quiet())
        .chain(keys[1..].iter().map(|key| Load { key: key.clone(), rate: share, connections: FEW }))
        .collect();
    let (mut beside_flood, mut beside_even) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        beside_flood.extend(run(server, &flood).await?.swap_remove(0).good_ms);
        beside_even.extend(run(server, &even).await?.swap_remove(0).good_ms);
    }
    let (value, beside) = (percentile(&beside_flood, 0.99), percentile(&beside_even, 0.99));
    let ratio = value / beside;
    Ok(vec![Row {
        name: "a quiet tenant's p99 beside a flood at 20x its share".to_owned(),
        value,
        unit: "ms",
        peer: "the same load, evenly".to_owned(),
        peer_value: Some(beside),
        ratio,
        goal: format!("<= {QUIET_RATIO_MAX}"),
        holds: ratio <= QUIET_RATIO_MAX,
    }])
}

/// Runs all loads at once, from one thread of its own; what each got.
async fn run(server: &Server, loads: &[Load]) -> anyhow::Result<Vec<Answers>> {
    let loads: Vec<(Vec<u8>, Duration, usize)> = loads
        .iter()
        .map(|load| {
            let bytes = request(&server.address, &load.key, "POST", "/v1/embeddings", BODY);
            let each = load.connections as f64 / load.rate;
            (bytes, Duration::from_secs_f64(each), load.connections)
        })
        .collect();
    let address = server.address.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(together(address, loads))
    });
    let done = tokio::task::spawn_blocking(move || thread.join()).await?;
    done.map_err(|_| anyhow::anyhow!("the load generator panicked"))?
}

async fn together(
    address: String,
    loads: Vec<(Vec<u8>, Duration, usize)>,
) -> anyhow::Result<Vec<Answers>> {
    let mut running = Vec::new();
    for (bytes, every, connections) in loads {
        let mut tasks = Vec::new();
        for index in 0..connections {
            let (address, bytes) = (address.clone(), bytes.clone());
            let offset = every.mul_f64(index as f64 / connections as f64);
            tasks.push(tokio::spawn(paced(address, bytes, every, offset)));
        }
        running.push(tasks);
    }
    let mut results = Vec::new();
    for tasks in running {
        let mut sum = Answers::default();
        for task in tasks {
            let part = task.await??;
            sum.good_ms.extend(part.good_ms);
            sum.refused_ms.extend(part.refused_ms);
        }
        results.push(sum);
    }
    Ok(results)
}

/// Asks at its times; one that has passed before the answer to the last is left out.
async fn paced(
    address: String,
    bytes: Vec<u8>,
    every: Duration,
    offset: Duration,
) -> anyhow::Result<Answers> {
    let mut connection = Connection::open(&address).await?;
    let start = Instant::now();
    let (mut at, mut answers) = (offset, Answers::default());
    while at < RUN {
        tokio::time::sleep_until(start + at).await;
        let sent = Instant::now();
        let (status, _) = connection.exchange(&bytes).await?;
        let took = sent.elapsed().as_secs_f64() * 1e3;
        match status {
            200 => answers.good_ms.push(took),
            429 | 503 => answers.refused_ms.push(took),
            other => bail!("expected 200, 429 or 503, got {other}"),
        }
        let passed = start.elapsed();
        at = if every.is_zero() { passed } else { at + every };
        while at < passed {
            at += every;
        }
    }
    Ok(answers)
}

fn percentile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// The process's share of physical memory, in megabytes; the median of a few looks.
fn resident(server: &Server) -> anyhow::Result<f64> {
    let looks: anyhow::Result<Vec<f64>> = (0..3).map(|_| super::idle::resident(server)).collect();
    Ok(median(&looks?))
}
