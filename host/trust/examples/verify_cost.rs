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

/// Medians of how long `hash` takes, and of how much longer than `hashes` of it `run` does. Each run
/// is held against a hash right beside it: a change of the processor's clock between two medians would
/// be greater than what is measured.
fn medians(hashes: u32, mut hash: impl FnMut(), mut run: impl FnMut()) -> (Duration, Duration) {
    let time = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let (mut alone, mut beyond) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let hashing = time(&mut hash) * hashes;
        alone.push(hashing);
        beyond.push(time(&mut run).saturating_sub(hashing));
    }
    let middle = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[RUNS / 2]
    };
    (middle(alone), middle(beyond))
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
    let hash = || {
        std::hint::black_box(Sha256::digest(&wasm));
    };
    // A bundle's component is hashed twice: as a member, and as what was signed.
    let cold = medians(2, hash, || drop(host.verify(&bytes).expect("admitted")));
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
    let warm = medians(1, hash, || {
        drop(host.policy.verify_reload(&current, &admitted, &wasm).expect("reloaded"));
    });
    let cold_row = Row { name: "cold bundle", hashing: cold.0, alone: cold.1, max: COLD_MAX };
    let warm_row = Row { name: "warm reload", hashing: warm.0, alone: warm.1, max: WARM_MAX };
    for row in [cold_row, warm_row] {
        row.print(name);
    }
}

/// One figure beside its goal.
struct Row {
    name: &'static str,
    hashing: Duration,
    alone: Duration,
    max: Duration,
}

impl Row {
    /// As `cargo xtask bench` reads rows; the ratio is that of the goal's time.
    fn print(&self, component: &str) {
        let micro = |time: Duration| time.as_secs_f64() * 1e6;
        let ratio = micro(self.alone) / micro(self.max);
        let row = serde_json::json!({
            "name": format!("{}, {component}, without hashing", self.name),
            "value": micro(self.alone),
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
