//! Guests that break the canonical ABI: re-entrance, allocators, handles, text and shapes.

use super::support::{
    Bench, CREATE, LOG, NOTHING, call, encoded, identity, in_workers, metric, package, process,
    processor,
};
use aimass_sandbox::{Cause, Plugin, SandboxError};
use aimass_tensor::Tensor;
use std::fmt::Write;
use std::time::Duration;
use wit_component::StringEncoding;

const SHAPE: &str = r#"(import "aimass:plugin/tensor@0.1.0" "[method]tensor.shape"
    (func $shape (param i32 i32)))"#;
const LEN: &str = r#"(import "aimass:plugin/tensor@0.1.0" "[method]tensor.byte-len"
    (func $len (param i32) (result i64)))"#;
const DROP: &str = r#"(import "aimass:plugin/tensor@0.1.0" "[resource-drop]tensor"
    (func $drop (param i32)))"#;
const FILE_SIZE: &str = r#"(import "aimass:plugin/files@0.1.0" "[method]file.size"
    (func $size (param i32) (result i64)))"#;
/// The handle of the first input.
const HANDLE: &str = "(i32.load offset=8 (local.get 0))";

/// This guest with other code at the start of `cabi_realloc`.
fn allocating(wat: &str, code: &str) -> String {
    wat.replace("(local $at i32)", &format!("(local $at i32) {code}"))
}

async fn with_input(plugin: &Plugin) -> Result<aimass_sandbox::CallResult, Cause> {
    let x = Tensor::from_slice(&[4], &[1f32, 2., 3., 4.]).unwrap();
    process(plugin, vec![("x".into(), x)]).await.map_err(|error| error.cause)
}

/// Loads this guest and calls it with an input; it must trap with these words, and others go on.
async fn traps(bench: &Bench, wat: &str, words: &str) {
    let plugin = bench.load(wat).await.unwrap();
    let cause = with_input(&plugin).await.unwrap_err();
    let Cause::Trap { message } = &cause else { panic!("expected a trap, got {cause}: {wat}") };
    assert!(message.contains(words), "{message}, expected: {words}");
    bench.still_works().await;
}

#[tokio::test]
async fn a_guest_that_calls_the_host_while_the_host_calls_it_traps() {
    let bench = Bench::new();
    let back = "(call $log (i32.const 2) (i32.const 0) (i32.const 0))";
    let at_arguments = allocating(&processor(LOG, NOTHING), back);
    traps(&bench, &at_arguments, "cannot leave component instance").await;
    let calls = metric(&bench.sandbox, "host_calls");
    let code = format!("(call $shape {HANDLE} (i32.const 512)) {NOTHING}");
    let once =
        "(if (global.get $busy) (then (call $log (i32.const 2) (i32.const 0) (i32.const 0))))";
    let at_result =
        processor(&format!("{SHAPE} {LOG}"), &format!("(global.set $busy (i32.const 1)) {code}"))
            .replace("(memory (", "(global $busy (mut i32) (i32.const 0)) (memory (");
    traps(&bench, &allocating(&at_result, once), "cannot leave component instance").await;
    if !in_workers() {
        assert_eq!(metric(&bench.sandbox, "host_calls"), calls + 1, "the second was not made");
    }
}

#[tokio::test]
async fn a_component_that_calls_itself_through_its_own_door_traps() {
    let bench = Bench::new();
    let component = r#"(component
        (core module $m (func (export "f")))
        (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i "f")))
        (core func $lowered (canon lower (func $f)))
        (core module $n (import "" "f" (func $f)) (func (export "init") (call $f)))
        (core instance $j (instantiate $n (with "" (instance (export "f" (func $lowered))))))
        (func $init (canon lift (core func $j "init")))
        (export "init" (func $init)) (export "describe" (func $f)) (export "process" (func $f)))"#;
    let package = package("processor", &wat::parse_str(component).unwrap(), "{}");
    let error = bench.load_package(&package).await.err().unwrap();
    let SandboxError::Plugin(error) = error else { panic!("{error}") };
    assert_eq!(error.function, "init");
    assert!(
        matches!(&error.cause, Cause::Trap { message } if message.contains("component")),
        "{error}"
    );
    bench.still_works().await;
}

#[tokio::test]
async fn pointers_that_realloc_makes_up_trap_and_overlapping_ones_hurt_only_the_guest() {
    let bench = Bench::new();
    for (pointer, words) in
        [(-16, "beyond end of memory"), (131_072, "beyond end of memory"), (4_097, "not aligned")]
    {
        let wat = allocating(&identity(), &format!("(return (i32.const {pointer}))"));
        traps(&bench, &wat, words).await;
    }
    let same = allocating(&processor("", NOTHING), "(return (i32.const 4096))");
    let result = with_input(&bench.load(&same).await.unwrap()).await.unwrap();
    assert_eq!(result.outputs.len(), 0);
    assert_eq!(result.stats.memory_bytes, 2 * 65_536, "no byte beyond its own two pages");
}

#[tokio::test]
async fn endless_realloc_and_post_return_are_cut() {
    let bench = Bench::new();
    let forever = "(loop $forever (br $forever))";
    let post_return = format!(r#"(func (export "cabi_post_process") (param i32) {forever})"#);
    let after = identity().replace("(memory (", &format!("{post_return} (memory ("));
    for wat in [allocating(&identity(), forever), after] {
        let plugin = bench.load(&wat).await.unwrap();
        let x = Tensor::from_slice(&[1], &[1f32]).unwrap();
        let called = plugin.process(call(Duration::from_millis(100)), vec![("x".into(), x)]);
        assert_eq!(called.await.unwrap_err().cause, Cause::Deadline);
    }
    bench.still_works().await;
}

#[tokio::test]
async fn names_that_alias_one_buffer_are_bounded() {
    let bench = Bench::new();
    // 64 outputs whose names are the same mebibyte: 64 MiB out of 1.
    let code = "(drop (memory.grow (i32.const 17)))
        (loop $next
            (call $create (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1)
                          (i32.const 512))
            (local.set $j (i32.add (i32.const 69632) (i32.mul (local.get $i) (i32.const 12))))
            (i32.store (local.get $j) (i32.const 65536))
            (i32.store offset=4 (local.get $j) (i32.const 1048576))
            (i32.store offset=8 (local.get $j) (i32.load (i32.const 516)))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const 64))))
        (call $return (i32.const 69632) (i32.const 64))";
    let cause = bench.cause(&processor(CREATE, code)).await;
    assert_eq!(cause, Cause::HostCopy { limit_bytes: 16 << 20 });
}

#[tokio::test]
async fn handles_that_are_forged_dropped_or_of_another_kind_trap() {
    let bench = Bench::new();
    for handle in ["-1", "0", "2", "1000", "0x10000000", "0x7fffffff"] {
        let code = format!("(drop (call $len (i32.const {handle}))) {NOTHING}");
        traps(&bench, &processor(LEN, &code), "unknown handle index").await;
    }
    let keep = format!("(local.set $i {HANDLE}) (call $drop (local.get $i))");
    for again in ["(drop (call $len (local.get $i)))", "(call $drop (local.get $i))"] {
        let wat = processor(&format!("{LEN} {DROP}"), &format!("{keep} {again} {NOTHING}"));
        traps(&bench, &wat, "unknown handle index").await;
    }
    let given = processor(
        DROP,
        &format!("(call $drop {HANDLE}) (call $return (local.get 0) (i32.const 1))"),
    );
    traps(&bench, &given, "unknown handle index").await;
    let other = processor(FILE_SIZE, &format!("(drop (call $size {HANDLE})) {NOTHING}"));
    traps(&bench, &other, "wrong type").await;
}

#[test]
fn no_export_of_a_world_takes_a_borrow_that_a_guest_could_keep() {
    let wit = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let mut functions = 0;
    for entry in std::fs::read_dir(wit).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "wit") {
            continue;
        }
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines().filter(|line| line.trim_start().starts_with("export ")) {
            assert!(!line.contains("borrow<"), "{line}");
            functions += usize::from(line.contains("func("));
        }
    }
    assert_eq!(functions, 14, "exported functions of all worlds");
}

#[tokio::test]
async fn text_that_is_not_utf_8_traps() {
    let bench = Bench::new();
    // A lone continuation, an overlong slash, a surrogate, one beyond U+10FFFF, one cut short.
    for (bytes, count) in [(0x80, 1), (0xafc0, 2), (0x80_a0ed, 3), (0x8080_90f4u32, 4), (0x82e2, 2)]
    {
        let store = format!("(i32.store (i32.const 900) (i32.const {bytes}))");
        let log = format!(
            "{store} (call $log (i32.const 2) (i32.const 900) (i32.const {count})) {NOTHING}"
        );
        traps(&bench, &processor(LOG, &log), "utf-8").await;
        let name = format!(
            "{store} (i32.store (local.get 0) (i32.const 900))
             (i32.store offset=4 (local.get 0) (i32.const {count}))
             (call $return (local.get 0) (i32.const 1))"
        );
        traps(&bench, &processor("", &name), "utf-8").await;
    }
}

#[tokio::test]
async fn components_whose_strings_are_utf_16_or_latin_1_are_refused() {
    let bench = Bench::new();
    for strings in [StringEncoding::UTF16, StringEncoding::CompactUTF16] {
        let component = encoded("processor", &identity(), strings).unwrap();
        let error =
            bench.load_package(&package("processor", &component, "{}")).await.err().unwrap();
        let SandboxError::Refused { code, message, .. } = error else { panic!("{error}") };
        assert_eq!(code, "feature");
        assert!(message.contains("UTF-8"), "{message}");
    }
}

/// Code that stores a list of extents at 512 and must be told `input/..` at 800 by `function`.
fn refused_shape(extents: &[u64], function: &str) -> String {
    let mut code = String::new();
    for (at, extent) in extents.iter().enumerate() {
        let _ = write!(code, "(i64.store (i32.const {}) (i64.const {extent}))", 512 + 8 * at);
    }
    let count = extents.len();
    let _ = write!(
        code,
        "{} (if (i32.ne (i32.load8_u (i32.const 800)) (i32.const 1)) (then unreachable))
         (if (i32.load8_u (i32.const 804)) (then unreachable))",
        function.replace("SHAPE", &format!("(i32.const 512) (i32.const {count})"))
    );
    code
}

#[tokio::test]
async fn shapes_whose_product_overflows_are_told_and_take_no_memory() {
    let bench = Bench::new();
    let shapes: [&[u64]; 9] = [
        &[u64::MAX],
        &[1 << 63, 2],
        &[1 << 32, 1 << 32],
        &[1 << 62, 4],
        &[1 << 61],
        &[1 << 33, 1 << 31],
        &[u64::MAX, u64::MAX, u64::MAX],
        &[1 << 16, 1 << 16, 1 << 16, 1 << 16],
        &[1; 9],
    ];
    let create = "(call $create (i32.const 17) SHAPE (i32.const 0) (i32.const 0) (i32.const 800))";
    let reshape = format!("(call $reshape {HANDLE} SHAPE (i32.const 800))");
    let mut code = String::new();
    for extents in shapes {
        code += &refused_shape(extents, create);
        code += &refused_shape(extents, &reshape);
    }
    for (start, end) in [(1i64, 0), (0, 5), (-1, 4), (i64::MAX, i64::MIN)] {
        let rows =
            format!("(call $rows {HANDLE} (i64.const {start}) (i64.const {end}) (i32.const 800))");
        code += &refused_shape(&[], &rows);
    }
    let imports = format!(
        r#"{CREATE}
        (import "aimass:plugin/tensor@0.1.0" "[method]tensor.reshape"
            (func $reshape (param i32 i32 i32 i32)))
        (import "aimass:plugin/tensor@0.1.0" "[method]tensor.rows"
            (func $rows (param i32 i64 i64 i32)))"#
    );
    let plugin = bench.load(&processor(&imports, &format!("{code} {NOTHING}"))).await.unwrap();
    let stats = with_input(&plugin).await.unwrap().stats;
    assert_eq!((stats.host_calls, stats.host_bytes), (9 + 9 + 4, 0));
    bench.still_works().await;
}

#[tokio::test]
async fn floats_that_are_no_numbers_pass_as_the_bits_that_they_are() {
    let bench = Bench::new();
    let plugin = bench.load(&identity()).await.unwrap();
    let bits = [0x7fc0_0001u32, 0xffbf_ffff, 0x7f80_0000, 0xff80_0000, 0x0000_0001];
    let x = Tensor::from_slice(&[5], &bits.map(f32::from_bits)).unwrap();
    let outputs = process(&plugin, vec![("x".into(), x)]).await.unwrap().outputs;
    assert_eq!(
        outputs[0].1.as_slice::<f32>().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
        bits
    );
}
