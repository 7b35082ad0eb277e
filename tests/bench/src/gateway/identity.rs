//! CPU of a small request over HTTP, as JSON and as binary data, beside a bare axum server.

use super::{CONNECTIONS, Setup, cpu_row};
use crate::row::Row;
use crate::server::{Server, cost, request, request_with};
use tokio::process::Command;

const PATH: &str = "/v2/models/identity/infer";

/// Rows of this part.
pub(super) async fn rows(setup: &Setup) -> anyhow::Result<Vec<Row>> {
    let ours = Server::aimass(&setup.aimass, &setup.data, &[]).await?;
    let bare = Server::start(&mut Command::new(&setup.axum)).await?;
    let json = |server: &Server| {
        let numbers: Vec<String> = (0..16).map(|i| format!("{i}.5")).collect();
        let body = format!(
            r#"{{"inputs":[{{"name":"INPUT0","datatype":"FP32","shape":[1,16],"data":[{}]}}]}}"#,
            numbers.join(",")
        );
        request(&server.address, &setup.api_key, "POST", PATH, body.as_bytes())
    };
    let mut rows = Vec::new();
    for connections in CONNECTIONS {
        for kind in ["JSON", "binary"] {
            let bytes = |server: &Server| match kind {
                "JSON" => json(server),
                _ => binary(server, &setup.api_key, 16),
            };
            let mut pairs = Vec::new();
            for _ in 0..setup.pairs {
                let value = cost(&ours, connections, bytes(&ours)).await?;
                pairs.push((value, cost(&bare, connections, bytes(&bare)).await?));
            }
            let name = format!("identity over HTTP, {kind}, {connections} connections");
            rows.push(cpu_row(name, "bare axum", &pairs));
        }
    }
    Ok(rows)
}

/// A request with `elements` f32 as binary data, and its answer wanted as such.
pub(super) fn binary(server: &Server, key: &str, elements: usize) -> Vec<u8> {
    let size = 4 * elements;
    let json = format!(
        r#"{{"parameters":{{"binary_data_output":true}},"inputs":[{{"name":"INPUT0","datatype":"FP32","shape":[1,{elements}],"parameters":{{"binary_data_size":{size}}}}}]}}"#
    );
    let mut body = json.clone().into_bytes();
    body.extend((0..elements).flat_map(|i| (i as f32 + 0.5).to_le_bytes()));
    let header = format!("inference-header-content-length: {}\r\n", json.len());
    request_with(&server.address, key, "POST", PATH, &header, &body)
}
