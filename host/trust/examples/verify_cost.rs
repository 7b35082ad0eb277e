//! What verification costs: `cargo xtask bench trust`. The goals are 5 ms for a cold bundle and 50 us for a
//! warm reload, each without hashing.
//!
//! Rows of medians of 300 runs: a cold bundle (read, metadata, all steps of the verification order) and a
//! warm reload (the steps of every load), beside the time that hashing the component takes in each, for
//! a small component and for one of 8 MiB.

#[path = "../tests/market/mod.rs"]
mod market;

use std::time::{Duration, Instant};

use aimass_trust::{Bundle, Purpose, Update};
use market::{Scene, at, component};
use sha2::{Digest, Sha256};

const RUNS: usize = 300;
const COLD_MAX: Duration = Duration::from_millis(5);
const WARM_MAX: Duration = Duration::from_micros(50);

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[RUNS / 2]
}

fn measure(name: &str, padding: usize) {
    let mut scene = Scene::new();
    scene.component = component();
    // A custom section called `x`, its length in LEB128.
    let mut body = padding + 2;
    scene.component.push(0);
    while body >= 0x80 {
        scene.component.push((body & 0x7f) as u8 | 0x80);
        body >>= 7;
    }
    scene.component.extend([body as u8, 1, b'x']);
    scene.component.resize(scene.component.len() + padding, 7);
    let (bytes, host) = scene.stage();
    let admitted = host.verify(&bytes).expect("admitted").0;
    let wasm = admitted.package().component().to_vec();
    let hashing = median(|| {
        std::hint::black_box(Sha256::digest(&wasm));
    });
    let cold = median(|| drop(host.verify(&bytes).expect("admitted")));
    let mut bundle = Bundle::parse(&bytes).expect("a bundle");
    let revocations = bundle.get("revocations.json").expect("there");
    let asked = Update {
        publishers: &["acme"],
        revocations,
        cosigned: None,
        purpose: Purpose::Serving,
        wall: at(market::NOW),
    };
    let (current, _) = host.policy.update(&host.state, &mut bundle, &asked).expect("current");
    let warm = median(|| {
        drop(host.policy.verify_reload(&current, &admitted, &wasm).expect("reloaded"));
    });
    // A bundle's component is hashed twice: as a member, and as what was signed.
    let cold_row = Row { name: "cold bundle", took: cold, hashing: hashing * 2, max: COLD_MAX };
    let warm_row = Row { name: "warm reload", took: warm, hashing, max: WARM_MAX };
    for row in [cold_row, warm_row] {
        row.print(name);
    }
}

/// One figure beside its goal.
struct Row {
    name: &'static str,
    took: Duration,
    hashing: Duration,
    max: Duration,
}

impl Row {
    /// As `cargo xtask bench` reads rows; the ratio is that of the goal's time.
    fn print(&self, component: &str) {
        let micro = |time: Duration| time.as_secs_f64() * 1e6;
        let alone = self.took.saturating_sub(self.hashing);
        let ratio = micro(alone) / micro(self.max);
        let row = serde_json::json!({
            "name": format!("{}, {component}, without hashing", self.name),
            "value": micro(alone),
            "unit": "us",
            "peer": "SHA-256 of the component",
            "peer_value": micro(self.hashing),
            "ratio": ratio,
            "goal": format!("<={} us", self.max.as_micros()),
            "holds": ratio <= 1.0,
        });
        println!("{row}");
    }
}

fn main() {
    measure("small component", 0);
    measure("8 MiB component", 8 << 20);
}
