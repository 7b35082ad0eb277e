//! CPU of the identity model beside the servers that a user would pick instead (`tests/bench/peers`).

use super::{CONNECTIONS, Setup};
use crate::row::{Row, median};
use crate::server::{Server, cost_of, request};
use anyhow::Context;
use std::path::PathBuf;
use tokio::process::Command;

/// What a request may cost beside a peer's.
const RATIO_MAX: f64 = 1.0;
/// Requests of one run: the peers are slow.
const REQUESTS: usize = 2_000;

/// A peer, as it is said on the command line: `NAME=PYTHON`.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    name: String,
    python: PathBuf,
}

impl std::str::FromStr for Peer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Peer> {
        let (name, python) = text.split_once('=').context("expected NAME=PYTHON")?;
        Ok(Peer { name: name.to_owned(), python: python.into() })
    }
}

/// The processes that a peer started, which end with it.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let Some(id) = self.0 else { return };
        // They may have ended already; nothing is lost either way.
        let _ =
            std::process::Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).status();
    }
}

/// Rows of this part, of the peers that are installed.
pub(super) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let ours = Server::aimass(&setup.aimass, &setup.data, &[]).await?;
    let mut rows = Vec::new();
    for peer in &setup.peer {
        let scripts =
            setup.peers.as_ref().context("--peer needs --peers, the folder of scripts")?;
        let mut start = Command::new(&peer.python);
        start.arg(scripts.join(format!("serve_{}.py", peer.name))).process_group(0);
        let theirs = Server::start(&mut start).await?;
        let _group = Group(theirs.id());
        for connections in CONNECTIONS {
            rows.push(row(setup, &ours, &theirs, peer, connections).await?);
        }
    }
    Ok(rows)
}

async fn row(
    setup: &Setup,
    ours: &Server,
    theirs: &Server,
    peer: &Peer,
    connections: usize,
) -> anyhow::Result<Row> {
    let mut pairs = Vec::new();
    for _ in 0..setup.pairs {
        let own = cost_of(REQUESTS, ours, connections, infer(ours, &setup.api_key)).await?;
        let bytes = match peer.name.as_str() {
            "litserve" => predict(theirs),
            _ => infer(theirs, ""),
        };
        pairs.push((own, cost_of(REQUESTS, theirs, connections, bytes).await?));
    }
    let (own, other): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    let ratio = median(&pairs.iter().map(|(own, other)| own / other).collect::<Vec<_>>());
    Ok(Row {
        name: format!("identity over HTTP, JSON, {connections} connections"),
        value: median(&own),
        unit: "CPU us/request",
        peer: peer.name.clone(),
        peer_value: Some(median(&other)),
        ratio,
        goal: format!("<= {RATIO_MAX:.1}"),
        holds: ratio <= RATIO_MAX,
    })
}

fn numbers() -> String {
    (0..16).map(|i| format!("{i}.5")).collect::<Vec<_>>().join(",")
}

fn infer(server: &Server, key: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"inputs":[{{"name":"INPUT0","datatype":"FP32","shape":[1,16],"data":[{}]}}]}}"#,
        numbers()
    );
    request(&server.address, key, "POST", "/v2/models/identity/infer", body.as_bytes())
}

fn predict(server: &Server) -> Vec<u8> {
    let body = format!(r#"{{"input":[{}]}}"#, numbers());
    request(&server.address, "", "POST", "/predict", body.as_bytes())
}
