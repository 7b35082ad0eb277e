//! What is left of a hostile guest: of its stack, tables, handles and compiled code; and what is the same
//! in every run.

use super::support::{
    ANSWER_BYTES, Bench, CREATE, NOTHING, child_program, core, identity, in_workers, metric,
    module, open, package, process, processor, setup,
};
use aimass_sandbox::{Cause, CauseKind, NoFiles, SandboxError};
use std::path::PathBuf;
use std::sync::Arc;

#[tokio::test]
async fn frames_as_large_as_admission_allows_end_at_the_stack_of_the_guest() {
    let bench = Bench::new();
    let mut keep = String::new();
    for local in 1..4_990 {
        keep += &format!("(local.set {local} (i64.load (i32.const {})))", 8 * local);
    }
    let mut sum = "(i64.const 0)".to_owned();
    for local in (1..4_990).step_by(10) {
        sum = format!("(i64.add (local.get {local}) {sum})");
    }
    let frames = format!(
        r#"(func $f (param i32) (result i64) (local {}) {keep}
            (i64.add (call $f (i32.const 0)) {sum}))
          (func (export "process") (param i32 i32 i32 i32) (result i32)
            (drop (call $f (i32.const 0))) {NOTHING})"#,
        "i64 ".repeat(4_990)
    );
    let cause = bench.cause(&module("", &frames)).await;
    assert!(matches!(&cause, Cause::Trap { message } if message.contains("stack")), "{cause}");
}

#[tokio::test]
async fn an_endless_destructor_is_cut_or_does_not_load() {
    let bench = Bench::with(|config| {
        config.limits.init_wall_max = std::time::Duration::from_millis(100);
    });
    let component = r#"(component
        (core module $m (func (export "f"))
            (func (export "spin") (param i32) (loop $forever (br $forever))))
        (core instance $i (instantiate $m))
        (type $r (resource (rep i32) (dtor (core func $i "spin"))))
        (core func $new (canon resource.new $r))
        (core func $drop (canon resource.drop $r))
        (core module $n (import "" "new" (func $new (param i32) (result i32)))
            (import "" "drop" (func $drop (param i32)))
            (func (export "init") (call $drop (call $new (i32.const 7)))))
        (core instance $j (instantiate $n
            (with "" (instance (export "new" (func $new)) (export "drop" (func $drop))))))
        (func $init (canon lift (core func $j "init")))
        (func $f (canon lift (core func $i "f")))
        (export "init" (func $init)) (export "describe" (func $f)) (export "process" (func $f)))"#;
    let package = package("processor", &wat::parse_str(component).unwrap(), "{}");
    let error = bench.load_package(&package).await.err().unwrap();
    let SandboxError::Plugin(error) = error else { panic!("{error}") };
    assert_eq!((error.function, error.cause), ("init", Cause::Deadline));
    bench.still_works().await;
}

#[tokio::test]
async fn a_storm_of_traps_costs_a_short_backtrace_each() {
    const TRAPS: u64 = 500;
    let bench = Bench::with(|config| config.instances_max = Some(1));
    let deep = r#"(func $f (param i32) (result i32)
        (if (i32.eqz (local.get 0)) (then unreachable))
        (i32.add (call $f (i32.sub (local.get 0) (i32.const 1))) (local.get 0)))
      (func (export "process") (param i32 i32 i32 i32) (result i32) (call $f (i32.const 2000)))"#;
    let plugin = bench.load(&module("", deep)).await.unwrap();
    for _ in 0..TRAPS {
        let error = process(&plugin, vec![]).await.unwrap_err();
        assert!(matches!(error.cause, Cause::Trap { .. }), "{error}");
        let lines = error.backtrace.unwrap().lines().count();
        assert!((1..=32).contains(&lines), "{lines} frames of 2,001");
        assert_eq!(metric(&bench.sandbox, "instances_live"), 0);
    }
    assert_eq!(bench.sandbox.metrics().failures(CauseKind::Trap), TRAPS);
    bench.still_works().await;
}

#[tokio::test]
async fn tables_that_a_guest_writes_do_not_load() {
    let bench = Bench::new();
    for code in [
        "(table.set (i32.const 0) (ref.func $alloc))",
        "(drop (table.grow (ref.func $alloc) (i32.const 1)))",
        "(table.fill (i32.const 0) (ref.func $alloc) (i32.const 1))",
        "(table.init $e (i32.const 0) (i32.const 0) (i32.const 1))",
        "(table.copy (i32.const 0) (i32.const 0) (i32.const 1))",
        "(elem.drop $e)",
    ] {
        let wat = processor("", &format!("{code} {NOTHING}"))
            .replace("(memory (", "(table 1 10 funcref) (elem $e func $alloc) (memory (");
        let error = bench.load(&wat).await.err().unwrap();
        let SandboxError::Image { message, .. } = &error else { panic!("{code}: {error}") };
        assert!(message.contains("unsupported"), "{code}: {message}");
    }
    bench.still_works().await;
}

#[tokio::test]
async fn a_table_has_as_many_elements_as_the_pool_and_no_more() {
    // The compiler is a child, as in a server.
    let bench = Bench::with(|config| config.child_program = Some(child_program("child")));
    let of = |elements: u32| {
        identity().replace("(memory (", &format!("(table {elements} funcref) (memory ("))
    };
    bench.load(&of(10_000)).await.unwrap();
    for elements in [10_001, u32::MAX] {
        match bench.load(&of(elements)).await.err().unwrap() {
            SandboxError::Refused { code, .. } => assert_eq!(code, "complexity"),
            SandboxError::Image { message, .. } if in_workers() => {
                assert!(message.contains("exceeds the limit of 10000"), "{message}");
            }
            error => panic!("{elements} elements: {error}"),
        }
    }
}

#[tokio::test]
async fn handles_of_one_call_are_unknown_in_the_next() {
    let bench = Bench::with(|config| config.instances_max = Some(1));
    let fill = format!(
        "(loop $next
            (call $create (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)
                          (i32.const 512))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 900)))) {NOTHING}"
    );
    let writer = bench.load(&processor(CREATE, &fill)).await.unwrap();
    for handle in [1, 2, 3, 450, 899, 900] {
        let imports = r#"(import "aimass:plugin/tensor@0.1.0" "[method]tensor.byte-len"
            (func $len (param i32) (result i64)))"#;
        let look = format!("(drop (call $len (i32.const {handle}))) {NOTHING}");
        let reader = bench.load(&processor(imports, &look)).await.unwrap();
        assert_eq!(process(&writer, vec![]).await.unwrap().stats.host_calls, 900);
        let cause = process(&reader, vec![]).await.unwrap_err().cause;
        let Cause::Trap { message } = &cause else { panic!("{cause}") };
        assert!(message.contains("unknown handle index"), "{message}");
    }
}

fn entries(bench: &Bench) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bench.cache.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|it| it == "cwasm")).collect()
}

/// What becomes of an entry, given another plugin's.
type Damage = fn(&[u8], &[u8]) -> Vec<u8>;

const DAMAGES: [(&str, Damage); 10] = [
    ("empty", |_, _| Vec::new()),
    ("cut in its head", |whole, _| whole[..39].to_vec()),
    ("its head alone", |whole, _| whole[..40].to_vec()),
    ("cut by a byte", |whole, _| whole[..whole.len() - 1].to_vec()),
    ("longer by a byte", |whole, _| [whole, &[0]].concat()),
    ("another magic", |whole, _| flipped(whole, 0)),
    ("another MAC", |whole, _| flipped(whole, 20)),
    ("other code", |whole, _| flipped(whole, (whole.len() - 1) / 2)),
    ("another end", |whole, _| flipped(whole, whole.len() - 1)),
    ("of another plugin", |_, other| other.to_vec()),
];

fn flipped(whole: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    bytes[at] ^= 0x10;
    bytes
}

#[tokio::test]
async fn compiled_code_that_is_cut_forged_swapped_or_of_another_engine_is_made_again() {
    let bench = Bench::new();
    let first = package("processor", &core(&identity()), "{}");
    let second = package("processor", &core(&processor("", NOTHING)), "{}");
    bench.load_package(&first).await.unwrap();
    // The image, and in this process what runs `init`.
    let mine: Vec<(PathBuf, Vec<u8>)> = entries(&bench)
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    assert_eq!(mine.len(), if in_workers() { 1 } else { 2 });
    bench.load_package(&second).await.unwrap();
    let is_mine = |path: &PathBuf| mine.iter().any(|(one, _)| one == path);
    let other = entries(&bench).into_iter().find(|path| !is_mine(path)).unwrap();
    let swapped = std::fs::read(other).unwrap();
    for (what, damage) in DAMAGES {
        for (path, whole) in &mine {
            std::fs::write(path, damage(whole, &swapped)).unwrap();
        }
        let again = open(bench.cache.path(), |_| ());
        let plugin = again.load(&first, setup(b"{}", Arc::new(NoFiles))).await.unwrap();
        let counted = ["cache_hits", "cache_rejected", "images"].map(|name| metric(&again, name));
        assert_eq!(counted, [0, mine.len() as u64, 1], "{what}");
        process(&plugin, vec![]).await.unwrap();
        for (path, whole) in &mine {
            assert_eq!(std::fs::metadata(path).unwrap().len(), whole.len() as u64, "{what}");
        }
    }
    if !in_workers() {
        let metering = open(bench.cache.path(), |config| config.metering = true);
        metering.load(&first, setup(b"{}", Arc::new(NoFiles))).await.unwrap();
        let counted =
            ["cache_hits", "cache_rejected", "images"].map(|name| metric(&metering, name));
        assert_eq!(counted, [0, 0, 1], "an engine of other settings has other entries");
    }
}

#[tokio::test]
async fn the_second_load_of_a_component_is_a_hit_whoever_asks() {
    let bench = Bench::new();
    let package = package("processor", &core(&identity()), "{}");
    for loads in 0..3 {
        bench.load_package(&package).await.unwrap();
        let counted = ["cache_misses", "cache_hits"].map(|name| metric(&bench.sandbox, name));
        assert_eq!(counted, [1, loads], "how long a load takes tells whether there was one before");
    }
}

/// Three NaNs that arithmetic makes of what lies in memory, as bits, mixed to 8 bytes.
const NANS: &str = "
    (f32.store (i32.const 1100) (f32.const -1))
    (i32.store (i32.const 1104) (i32.const 0x7fc00123))
    (f32.store (i32.const 1000) (f32.sqrt (f32.load (i32.const 1100))))
    (f32.store (i32.const 1108) (f32.div (f32.load (i32.const 1200)) (f32.load (i32.const 1200))))
    (f32.store (i32.const 1112) (f32.add (f32.load (i32.const 1104)) (f32.load (i32.const 1108))))
    (i32.store (i32.const 1004)
        (i32.add (i32.load (i32.const 1108)) (i32.mul (i32.const 31) (i32.load (i32.const 1112)))))";

#[tokio::test]
async fn the_bits_of_a_nan_are_the_same_in_every_instance_and_every_compilation() {
    let wat = processor(CREATE, &format!("{NANS} {ANSWER_BYTES}"));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let bench = Bench::new();
        let plugin = bench.load(&wat).await.unwrap();
        for _ in 0..10 {
            let outputs = process(&plugin, vec![]).await.unwrap().outputs;
            seen.push(outputs[0].1.as_slice::<u8>().unwrap().to_vec());
        }
    }
    assert!(f32::from_le_bytes(seen[0][..4].try_into().unwrap()).is_nan());
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
}
