//! Calls that end while they wait: dropped in flight, or past their deadline inside a host function.

use super::support::{
    Bench, NOTHING, Never, asking, call, component, metric, package, process, processor, setup,
};
use aimass_graph::{BytesSource, WeightError, WeightSource};
use aimass_sandbox::{Call, Cause, Composition, ModelFiles};
use aimass_tensor::Buffer;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LOOP: &str = "(loop $forever (br $forever)) unreachable";

fn reaching(never: &Arc<Never>, wall: Duration) -> Call {
    let composition = Composition { models: Some(never.clone()), items: None };
    Call { composition, ..call(wall) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_dropped_in_flight_leave_no_instance_and_the_plugin_serves_on() {
    let bench = Bench::with(|config| config.instances_max = Some(2));
    let plugin = bench.load(&processor("", LOOP)).await.unwrap();
    for millis in 0..40 {
        let spin = plugin.process(call(Duration::from_secs(60)), vec![]);
        let cut = tokio::time::timeout(Duration::from_millis(millis / 4), spin).await;
        assert!(cut.is_err(), "an endless loop answered");
        assert_eq!(metric(&bench.sandbox, "instances_live"), 0);
    }
    bench.still_works().await;
}

#[tokio::test]
async fn a_call_dropped_while_a_model_answers_cancels_that_model_too() {
    let bench = Bench::with(|config| config.instances_max = Some(1));
    let plugin = bench.load_package(&package("model", &asking(), "{}")).await.unwrap();
    let never = Arc::new(Never::default());
    for asked_before in 0..40 {
        let asked = plugin.process(reaching(&never, Duration::from_secs(60)), vec![]);
        let reached = async {
            while never.calls.load(Ordering::Relaxed) == asked_before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = asked => panic!("a model that never answers answered"),
            () = reached => (),
        }
        assert_eq!(Arc::strong_count(&never.waiting), 1, "nobody waits for it any more");
        assert_eq!(metric(&bench.sandbox, "instances_live"), 0);
    }
    bench.still_works().await;
}

#[tokio::test]
async fn a_deadline_passes_while_another_model_answers() {
    let bench = Bench::new();
    let plugin = bench.load_package(&package("model", &asking(), "{}")).await.unwrap();
    let never = Arc::new(Never::default());
    let asked = plugin.process(reaching(&never, Duration::from_millis(100)), vec![]).await;
    assert_eq!(asked.unwrap_err().cause, Cause::Deadline);
    assert_eq!(Arc::strong_count(&never.waiting), 1);
    bench.still_works().await;
}

/// A file whose reads take longer than the calls may.
struct Slow(BytesSource, AtomicUsize);

impl WeightSource for Slow {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn digest(&self) -> [u8; 32] {
        self.0.digest()
    }
    fn read(&self, range: Range<u64>) -> Result<Buffer, WeightError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(400));
        self.0.read(range)
    }
}

struct SlowFiles(Arc<Slow>);

impl ModelFiles for SlowFiles {
    fn list(&self) -> Vec<(String, u64)> {
        vec![("f".into(), self.0.len())]
    }
    fn open(&self, name: &str) -> Option<Arc<dyn WeightSource>> {
        (name == "f").then(|| self.0.clone() as Arc<dyn WeightSource>)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_passes_while_the_host_reads_a_file() {
    let bench = Bench::new();
    let imports = r#"(import "aimass:plugin/files@0.1.0" "open" (func $open (param i32 i32 i32)))
        (import "aimass:plugin/files@0.1.0" "[method]file.read" (func $read (param i32 i64 i64 i32)))"#;
    let code = format!(
        "(i32.store8 (i32.const 600) (i32.const 102))
         (call $open (i32.const 600) (i32.const 1) (i32.const 800))
         (if (i32.load8_u (i32.const 800)) (then unreachable))
         (call $read (i32.load (i32.const 804)) (i64.const 0) (i64.const 8) (i32.const 820))
         {NOTHING}"
    );
    let bytes = BytesSource::new(Buffer::shared(Arc::new(b"tokens!!".to_vec())));
    let file = Arc::new(Slow(bytes, AtomicUsize::new(0)));
    let component = component("processor", &processor(imports, &code));
    let package = package("processor", &component, "{}");
    let files = setup(b"{}", Arc::new(SlowFiles(file.clone())));
    let plugin = bench.sandbox.load(&package, files).await.unwrap();
    let called = plugin.process(call(Duration::from_millis(200)), vec![]).await;
    assert_eq!(called.unwrap_err().cause, Cause::Deadline);
    assert_eq!(file.1.load(Ordering::Relaxed), 1);
    process(&plugin, vec![]).await.unwrap();
    assert_eq!(file.1.load(Ordering::Relaxed), 2);
    bench.still_works().await;
}
