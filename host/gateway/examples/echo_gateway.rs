//! The gateway before an engine that only echoes: what the gateway itself costs, beside
//! `axum_identity`, and something to point a client at.
//!
//! The models are those of [`echo::Echo`]. Prints one JSON object `{"url", "grpc", "api_key"}` and runs
//! until it is killed.

mod echo;

use aimass_gateway::{GatewayConfig, Listeners, Setup, append_api_key, generate_api_key, serve};
use echo::{Echo, Silent};
use std::sync::Arc;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = std::env::temp_dir().join(format!("echo-gateway-{}.toml", std::process::id()));
    let (key, record) = generate_api_key("bench", "example")?;
    append_api_key(&keys, &record)?;
    let http = TcpListener::bind("127.0.0.1:0").await?;
    let grpc = TcpListener::bind("127.0.0.1:0").await?;
    let (address, grpc_address) = (http.local_addr()?, grpc.local_addr()?);
    println!(r#"{{"url":"http://{address}","grpc":"{grpc_address}","api_key":"{key}"}}"#);
    let setup = Setup {
        engine: Arc::new(Echo),
        config: GatewayConfig::new(keys),
        listeners: Listeners { http, grpc: Some(grpc), admin: None },
        observation: Arc::new(Silent),
    };
    serve(setup, std::future::pending()).await?;
    Ok(())
}
