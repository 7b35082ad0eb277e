//! `aimass serve`: the server.

mod admin;
mod file;
mod traced;

use crate::api_key;
use crate::dispatch_flags::DispatchFlags;
use crate::home::{Home, runtime};
use crate::logging::Logging;
use aimass_engine::Engine;
use aimass_gateway::{GatewayConfig, Listeners, Setup};
use anyhow::Context;
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Serve the registry's models over HTTP.
///
/// New versions and moved labels are followed while it runs. Ctrl-C drains: requests in flight are
/// answered, new ones are not taken.
#[derive(Args)]
pub(crate) struct Serve {
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Address for gRPC [default: the port after that of --listen]
    #[arg(long, value_name = "ADDRESS")]
    grpc_listen: Option<SocketAddr>,
    /// Do not serve gRPC
    #[arg(long, conflicts_with = "grpc_listen")]
    no_grpc: bool,
    /// Address of the admin API, for operators and super-users, or `off` [default: 127.0.0.1:8003
    /// beside a listener on loopback, else off]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<admin::AdminListen>,
    /// TOML file with a `[gateway]` table: limits, identity, TLS, flow; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Kernel threads [default: all cores]
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    threads: usize,
    /// Compute dynamically quantized models with one scale for a whole tensor, as their files say:
    /// farther from the unquantized model, and calls are not joined
    #[arg(long)]
    exact_quantization: bool,
    /// Body bytes that a request may have [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    body_bytes_max: Option<usize>,
    /// Bytes of packed weights kept on disk for the next start; 0 keeps none
    #[arg(long, default_value_t = 16 << 30, value_name = "BYTES")]
    packed_bytes_max: u64,
    #[command(flatten)]
    dispatch: DispatchFlags,
    #[command(flatten)]
    traced: traced::TracedLimits,
}

impl Serve {
    pub(crate) fn run(self, home: &Home, logging: Logging) -> anyhow::Result<()> {
        runtime()?.block_on(self.serve(home, logging))
    }

    async fn serve(self, home: &Home, logging: Logging) -> anyhow::Result<()> {
        let gateway = self.gateway(home)?;
        let http = bind(self.listen, "choose another address with --listen").await?;
        let address = http.local_addr()?;
        let grpc = match self.grpc_address() {
            Some(address) => {
                let mend = "choose another address with --grpc-listen, or none with --no-grpc";
                Some(bind(address, mend).await?)
            }
            None => None,
        };
        let admin = admin::listen(self.admin_listen, self.listen).await?;
        if !home.api_keys().exists() {
            let key = api_key::create(home, "default", "made at first start")?;
            println!("api key   {key}  (shown once; `aimass key new api` makes more)");
        }
        let mut config = home.engine_config();
        let grpc_address = grpc.as_ref().map(TcpListener::local_addr).transpose()?;
        config.loopback = address.ip().is_loopback()
            && grpc_address.is_none_or(|address| address.ip().is_loopback());
        config.threads = self.threads;
        config.exact_quantization = self.exact_quantization;
        config.packed_bytes_max = self.packed_bytes_max;
        config.dispatch = self.dispatch.config();
        config.traced = self.traced.config();
        let policy = aimass_trust::TrustPolicy::load(&home.trust_policy())?;
        for publisher in policy.local_publishers() {
            match config.loopback {
                true => println!("trusting  development key of {publisher} (loopback only)"),
                false => {
                    println!("ignoring  development key of {publisher}: {address} is no loopback")
                }
            }
        }
        let engine = Engine::open(config).await?;
        let secure = if gateway.tls.is_some() { "s" } else { "" };
        if let Some(admin) = &admin {
            println!("admin     http{secure}://{}/admin/v1", admin.local_addr()?);
        }
        println!(
            "serving   http{secure}://{address}  (data {}; Ctrl-C drains)",
            home.dir().display()
        );
        if let Some(address) = grpc_address {
            println!("serving   grpc{secure}://{address}");
        }
        let setup = Setup {
            engine,
            config: gateway,
            listeners: Listeners { http, grpc, admin },
            observation: Arc::new(logging),
        };
        aimass_gateway::serve(setup, stop_signal()).await?;
        println!("stopped   all requests were answered");
        Ok(())
    }

    /// Where gRPC is served, if it is.
    fn grpc_address(&self) -> Option<SocketAddr> {
        if self.no_grpc {
            return None;
        }
        let port = match self.listen.port() {
            0 => 0,
            port => port.saturating_add(1),
        };
        Some(self.grpc_listen.unwrap_or_else(|| SocketAddr::new(self.listen.ip(), port)))
    }

    /// Defaults, then the file, then flags.
    fn gateway(&self, home: &Home) -> anyhow::Result<GatewayConfig> {
        let mut gateway = match &self.config {
            Some(path) => file::read(path)?,
            None => GatewayConfig::default(),
        };
        gateway.api_keys = home.api_keys();
        if let Some(bytes) = self.body_bytes_max {
            gateway.body_bytes_max = bytes;
        }
        let usage = &mut gateway.telemetry.usage;
        usage.dir.get_or_insert_with(|| home.usage());
        gateway.batch.dir.get_or_insert_with(|| home.jobs());
        gateway.validate()?;
        Ok(gateway)
    }
}

async fn bind(address: SocketAddr, mend: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{address} cannot be listened on; {mend}"))
}

/// Ends on Ctrl-C or SIGTERM.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be caught; only Ctrl-C drains");
            // An error here means that no signal can be caught; then the server runs until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
    eprintln!("draining");
}
