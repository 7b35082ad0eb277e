//! `aimass plugin bench`: what a call costs in the sandbox, beside the same code built natively.

mod native;

use super::quantity;
use super::workbench::{Case, Source, Workbench, sign_for_this_run};
use aimass_sandbox::{Limits, NoFiles, Plugin, World};
use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The plugin `aimass/identity` built for contract 0.1.0: its calls cost what any call costs.
const IDENTITY: &[u8] = include_bytes!("../../../../tests/guests/frozen/0.1.0/processor.wasm");
/// Calls in one instance that one warm figure is the mean of.
const WARM_CALLS: u32 = 100;
/// Calls before those that count.
const WARM_UP: u32 = 20;

/// Measure a plugin's calls: with a fresh instance each, as requests are served, and warm.
///
/// Every fixture that expects an answer is measured. Beside it stands the same code built natively
/// against the SDK's stub of the host (a Rust project with a library is needed), and the plugin
/// `identity`, which does nothing: its time is what a call costs at least. Worlds `processor` and
/// `model` without plans; how long a format loads is what `aimass plugin test` tells.
///
/// Examples: `aimass plugin bench`, `aimass plugin bench --runs 1000 --case "two rows"`
///
/// Next: `aimass plugin build`, then `aimass plugin sign FILE`.
#[derive(Args)]
pub(crate) struct Bench {
    #[command(flatten)]
    source: Source,
    /// Calls that are measured, each with a fresh instance
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Measure only the case of this name
    #[arg(long, value_name = "NAME")]
    case: Option<String>,
    /// Leave out the native build
    #[arg(long)]
    no_native: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Times of one case.
struct Times {
    fresh: Spread,
    warm: Spread,
}

/// The middle and the slow end of measured times.
#[derive(Clone, Copy)]
pub(super) struct Spread {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

impl Spread {
    /// Of at least one time.
    fn of(mut times: Vec<Duration>) -> Spread {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
        Spread { p50: at(50), p99: at(99) }
    }

    fn json(self) -> Value {
        json!({ "p50": quantity::micros(self.p50), "p99": quantity::micros(self.p99) })
    }
}

impl Bench {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let package = self.source.package()?;
        let kind = package.manifest().world.kind();
        if !matches!(World::of_kind(kind), Some(World::Processor | World::Model)) {
            bail!(
                "the world {kind} answers no requests; `aimass plugin test` tells how long it loads"
            );
        }
        let mut cases = self.source.cases()?;
        let wanted = |case: &Case| self.case.as_ref().is_none_or(|name| *name == case.fixture.name);
        cases.retain(|case| case.fixture.error.is_none() && wanted(case));
        if cases.is_empty() {
            bail!("there is no such case; add one that expects an answer to fixtures/*.json");
        }
        let bench = Workbench::new(package, self.source.files()?, false)?;
        let identity = sign_for_this_run(&self.source.project, IDENTITY)?;
        let floor = Workbench::new(identity, Arc::new(NoFiles), false)?;
        let (times, floor) = crate::home::runtime()?.block_on(async {
            let mut times = Vec::new();
            for case in &cases {
                times.push(self.measure(&bench, case).await?);
            }
            anyhow::Ok((times, self.measure(&floor, &identity_case()?).await?))
        })?;
        let native = match self.no_native {
            true => Err("left out by --no-native".to_owned()),
            false => native::measure(&self.source, &cases, self.runs)
                .map_err(|error| format!("{error:#}")),
        };
        self.report(&cases, &times, &floor, &native);
        Ok(())
    }

    async fn measure(&self, bench: &Workbench, case: &Case) -> anyhow::Result<Times> {
        let name = &case.fixture.name;
        let plugin = bench.load(case.fixture.config.as_deref()).await?;
        for _ in 0..WARM_UP {
            let answer = plugin.process(case.call(), case.inputs()).await;
            answer.with_context(|| format!("case {name:?}"))?;
        }
        let mut fresh = Vec::with_capacity(self.runs as usize);
        for _ in 0..self.runs {
            let (call, inputs) = (case.call(), case.inputs());
            let started = Instant::now();
            plugin.process(call, inputs).await?;
            fresh.push(started.elapsed());
        }
        let warm = self.warm(&plugin, case).await?;
        Ok(Times { fresh: Spread::of(fresh), warm: Spread::of(warm) })
    }

    /// Means of runs of calls in one instance, as many as its limit of host calls allows.
    async fn warm(&self, plugin: &Plugin, case: &Case) -> anyhow::Result<Vec<Duration>> {
        let once = plugin.process(case.call(), case.inputs()).await?;
        let Limits { host_calls_max, .. } = plugin.limits();
        let most = host_calls_max / once.stats.host_calls.max(1);
        let calls = WARM_CALLS.min(u32::try_from(most).unwrap_or(u32::MAX)).max(1);
        let mut means = Vec::new();
        for _ in 0..self.runs.div_ceil(WARM_CALLS).max(10) {
            let (call, inputs) = (case.call(), case.inputs());
            let started = Instant::now();
            plugin.process_warm(call, inputs, calls).await?;
            means.push(started.elapsed() / calls);
        }
        Ok(means)
    }

    fn report(
        &self,
        cases: &[Case],
        times: &[Times],
        floor: &Times,
        native: &Result<Vec<Option<Spread>>, String>,
    ) {
        let native_of = |at: usize| native.as_ref().ok().and_then(|all| all.get(at).copied()?);
        if self.json {
            let rows = cases.iter().zip(times).enumerate().map(|(at, (case, times))| {
                json!({
                    "name": case.fixture.name,
                    "fresh_us": times.fresh.json(),
                    "warm_us": times.warm.json(),
                    "native_us": native_of(at).map(Spread::json),
                    "fresh_to_native": native_of(at).map(|one| ratio(times.fresh, one)),
                    "warm_to_native": native_of(at).map(|one| ratio(times.warm, one)),
                })
            });
            let object = json!({
                "runs": self.runs,
                "cases": rows.collect::<Vec<_>>(),
                "identity": { "fresh_us": floor.fresh.json(), "warm_us": floor.warm.json() },
                "native_error": native.as_ref().err(),
            });
            println!("{object}");
            return;
        }
        println!(
            "{:<36} {:>10} {:>10} {:>10} {:>10} {:>9} {:>9}",
            "", "fresh p50", "p99", "warm", "native", "fresh/nat", "warm/nat"
        );
        let floor_name = "(identity: a call at least)".to_owned();
        let rows = cases.iter().enumerate().map(|(at, case)| (at, case.fixture.name.clone()));
        for (at, name) in rows.chain([(cases.len(), floor_name)]) {
            let times = times.get(at).unwrap_or(floor);
            let name: String = name.chars().take(36).collect();
            let ratios = native_of(at).map(|one| {
                let (fresh, warm) = (ratio(times.fresh, one), ratio(times.warm, one));
                format!("{:>10} {fresh:>8.2}x {warm:>8.2}x", quantity::time(one.p50))
            });
            println!(
                "{name:<36} {:>10} {:>10} {:>10} {}",
                quantity::time(times.fresh.p50),
                quantity::time(times.fresh.p99),
                quantity::time(times.warm.p50),
                ratios.unwrap_or_else(|| format!("{:>10}", "-")),
            );
        }
        println!(
            "runs      {} with a fresh instance each; warm is a mean of {WARM_CALLS}",
            self.runs
        );
        if let Err(reason) = native {
            println!("native    not measured: {reason}");
        }
    }
}

fn ratio(ours: Spread, native: Spread) -> f64 {
    ours.p50.as_secs_f64() / native.p50.as_secs_f64().max(1e-9)
}

/// A call of `identity` with one small tensor.
fn identity_case() -> anyhow::Result<Case> {
    let json = br#"[{ "name": "identity", "inputs":
        [{ "name": "INPUT0", "datatype": "FP32", "shape": [4], "data": [1, 2, 3, 4] }] }]"#;
    let mut fixtures = aimass_engine::parse_fixtures("identity", json)?;
    let fixture = fixtures.pop().context("one case")?;
    Ok(Case { file: "identity".into(), index: 0, fixture })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_slow_end() {
        let times = (1..=200).map(Duration::from_micros).collect();
        let spread = Spread::of(times);
        assert_eq!(spread.p50, Duration::from_micros(101));
        assert_eq!(spread.p99, Duration::from_micros(199));
        let one = Spread::of(vec![Duration::from_micros(3)]);
        assert_eq!((one.p50, one.p99), (Duration::from_micros(3), Duration::from_micros(3)));
    }
}
