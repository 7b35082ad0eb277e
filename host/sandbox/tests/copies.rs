//! How often a guest's bytes are copied on their way to the host, told by the memory that it takes.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use aimass_testkit::Peak;
use std::time::Duration;
use support::{Bench, CREATE, NOTHING, call, metric, processor};

#[global_allocator]
static MEMORY: Peak = Peak::new();

const MEBIBYTE: usize = 1 << 20;
/// What a call holds beside tensors: its store, tables and tasks.
const CALL_BYTES: usize = 256 << 10;

/// Shows the host a mebibyte for a u8 tensor of so many elements, so many times, and lets go of each tensor.
fn giving(elements: usize, times: u32, fails: bool) -> String {
    let imports = format!(
        r#"{CREATE} (import "aimass:plugin/tensor@0.1.0" "[resource-drop]tensor" (func $drop (param i32)))"#
    );
    let unexpected = if fails { "i32.eqz" } else { "i32.const 0 i32.or" };
    let drop = if fails { "" } else { "(call $drop (i32.load (i32.const 524)))" };
    let code = format!(
        "(drop (memory.grow (i32.const 32)))
         (i32.store (i32.const 512) (i32.const {elements})) (i32.store (i32.const 516) (i32.const 0))
         (loop $next
            (call $create (i32.const 4) (i32.const 512) (i32.const 1) (i32.const 131072)
                          (i32.const {MEBIBYTE}) (i32.const 520))
            i32.const 520 i32.load8_u {unexpected}
            if unreachable end {drop}
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $i) (i32.const {times})))) {NOTHING}"
    );
    processor(&imports, &code)
}

#[test]
fn a_mebibyte_of_a_guest_is_borrowed_and_what_is_kept_is_copied_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bench = Bench::new();
    let held = |wat: &str| {
        let plugin = runtime.block_on(bench.load(wat)).unwrap();
        // The first call fills what is kept for the next ones.
        let run =
            || runtime.block_on(plugin.process(call(Duration::from_secs(60)), vec![])).unwrap();
        run();
        let before = metric(&bench.sandbox, "bytes_created");
        let (_, held) = MEMORY.during(run);
        (held, metric(&bench.sandbox, "bytes_created") - before)
    };
    // The host reads its length, refuses it as too long, and takes nothing.
    let (refused, created) = held(&giving(8, 16, true));
    assert_eq!(created, 0);
    assert!(refused < CALL_BYTES, "{refused} bytes held while a mebibyte was looked at");
    let (kept, created) = held(&giving(MEBIBYTE, 16, false));
    assert_eq!(created, 16 * MEBIBYTE as u64, "each is copied, and once");
    // The copy lies in a block that the pool had: a second one would be seen.
    assert!(kept < CALL_BYTES, "{kept} bytes held beside a tensor of a mebibyte");
}
