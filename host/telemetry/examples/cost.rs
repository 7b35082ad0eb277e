//! What telemetry costs a call: `cargo run --profile dev -p aimass-telemetry --example cost`.
//!
//! Prints nanoseconds for the call itself without and with the decision that it is not traced, for a redacted
//! text, and records a second that several tasks leave at once, in a temporary folder.

use aimass_telemetry::call::{Call, plan_ran};
use aimass_telemetry::logs::redacted;
use aimass_telemetry::trace::{TraceConfig, Tracer};
use aimass_telemetry::usage::{Meter, UsageConfig, UsageKind, UsageRecord};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const CALLS: u32 = 200_000;
const RECORDS: usize = 200_000;
const TASKS: [usize; 3] = [1, 8, 32];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    let endpoint = Some("http://127.0.0.1:9".to_owned());
    let tracer = Tracer::new(TraceConfig { endpoint, ratio: 0.0, ..TraceConfig::default() })?;
    let now = Instant::now();
    runtime.block_on(async {
        let mut sum = 0;
        let start = Instant::now();
        for _ in 0..CALLS {
            Call::new("0123456789abcdef", None).scope(async { sum += 1 }).await;
        }
        print("a call", start);
        let start = Instant::now();
        for _ in 0..CALLS {
            let trace = tracer.sample(black_box(None), None);
            Call::new("0123456789abcdef", trace).scope(async { sum += 1 }).await;
        }
        print("a call that is not sampled", start);
        let start = Instant::now();
        let call = Call::new("", None);
        let charged = async {
            for _ in 0..CALLS {
                plan_ran(now, Duration::ZERO, Duration::from_nanos(1), 1);
            }
        };
        call.scope(charged).await;
        print("a plan call that is charged", start);
        black_box(sum);
    });
    let start = Instant::now();
    for _ in 0..CALLS {
        black_box(redacted(black_box("model identity version 1 is ready after 0.1 s")));
    }
    print("a redacted text", start);
    for tasks in TASKS {
        runtime.block_on(records(tasks))?;
    }
    Ok(())
}

fn print(what: &str, start: Instant) {
    println!("{what}: {} ns", start.elapsed().as_nanos() / u128::from(CALLS));
}

async fn records(tasks: usize) -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("aimass-cost-{}-{tasks}", std::process::id()));
    let meter = Arc::new(Meter::open(&folder, &UsageConfig::default())?);
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let one = |meter: Arc<Meter>| async move {
        for _ in 0..RECORDS / tasks {
            let slot = meter.reserve().map_err(|error| error.to_string())?;
            slot.commit(record()).await.map_err(|error| error.to_string())?;
        }
        Ok::<_, String>(())
    };
    let running: Vec<_> = (0..tasks).map(|_| tokio::spawn(one(meter.clone()))).collect();
    for task in running {
        task.await??;
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let writes = meter.stats().writes;
    println!(
        "{tasks} tasks: {:.0} records/s, {:.2} µs CPU each, {:.1} records a write",
        RECORDS as f64 / seconds,
        cpu / RECORDS as f64 * 1e6,
        RECORDS as f64 / writes as f64
    );
    drop(meter);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

fn record() -> UsageRecord {
    UsageRecord {
        time_us: 1_790_000_000_000_000,
        kind: UsageKind::Infer,
        tenant: "acme".into(),
        model: "identity".into(),
        version: 1,
        plugins: ["aimass/identity@0.1.0".into()].into(),
        inner_models: Vec::new(),
        outcome: "ok".into(),
        request: "0123456789abcdef".into(),
        tokens: None,
        bytes_in: 64,
        bytes_out: 64,
        plugin_ns: 9_000,
        kernel_ns: 0,
        queue_ns: 0,
        wall_ns: 30_000,
    }
}

/// CPU time of this process so far, from `/proc/self/stat` (fields 14 and 15, in hundredths of a second).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit_once(") ").map_or("", |(_, behind)| behind);
    let fields: Vec<f64> = behind.split(' ').filter_map(|field| field.parse().ok()).collect();
    // The state, which is a letter, was left out: field 4 is the first.
    fields.get(10).zip(fields.get(11)).map_or(0.0, |(user, system)| (user + system) / 100.0)
}
