//! `aimass top`: what a running server does, in the terminal, from its `/metrics`.

mod sample;
mod view;

use anyhow::{Context, bail};
use clap::Args;
use sample::Sample;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use view::View;

/// Largest answer of `/metrics` that is read.
const METRICS_BYTES_MAX: u64 = 32 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Clears the terminal and goes to its start (ECMA-48).
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Show what a running server does: requests, latencies, queue, batches, by model and tenant.
///
/// Reads `/metrics` of the server twice and shows the difference, again and again until Ctrl-C.
///
/// Examples: `aimass top --key KEY`, `aimass top --key KEY --once --json`
#[derive(Args)]
pub(crate) struct Top {
    /// Address of the server
    #[arg(long, default_value = "http://127.0.0.1:8000", value_name = "URL")]
    url: String,
    /// API key
    #[arg(long, env = "AIMASS_API_KEY", hide_env_values = true, value_name = "KEY")]
    key: String,
    /// Seconds between two looks
    #[arg(long, default_value_t = 2.0, value_name = "SECONDS")]
    interval: f64,
    /// Show one interval and end
    #[arg(long)]
    once: bool,
    /// JSON instead of tables, one object a look
    #[arg(long)]
    json: bool,
}

impl Top {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        if !(0.1..=3600.0).contains(&self.interval) {
            bail!("--interval: expected 0.1 to 3600 seconds, got {}", self.interval);
        }
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .build();
        let agent = ureq::Agent::from(config);
        let mut before = self.look(&agent)?;
        let clear = std::io::stdout().is_terminal() && !self.once;
        loop {
            let start = Instant::now();
            std::thread::sleep(Duration::from_secs_f64(self.interval));
            let after = self.look(&agent)?;
            let view = View::between(&before, &after, start.elapsed());
            let text = if self.json { view.json() + "\n" } else { view.text(&self.url) };
            let mut out = std::io::stdout().lock();
            if clear && !self.json {
                out.write_all(CLEAR.as_bytes())?;
            }
            out.write_all(text.as_bytes())?;
            out.flush()?;
            if self.once {
                return Ok(());
            }
            before = after;
        }
    }

    fn look(&self, agent: &ureq::Agent) -> anyhow::Result<Sample> {
        let url = format!("{}/metrics", self.url.trim_end_matches('/'));
        let request = agent.get(&url).header("authorization", format!("Bearer {}", self.key));
        let mut answer = request.call().with_context(|| format!("{url} does not answer"))?;
        let status = answer.status();
        if !status.is_success() {
            bail!("{url} answered {status}; give a key with --key or AIMASS_API_KEY");
        }
        let body = answer.body_mut().with_config().limit(METRICS_BYTES_MAX);
        let text = body.read_to_string().with_context(|| url.clone())?;
        Sample::parse(&text).with_context(|| url)
    }
}
