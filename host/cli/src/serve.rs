//! `aimass serve`: the server.

mod admin;
mod composition;
mod file;
mod sockets;
mod traced;

use crate::api_key;
use crate::dispatch_flags::DispatchFlags;
use crate::home::{Home, runtime};
use crate::logging::Logging;
use crate::plugin_flags::PluginFlags;
use aimass_engine::{DeviceChoice, Engine, GpuOptions};
use aimass_gateway::{GatewayConfig, Listeners, Setup};
use anyhow::Context;
use clap::Args;
use sockets::{HandedOver, bind};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How long a process that takes over waits until it is ready before it listens all the same.
const READY_WAIT_MAX: Duration = Duration::from_secs(60);
const READY_ASKED_EVERY: Duration = Duration::from_millis(5);

/// Serve the registry's models over HTTP and gRPC (OIP v2 and OpenAI-compatible).
///
/// Three listeners: HTTP/1.1 (OIP v2 and the OpenAI API; HTTP/2 too where TLS agrees on it), gRPC (OIP v2, as Triton's
/// and KServe's clients speak it), and the admin API for operators. With `[gateway.tls]` in the file of
/// --config all three speak TLS, and client certificates are identities; without, keys go in the clear, so that
/// anything but loopback is warned about.
///
/// Every request but health needs an API key (`aimass key new api`), a token or a certificate.
/// `[gateway]` and `[gateway.flow]` have the limits: connections, requests inside and waiting, bodies, and the
/// rates and weights of tenants. Who is refused gets 429 or 503 and when to come back.
/// docs/reference/limits-and-overload.md lists all of them.
///
/// New versions and moved labels are followed while it runs. Ctrl-C or SIGTERM drains: requests in
/// flight are answered, new ones are not taken; a second one ends it at once. Sockets that are handed
/// over by systemd (LISTEN_FDS: HTTP, then gRPC) are used instead of --listen.
///
/// Examples: `aimass serve`, `aimass serve --listen 0.0.0.0:8000 --config aimass.toml`
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
    /// Listen beside another process on the same address (SO_REUSEPORT), so that the next one can start
    /// before this one stops
    #[arg(long)]
    reuse_port: bool,
    /// How long a shutdown waits for requests in flight [default: 30]
    #[arg(long, value_name = "SECONDS")]
    drain_seconds: Option<u64>,
    /// How long a shutdown first says that it is not ready, and still accepts [default: 0]
    #[arg(long, value_name = "SECONDS")]
    unready_seconds: Option<u64>,
    /// TOML file with a `[gateway]` table: limits, identity, TLS, flow; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where models run: `auto` (every GPU that passes its self-test, else the CPU), `cpu`, or GPUs by
    /// number, as `cuda:0,cuda:1`
    #[arg(long, default_value_t, value_name = "DEVICE", env = "AIMASS_DEVICE")]
    device: DeviceChoice,
    /// Most bytes of each GPU's memory [default: 90 % of what is free at the start]
    #[arg(long, value_name = "BYTES")]
    device_memory_bytes_max: Option<u64>,
    /// On GPUs use our own kernels alone, so that equal calls give equal bits
    #[arg(long)]
    deterministic: bool,
    /// On GPUs multiply f32 on tensor cores, rounded to 10 bits of mantissa
    #[arg(long)]
    tf32: bool,
    /// Most kernels that NVRTC, where it is installed, makes for the elementwise ops of one model on a GPU;
    /// 0 launches every op by itself [default: 64]
    #[arg(long, value_name = "NUMBER")]
    fused_kernels_max: Option<usize>,
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
    plugins: PluginFlags,
    #[command(flatten)]
    dispatch: DispatchFlags,
    #[command(flatten)]
    traced: traced::TracedLimits,
    #[command(flatten)]
    composition: composition::CompositionLimits,
}

impl Serve {
    pub(crate) fn run(self, home: &Home, logging: Logging) -> anyhow::Result<()> {
        runtime()?.block_on(self.serve(home, logging))
    }

    fn gpu_options(&self) -> GpuOptions {
        let mut options = GpuOptions::default();
        options.device.memory_bytes_max = self.device_memory_bytes_max.unwrap_or(0);
        options.device.deterministic = self.deterministic;
        options.device.tf32 = self.tf32;
        options.fused_kernels_max = self.fused_kernels_max.unwrap_or(options.fused_kernels_max);
        options
    }

    async fn serve(self, home: &Home, logging: Logging) -> anyhow::Result<()> {
        let gateway = self.gateway(home)?;
        let mut handed = HandedOver::from_environment();
        let is_successor = self.reuse_port || handed.any();
        // Beside another process the kernel would hand over connections before they can be answered.
        let early = match self.reuse_port && !handed.any() {
            true => None,
            false => Some(self.listeners(&mut handed).await?),
        };
        let address_of = |listener: &TcpListener| listener.local_addr().ok();
        let http_address = early.as_ref().and_then(|early| address_of(&early.http));
        let address = http_address.unwrap_or(self.listen);
        let grpc_address = match &early {
            Some(early) => early.grpc.as_ref().and_then(address_of),
            None => self.grpc_address(),
        };
        let admin = admin::listen(self.admin_listen, self.listen).await?;
        if !home.api_keys().exists() {
            let key = api_key::create(home, "default", "made at first start")?;
            println!("api key   {key}  (shown once; `aimass key new api` makes more)");
        }
        let mut config = home.engine_config();
        config.loopback = address.ip().is_loopback()
            && grpc_address.is_none_or(|address| address.ip().is_loopback());
        config.threads = self.threads;
        config.device = self.device.clone();
        config.gpu = self.gpu_options();
        config.exact_quantization = self.exact_quantization;
        config.packed_bytes_max = self.packed_bytes_max;
        self.plugins.apply(&mut config);
        config.dispatch = self.dispatch.clone().config();
        config.traced = self.traced.config();
        config.composition = self.composition.config();
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
        let (stop, cut) = signals();
        if is_successor {
            until_ready(&engine).await;
        }
        let listeners = match early {
            Some(early) => early,
            None => self.listeners(&mut handed).await?,
        };
        let address = listeners.http.local_addr()?;
        let grpc_address = listeners.grpc.as_ref().and_then(address_of);
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
        let listeners = Listeners { admin, ..listeners };
        let setup = Setup { engine, config: gateway, listeners, observation: Arc::new(logging) };
        aimass_gateway::serve_until(setup, stop, cut).await?;
        println!("stopped");
        Ok(())
    }

    /// What was handed over, else what the flags say.
    async fn listeners(&self, handed: &mut HandedOver) -> anyhow::Result<Listeners> {
        if handed.any() {
            let http = handed.take(0)?.context("LISTEN_FDS: the first socket is missing")?;
            let grpc = if self.no_grpc { None } else { handed.take(1)? };
            return Ok(Listeners { http, grpc, admin: None });
        }
        let mend = "choose another address with --listen, or --reuse-port to share it";
        let http = bind(self.listen, self.reuse_port, mend).await?;
        let mend = "choose another address with --grpc-listen, or none with --no-grpc";
        let grpc = match self.grpc_address() {
            Some(address) => Some(bind(address, self.reuse_port, mend).await?),
            None => None,
        };
        Ok(Listeners { http, grpc, admin: None })
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
        gateway.drain_seconds = self.drain_seconds.unwrap_or(gateway.drain_seconds);
        let flow = &mut gateway.flow;
        flow.unready_seconds = self.unready_seconds.unwrap_or(flow.unready_seconds);
        let usage = &mut gateway.telemetry.usage;
        usage.dir.get_or_insert_with(|| home.usage());
        gateway.batch.dir.get_or_insert_with(|| home.jobs());
        gateway.validate()?;
        Ok(gateway)
    }
}

/// Waits until every model can answer, for a minute at most: while the process before this one
/// serves, there is no hurry.
async fn until_ready(engine: &Engine) {
    let start = Instant::now();
    while !engine.ready().ready && start.elapsed() < READY_WAIT_MAX {
        tokio::time::sleep(READY_ASKED_EVERY).await;
    }
}

/// The first signal to stop, and the second.
fn signals() -> (impl Future<Output = ()> + Send, impl Future<Output = ()> + Send) {
    let (stop, stopped) = oneshot::channel();
    let (cut, was_cut) = oneshot::channel();
    tokio::spawn(async move {
        stop_signal().await;
        eprintln!("draining; a second signal ends it at once");
        // Nobody listens any more once the server has ended.
        let _ = stop.send(());
        stop_signal().await;
        let _ = cut.send(());
    });
    let ended = |signal: oneshot::Receiver<()>| async {
        if signal.await.is_err() {
            std::future::pending().await
        }
    };
    (ended(stopped), ended(was_cut))
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
}
