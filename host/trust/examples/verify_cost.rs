//! What verification costs: `cargo xtask bench trust`. Fails above 5 ms for a cold bundle or 50 us for a
//! warm reload, each beside hashing.
//!
//! Prints the median of 300 runs of a cold bundle (read, metadata, all steps of the verification order)
//! and of a warm reload (the steps of every load), with the time that hashing the component takes in
//! each, for a small component and for one of 8 MiB.

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
    let micro = |time: Duration| time.as_secs_f64() * 1e6;
    println!(
        "{name}: component {} bytes, SHA-256 of it {:.0} us; cold bundle {:.0} us; warm reload {:.0} us, \
         {:.0} us without hashing",
        wasm.len(),
        micro(hashing),
        micro(cold),
        micro(warm),
        micro(warm.saturating_sub(hashing))
    );
    // A bundle's component is hashed twice: as a member, and as what was signed.
    let cold_alone = cold.saturating_sub(hashing * 2);
    assert!(cold_alone <= COLD_MAX, "a cold bundle takes {cold_alone:?}, at most {COLD_MAX:?}");
    let warm_alone = warm.saturating_sub(hashing);
    assert!(warm_alone <= WARM_MAX, "a warm reload takes {warm_alone:?}, at most {WARM_MAX:?}");
}

fn main() {
    measure("small", 0);
    measure("large", 8 << 20);
}
