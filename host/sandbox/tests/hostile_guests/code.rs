//! Components that are hostile before they run: bombs for the compiler, hidden weight, features that are off.

use super::support::{Bench, core, identity, metric, package, process};
use aimass_sandbox::{AdmissionLimits, SandboxError, World, check_component};
use aimass_trust::Capabilities;
use std::fmt::Write;

/// The code of the refusal of a component with this inside, and its words.
async fn refusal(bench: &Bench, inside: &str) -> (&'static str, String) {
    let component = wat::parse_str(format!("(component {inside})")).unwrap();
    match bench.load_package(&package("processor", &component, "{}")).await {
        Err(SandboxError::Refused { code, message, .. }) => (code, message),
        Err(error) => panic!("expected a refusal, got {error}"),
        Ok(_) => panic!("expected a refusal, it was loaded"),
    }
}

fn function(code: &str) -> String {
    format!("(core module (func {code}))")
}

/// What each bound lets through at its edge, refuses beyond it, and says then.
fn edges() -> Vec<(String, String, &'static str)> {
    let locals = |n: usize| function(&format!("(local {})", "i32 ".repeat(n)));
    let blocks = |n: usize| function(&("block ".repeat(n) + &"end ".repeat(n)));
    let loops = |n: usize| function(&("loop ".repeat(n) + &"end ".repeat(n)));
    let product = |loops: usize, locals: usize| {
        let locals = "i32 ".repeat(locals);
        function(&format!("(local {locals}) {} {}", "loop ".repeat(loops), "end ".repeat(loops)))
    };
    let targets =
        |n: usize| function(&format!("(block (br_table {} (i32.const 0)))", "0 ".repeat(n + 1)));
    let functions = |n: usize| format!("(core module {})", "(func)".repeat(n));
    let instances =
        |n: usize| format!("(core module $m) {}", "(core instance (instantiate $m))".repeat(n));
    let with =
        |make: &dyn Fn(usize) -> String, edge: usize, words| (make(edge), make(edge + 1), words);
    vec![
        with(&locals, 5_000, "5000 locals"),
        with(&blocks, 1_000, "1000 nested blocks"),
        with(&loops, 40, "40 nested loops"),
        with(&|n| product(40, n), 500, "at most 20000, got"),
        with(&targets, 20_000, "20000 branch targets"),
        with(&functions, 50_000, "50000 functions"),
        with(&|n| function(&"nop ".repeat(n)), (512 << 10) - 2, "524288 bytes"),
        with(&instances, 256, "256 core instances"),
        with(&|n| "(core module)".repeat(n), 64, "64 modules"),
        with(&|n| "(component)".repeat(n), 16, "16 components"),
        with(&|n| "(type u32)".repeat(n), 20_000, "20000 types"),
    ]
}

#[tokio::test]
async fn code_that_compiles_for_ever_is_refused_one_beyond_each_bound() {
    let bench = Bench::new();
    let (limits, none) = (AdmissionLimits::default(), Capabilities::default());
    for (at_edge, beyond, words) in edges() {
        let component = wat::parse_str(format!("(component {at_edge})")).unwrap();
        let refused = check_component(&component, World::Processor, &none, &limits).unwrap_err();
        assert_eq!(refused.code, "export", "{words}: only its exports are missing: {refused}");
        let (code, message) = refusal(&bench, &beyond).await;
        assert_eq!(code, "complexity", "{words}: {message}");
        assert!(message.contains(words), "{words}: {message}");
    }
    assert_eq!(metric(&bench.sandbox, "refusals"), 11);
    assert_eq!(metric(&bench.sandbox, "cache_misses"), 0, "the compiler saw none of them");
    bench.still_works().await;
}

#[tokio::test]
async fn functions_of_another_contract_are_told_as_that() {
    let bench = Bench::new();
    let lifted = "(func $f (canon lift (core func $i \"f\")))";
    let exports = ["init", "describe", "process"]
        .map(|name| format!("(export \"{name}\" (func $f))"))
        .join(" ");
    let module = "(core module $m (func (export \"f\")))";
    let inside = format!("{module} (core instance $i (instantiate $m)) {lifted} {exports}");
    let (code, message) = refusal(&bench, &inside).await;
    let words = "its functions have other types than the world processor";
    assert!(code == "export" && message.contains(words), "{code}: {message}");
    assert!(message.contains("build it again"), "{message}");
    bench.still_works().await;
}

#[tokio::test]
async fn types_that_double_at_every_step_are_refused() {
    let bench = Bench::new();
    let mut types = "(type $t0 (tuple u8 u8))".to_owned();
    for step in 1..24 {
        let _ = write!(types, "(type $t{step} (tuple $t{0} $t{0}))", step - 1);
    }
    let (code, message) = refusal(&bench, &types).await;
    assert_eq!(code, "feature");
    assert!(message.contains("effective type size exceeds the limit of 1000000"), "{message}");
    bench.still_works().await;
}

#[tokio::test]
async fn features_that_are_off_are_refused_the_asynchronous_ones_too() {
    let bench = Bench::new();
    let lift = r#"(core module $m (func (export "f"))) (core instance $i (instantiate $m))
        (func (canon lift (core func $i "f") async))"#;
    for inside in [
        lift,
        "(core func (canon task.return))",
        "(core func (canon task.cancel))",
        "(core func (canon subtask.drop))",
        "(core func (canon subtask.cancel))",
        "(core func (canon backpressure.inc))",
        "(core func (canon waitable-set.new))",
        "(core func (canon waitable.join))",
        "(core func (canon thread.yield))",
        "(type $s (stream u8)) (core func (canon stream.new $s))",
        "(type $f (future u8)) (core func (canon future.new $f))",
        "(type (stream u8))",
        "(type (future))",
        "(core func (canon context.get i32 0))",
        "(core func (canon error-context.drop))",
        "(core module (func (param v128 v128) (result v128)
            (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))",
        "(core module (func (param v128 v128 v128) (result v128)
            (f32x4.relaxed_madd (local.get 0) (local.get 1) (local.get 2))))",
    ] {
        let (code, message) = refusal(&bench, inside).await;
        assert_eq!(code, "feature", "{inside}: {message}");
    }
    bench.still_works().await;
}

/// A component with a custom section of so many bytes.
fn padded(bytes: usize) -> Vec<u8> {
    let mut component = core(&identity());
    let name = b"padding";
    component.push(0);
    let mut left = 1 + name.len() + bytes;
    loop {
        let low = (left & 0x7f) as u8;
        left >>= 7;
        component.push(low | if left == 0 { 0 } else { 0x80 });
        if left == 0 {
            break;
        }
    }
    component.push(name.len() as u8);
    component.extend(name);
    component.resize(component.len() + bytes, 0xcc);
    component
}

#[tokio::test]
async fn a_custom_section_counts_as_bytes_of_the_component_and_is_kept_nowhere() {
    let bench = Bench::with(|config| config.admission.component_bytes_max = 1 << 20);
    let error = bench.load_package(&package("processor", &padded(1 << 20), "{}")).await;
    let Some(SandboxError::Refused { code, .. }) = error.err() else { panic!("it was loaded") };
    assert_eq!(code, "size");
    let plugin = bench.load_package(&package("processor", &padded(900 << 10), "{}")).await.unwrap();
    process(&plugin, vec![]).await.unwrap();
    let kept = std::fs::read_dir(bench.cache.path()).unwrap();
    let kept: u64 = kept.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(kept < 512 << 10, "{kept} bytes are kept of a component of 0.9 MiB of padding");
}
