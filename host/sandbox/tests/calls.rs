//! Calls of well-behaved plugins: what they share, what they start from, what they are told.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use aimass_graph::{BytesSource, WeightError, WeightSource};
use aimass_sandbox::{
    Call, Cause, ErrorFamily, ModelFiles, NoFiles, PlanSet, Sandbox, SandboxError, World,
};
use aimass_tensor::{Buffer, DType, Shape, Tensor};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{
    ANSWER_BYTES, Bench, CREATE, call, component, core, doubling_plan, glue, identity, in_workers,
    metric, module_with, open, package, process, processor, setup,
};

#[tokio::test]
async fn identity_shares_the_bytes_of_its_inputs_and_copies_nothing() {
    let bench = Bench::new();
    let plugin = bench.load(&identity()).await.unwrap();
    let tensor = Tensor::from_slice(&[3], &[1i64, 2, 3]).unwrap();
    let inputs = vec![("a".into(), tensor.clone()), ("b".into(), tensor.rows(1..3))];
    let answer = process(&plugin, inputs).await.unwrap();
    assert_eq!(&*answer.outputs[0].0, "a");
    if support::in_workers() {
        assert_eq!(answer.outputs[0].1.bytes(), tensor.bytes());
        assert_eq!(answer.outputs[1].1.bytes(), &tensor.bytes()[8..]);
    } else {
        assert_eq!(answer.outputs[0].1.bytes().as_ptr(), tensor.bytes().as_ptr());
        assert_eq!(answer.outputs[1].1.bytes().as_ptr(), tensor.bytes()[8..].as_ptr());
    }
    assert_eq!(answer.stats.host_calls, 0);
    assert_eq!(metric(&bench.sandbox, "bytes_read"), 0);
    assert_eq!(metric(&bench.sandbox, "bytes_created"), 0);
    assert_eq!(metric(&bench.sandbox, "instances_live"), 0);
}

#[tokio::test]
async fn every_request_starts_from_the_same_memory() {
    let bench = Bench::new();
    let count = "(i32.store (i32.const 1000) (i32.add (i32.load (i32.const 1000)) (i32.const 1)))";
    let wat = processor(CREATE, &format!("{count} {ANSWER_BYTES}"));
    let plugin = bench.load(&wat).await.unwrap();
    for _ in 0..5 {
        let outputs = process(&plugin, vec![]).await.unwrap().outputs;
        assert_eq!(outputs[0].1.as_slice::<u8>().unwrap(), [1, 0, 0, 0, 0, 0, 0, 0]);
    }
}

#[tokio::test]
async fn recycled_memory_holds_nothing_of_its_last_user() {
    let bench = Bench::with(|config| config.instances_max = Some(1));
    let pages = 64;
    let grow = format!("(drop (memory.grow (i32.const {pages})))");
    let from = 2 * 65536;
    let fill = format!(
        "{grow} (memory.fill (i32.const {from}) (i32.const 0xaa) (i32.const {})) {}",
        pages * 65536,
        "(call $return (i32.const 0) (i32.const 0))"
    );
    let look = format!(
        "{grow} (local.set $i (i32.const {from}))
         (loop $next
            (if (i64.ne (i64.load (local.get $i)) (i64.const 0)) (then unreachable))
            (local.set $i (i32.add (local.get $i) (i32.const 8)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const {}))))
         (call $return (i32.const 0) (i32.const 0))",
        from + pages * 65536
    );
    let writer = bench.load(&processor("", &fill)).await.unwrap();
    let reader = bench.load(&processor("", &look)).await.unwrap();
    for _ in 0..20 {
        process(&writer, vec![]).await.unwrap();
        process(&reader, vec![]).await.unwrap();
    }
}

/// One file whose reads are counted.
struct Counted {
    reads: Arc<AtomicUsize>,
    content: BytesSource,
}

impl Counted {
    fn files(content: &[u8]) -> (Arc<CountedFiles>, Arc<AtomicUsize>) {
        let reads = Arc::new(AtomicUsize::new(0));
        let content = BytesSource::new(Buffer::shared(Arc::new(content.to_vec())));
        let file = Arc::new(Counted { reads: reads.clone(), content });
        (Arc::new(CountedFiles { file }), reads)
    }
}

impl WeightSource for Counted {
    fn len(&self) -> u64 {
        self.content.len()
    }
    fn digest(&self) -> [u8; 32] {
        self.content.digest()
    }
    fn read(&self, range: Range<u64>) -> Result<Buffer, WeightError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.content.read(range)
    }
}

struct CountedFiles {
    file: Arc<Counted>,
}

impl ModelFiles for CountedFiles {
    fn list(&self) -> Vec<(String, u64)> {
        vec![("f".into(), self.file.len())]
    }
    fn open(&self, name: &str) -> Option<Arc<dyn WeightSource>> {
        (name == "f").then(|| self.file.clone() as Arc<dyn WeightSource>)
    }
}

/// Reads the 8 bytes of file `f` to 1000 in `init`; closes the file if `close`.
fn file_reader(close: bool) -> String {
    let imports = format!(
        r#"{CREATE}
        (import "aimass:plugin/files@0.1.0" "open" (func $open (param i32 i32 i32)))
        (import "aimass:plugin/files@0.1.0" "[method]file.read" (func $read (param i32 i64 i64 i32)))
        (import "aimass:plugin/files@0.1.0" "[resource-drop]file" (func $close (param i32)))"#
    );
    let close = if close { "(call $close (i32.load (i32.const 804)))" } else { "" };
    let init = format!(
        r#"(func (export "init")
            (i32.store8 (i32.const 600) (i32.const 102))
            (call $open (i32.const 600) (i32.const 1) (i32.const 800))
            (if (i32.load8_u (i32.const 800)) (then unreachable))
            (call $read (i32.load (i32.const 804)) (i64.const 0) (i64.const 8) (i32.const 820))
            (if (i32.load8_u (i32.const 820)) (then unreachable))
            (i64.store (i32.const 1000) (i64.load (i32.load (i32.const 824))))
            {close})"#
    );
    let body = format!(
        r#"(func (export "process") (param i32 i32 i32 i32) (result i32)
            (drop (i32.const 0)) {ANSWER_BYTES})"#
    );
    module_with(&imports, &init, &body)
}

#[tokio::test]
async fn init_runs_once_and_requests_read_no_file() {
    let bench = Bench::new();
    let (files, reads) = Counted::files(b"tokens!!");
    let package = package("processor", &core(&file_reader(true)), "{}");
    let plugin = bench.sandbox.load(&package, setup(b"{}", files)).await.unwrap();
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    for _ in 0..3 {
        let outputs = process(&plugin, vec![]).await.unwrap().outputs;
        assert_eq!(outputs[0].1.as_slice::<u8>().unwrap(), b"tokens!!");
    }
    assert_eq!(reads.load(Ordering::Relaxed), 1);
    let (other, reads) = Counted::files(b"changed!");
    let plugin = bench.sandbox.load(&package, setup(b"{}", other)).await.unwrap();
    let outputs = process(&plugin, vec![]).await.unwrap().outputs;
    assert_eq!(outputs[0].1.as_slice::<u8>().unwrap(), b"changed!");
    assert_eq!(reads.load(Ordering::Relaxed), 1, "other files are another image");
}

#[tokio::test]
async fn an_image_whose_init_saw_no_file_serves_every_package() {
    let bench = Bench::new();
    let package = package("processor", &core(&identity()), "{}");
    for content in [b"tokens!!", b"changed!"] {
        let (files, _) = Counted::files(content);
        bench.sandbox.load(&package, setup(b"{}", files)).await.unwrap();
        assert_eq!(metric(&bench.sandbox, "images"), 1);
    }
    let (files, _) = Counted::files(b"changed!");
    bench.sandbox.load(&package, setup(b"{ }", files)).await.unwrap();
    assert_eq!(metric(&bench.sandbox, "images"), 2, "another configuration is another image");
}

#[tokio::test]
async fn what_runs_init_is_compiled_once_for_all_configurations() {
    if in_workers() {
        // Workers compile by themselves, and keep nothing.
        return;
    }
    let bench = Bench::new();
    let package = package("processor", &core(&identity()), "{}");
    for (config, compilations) in [(b"{}".as_slice(), 2), (b"{ }", 3), (b"{  }", 4), (b"{}", 4)] {
        bench.sandbox.load(&package, setup(config, Arc::new(NoFiles))).await.unwrap();
        assert_eq!(metric(&bench.sandbox, "compilations"), compilations);
    }
    let restarted = open(bench.cache.path(), |_| ());
    restarted.load(&package, setup(b"{   }", Arc::new(NoFiles))).await.unwrap();
    assert_eq!(metric(&restarted, "compilations"), 1);
}

#[tokio::test]
async fn init_must_close_its_handles() {
    let bench = Bench::new();
    let (files, _) = Counted::files(b"tokens!!");
    let package = package("processor", &core(&file_reader(false)), "{}");
    let error = bench.sandbox.load(&package, setup(b"{}", files)).await.err().unwrap();
    assert!(matches!(&error, SandboxError::Image { .. }), "{error}");
    assert!(error.to_string().contains("handles open"), "{error}");
}

#[tokio::test]
async fn a_restart_finds_the_image_and_a_forged_one_is_made_again() {
    let bench = Bench::new();
    bench.load(&identity()).await.unwrap();
    assert_eq!(metric(&bench.sandbox, "images"), 1);
    let package = package("processor", &core(&identity()), "{}");
    bench.load_package(&package).await.unwrap();
    let restarted = open(bench.cache.path(), |_| ());
    let load = async |sandbox: &Arc<Sandbox>| {
        sandbox.load(&package, setup(b"{}", Arc::new(NoFiles))).await.unwrap()
    };
    load(&restarted).await;
    assert_eq!(metric(&restarted, "cache_hits"), 1);
    assert_eq!(metric(&restarted, "images"), 0);
    for entry in std::fs::read_dir(bench.cache.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "cwasm") {
            let mut bytes = std::fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    let restarted = open(bench.cache.path(), |_| ());
    let plugin = load(&restarted).await;
    let kept = if in_workers() { 1 } else { 2 };
    assert_eq!(metric(&restarted, "cache_rejected"), kept, "the image, and what runs init");
    assert_eq!(metric(&restarted, "images"), 1);
    process(&plugin, vec![]).await.unwrap();
}

#[tokio::test]
async fn a_guests_own_error_is_told_as_it_is() {
    let bench = Bench::new();
    let code = r#"(i32.store8 (i32.const 64) (i32.const 1)) (i32.store8 (i32.const 68) (i32.const 0))
        (i32.store (i32.const 72) (i32.const 900)) (i32.store (i32.const 76) (i32.const 3))
        (i32.store (i32.const 80) (i32.const 900)) (i32.store (i32.const 84) (i32.const 3))
        (i32.store (i32.const 900) (i32.const 0x646162)) (i32.const 64)"#;
    let plugin = bench.load(&processor("", code)).await.unwrap();
    let error = process(&plugin, vec![]).await.unwrap_err();
    let Cause::Guest(error) = error.cause else { panic!("{error}") };
    assert_eq!((error.family, &*error.code, &*error.message), (ErrorFamily::Input, "bad", "bad"));
}

#[tokio::test]
async fn a_configuration_that_init_rejects_is_not_loaded() {
    let bench = Bench::new();
    let imports = r#"(import "aimass:plugin/config@0.1.0" "reject"
        (func $reject (param i32 i32 i32 i32 i32)))"#;
    let init = r#"(func (export "init") (i32.store (i32.const 900) (i32.const 0x646162))
        (call $reject (i32.const 0) (i32.const 900) (i32.const 3) (i32.const 900) (i32.const 3)))"#;
    let body = r#"(func (export "process") (param i32 i32 i32 i32) (result i32) unreachable)"#;
    let error = bench.load(&module_with(imports, init, body)).await.err().unwrap();
    let SandboxError::Plugin(error) = error else { panic!("{error}") };
    assert_eq!(error.function, "init");
    assert!(matches!(&error.cause, Cause::Guest(reason) if reason.code == "bad"), "{error}");
}

#[tokio::test]
async fn inputs_that_do_not_fit_the_description_are_the_callers_fault() {
    let bench = Bench::new();
    let plugin = bench.load(&support::described("inputs")).await.unwrap();
    assert_eq!(&*plugin.signature().inputs[0].name, "x");
    let good = Tensor::from_slice(&[2], &[1f32, 2.]).unwrap();
    process(&plugin, vec![("x".into(), good.clone())]).await.unwrap();
    for inputs in [
        vec![],
        vec![("y".into(), good)],
        vec![("x".into(), Tensor::from_slice(&[3], &[0f32; 3]).unwrap())],
        vec![(
            "x".into(),
            Tensor::copy_from(DType::I32, Shape::new(&[2]).unwrap(), &[0; 8]).unwrap(),
        )],
    ] {
        let error = process(&plugin, inputs).await.unwrap_err();
        assert!(matches!(error.cause, Cause::BadInput { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_format_plugin_names_the_files_that_it_knows() {
    let bench = Bench::new();
    let wat = r#"(module
        (memory (export "memory") 1) (global $heap (mut i32) (i32.const 1024))
        (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
            (global.set $heap (i32.add (global.get $heap) (i32.const 4096)))
            (i32.sub (global.get $heap) (i32.const 4096)))
        (func (export "init"))
        (func (export "detect") (param i32 i32) (result i32)
            (i32.store8 (i32.const 16) (local.get 1))
            (i32.store (i32.const 20) (i32.load (local.get 0)))
            (i32.store (i32.const 24) (i32.load offset=4 (local.get 0))) (i32.const 16))
        (func (export "load") (param i32 i32) (result i32) unreachable))"#;
    let package = package("format", &component("format", wat), "{}");
    let (files, _) = Counted::files(b"tokens!!");
    let plugin = bench.sandbox.load(&package, setup(b"{}", files)).await.unwrap();
    assert_eq!(plugin.detect().await.unwrap().as_deref(), Some("f"));
    let options = aimass_graph::CompileOptions::default();
    let error = plugin.load_graph(&options).await.err().unwrap();
    assert_eq!((error.function, error.world), ("load", World::Format));
    assert!(matches!(error.cause, Cause::Trap { .. }));
    let error = process(&plugin, vec![]).await.unwrap_err();
    assert!(error.to_string().contains("the world format has no process"), "{error}");
}

#[tokio::test]
async fn instances_on_one_thread_wait_for_their_plan_calls_together() {
    let bench = Bench::with(|config| config.instances_max = Some(100));
    let plugin = bench.load_package(&package("model", &glue(), "{}")).await.unwrap();
    let plans = Arc::new(PlanSet::new("m", 1, vec![("main".into(), doubling_plan())]));
    let mut calls = tokio::task::JoinSet::new();
    for i in 0..100u16 {
        let (plugin, plans) = (plugin.clone(), plans.clone());
        calls.spawn(async move {
            let x = Tensor::from_slice(&[1, 2], &[f32::from(i), 1.]).unwrap();
            let call = Call { plans, ..call(Duration::from_secs(60)) };
            let answer = plugin.process(call, vec![("x".into(), x)]).await.unwrap();
            let (name, y) = &answer.outputs[0];
            assert_eq!(&**name, "y");
            assert_eq!(y.as_slice::<f32>().unwrap(), [2. * f32::from(i), 2.]);
        });
    }
    calls.join_all().await;
    let error = process(&plugin, vec![]).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Trap { .. }), "no such plan: {error}");
}

#[tokio::test]
async fn a_plan_call_beyond_the_deadline_ends_the_call() {
    let bench = Bench::new();
    let plugin = bench.load_package(&package("model", &glue(), "{}")).await.unwrap();
    let plans = Arc::new(PlanSet::new("m", 1, vec![("main".into(), doubling_plan())]));
    let x = Tensor::from_slice(&[1, 2], &[1f32, 1.]).unwrap();
    let call = Call { plans, ..call(Duration::ZERO) };
    let error = plugin.process(call, vec![("x".into(), x)]).await.unwrap_err();
    assert_eq!(error.cause, Cause::Deadline);
}

#[tokio::test]
async fn a_configuration_that_its_schema_does_not_want_is_refused_before_the_plugin_sees_it() {
    let bench = Bench::new();
    // Whatever it is configured with, it does not get that far.
    let init = r#"(func (export "init") unreachable)"#;
    let process_body =
        r#"(func (export "process") (param i32 i32 i32 i32) (result i32) unreachable)"#;
    let traps = module_with("", init, process_body);
    let with_schema = |wat: &str, schema: &str| {
        let limits = format!(r#"{{}}, "configSchema": {schema}"#);
        package("processor", &core(wat), &limits)
    };
    let schema = r#"{"required": ["size"], "properties": {"size": {"minimum": 0.5}}}"#;
    let refusal = async |wat: &str, schema: &str, config: &[u8]| {
        let package = with_schema(wat, schema);
        match bench.sandbox.load(&package, setup(config, Arc::new(NoFiles))).await.err() {
            Some(SandboxError::Refused { code, message, .. }) => (code, message),
            other => panic!("expected a refusal, got {other:?}"),
        }
    };
    for (config, expected) in [
        (&b"{}"[..], "expected a member \"size\", got none (/required)"),
        (br#"{"size": 0}"#, "/size: expected at least 0.5, got 0 (/properties/size/minimum)"),
    ] {
        let (code, message) = refusal(&traps, schema, config).await;
        assert!(code == "config" && message.contains(expected), "{code}: {message}");
    }
    let (code, message) = refusal(&traps, r#"{"typ": "object"}"#, b"{}").await;
    assert!(code == "config" && message.contains("`configSchema`"), "{code}: {message}");
    let bad = bench.sandbox.admit(&with_schema(&identity(), r#"{"typ": "object"}"#));
    assert!(matches!(bad, Err(SandboxError::Refused { code: "config-schema", .. })), "{bad:?}");
    let good = setup(br#"{"size": 0.75}"#, Arc::new(NoFiles));
    let plugin = bench.sandbox.load(&with_schema(&identity(), schema), good).await.unwrap();
    process(&plugin, vec![]).await.unwrap();
}
