//! A server with ten Rust plugins: its memory when nobody asks, and the time from start to ready.

use super::Setup;
use crate::row::{Row, median};
use crate::server::{Server, load, request};
use anyhow::Context;
use std::time::Instant;

const MEGABYTES_MAX: f64 = 60.0;
const READY_MS_MAX: f64 = 300.0;

/// Rows of this part.
pub(super) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    // The first start fills the caches.
    drop(Server::aimass(&setup.aimass, &setup.data_of_ten, &[]).await?);
    let (mut starts, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..setup.pairs {
        let start = Instant::now();
        let server = Server::aimass(&setup.aimass, &setup.data_of_ten, &[]).await?;
        starts.push(start.elapsed().as_secs_f64() * 1e3);
        // Each plugin has answered: what it needs is there.
        for model in 0..10 {
            let path = format!("/v2/models/identity-{model}/infer");
            let body =
                br#"{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[1],"data":[1]}]}"#;
            let bytes = request(&server.address, &setup.api_key, "POST", &path, body);
            load(server.address.clone(), bytes, 1, 10).await?;
        }
        memory.push(resident(&server)?);
    }
    let row = |name: &str, value: f64, unit, max: f64| Row {
        name: name.to_owned(),
        value,
        unit,
        peer: "limit".to_owned(),
        peer_value: Some(max),
        ratio: value / max,
        goal: "<= 1.0".to_owned(),
        holds: value <= max,
    };
    Ok(vec![
        row("idle memory with ten Rust plugins (PSS)", median(&memory), "MB", MEGABYTES_MAX),
        row(
            "start to ready with ten Rust plugins, warm caches",
            median(&starts),
            "ms",
            READY_MS_MAX,
        ),
    ])
}

/// The process's share of physical memory, in megabytes.
pub(super) fn resident(server: &Server) -> anyhow::Result<f64> {
    let pid = server.id().context("the server runs")?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("a Pss line")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0 / 1e6)
}
