//! (a) What a request costs in CPU time, through a Wasm plugin, beside a bare axum server.

use super::Setup;
use crate::row::{Row, median};
use crate::server::{Server, cost, request};
use tokio::process::Command;

/// Connections at which the cost is measured.
const CONNECTIONS: [usize; 3] = [1, 8, 32];
/// What the plugin, the authentication and the limits may cost.
const RATIO_MAX: f64 = 2.5;

/// Rows of part (a).
pub(crate) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let ours = Server::aimass(&setup.aimass, &setup.data, &[]).await?;
    let bare = Server::start(&mut Command::new(&setup.axum)).await?;
    let numbers: Vec<String> = (0..16).map(|i| format!("{}.5", i)).collect();
    let body = format!(
        "{{\"inputs\":[{{\"name\":\"INPUT0\",\"datatype\":\"FP32\",\"shape\":[1,16],\"data\":[{}]}}]}}",
        numbers.join(",")
    );
    let bytes = |server: &Server| {
        let path = "/v2/models/identity/infer";
        request(&server.address, &setup.api_key, "POST", path, body.as_bytes())
    };
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        let (mut values, mut peers, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..setup.pairs.min(9) {
            let value = cost(&ours, connections, bytes(&ours)).await?;
            let peer = cost(&bare, connections, bytes(&bare)).await?;
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
