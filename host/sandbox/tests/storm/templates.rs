//! One template for each abuse case that is a component's to try. Parameters come from the seed.

use super::mutations::Random;
use super::support::{
    ANSWER_BYTES, CREATE, LOG, NOTHING, identity, module, module_with, processor,
};
use std::fmt::Write;
use wit_component::StringEncoding;

/// What a template makes.
pub(crate) enum Source {
    /// A core module of the world `processor`, and the encoding of its strings.
    Module(String, StringEncoding),
    /// What stands inside a component.
    Inside(String),
}

type Template = fn(&mut Random) -> Source;

/// Every template, with the number of its abuse case.
pub(crate) const TEMPLATES: [(u8, Template); 26] = [
    (1, endless_call),
    (1, endless_start),
    (1, endless_destructor),
    (2, reentrance),
    (3, memory_bomb),
    (4, table_bomb),
    (5, stack_bomb),
    (6, lying_realloc),
    (8, lying_lists),
    (9, aliases),
    (10, handle_bomb),
    (11, forged_handles),
    (12, host_bytes),
    (13, call_flood),
    (14, large_output),
    (15, bad_text),
    (15, other_encoding),
    (16, overflowing_shapes),
    (17, compile_bomb),
    (17, type_bomb),
    (19, traps),
    (22, log_flood),
    (23, scavenger),
    (23, scavenging_errors),
    (26, asynchronous),
    (28, features),
];

const LOOP: &str = "(loop $forever (br $forever))";
const FILES: &str = r#"(import "aimass:plugin/files@0.1.0" "[method]file.size"
    (func $size (param i32) (result i64)))"#;
const TENSOR: &str = r#"
    (import "aimass:plugin/tensor@0.1.0" "[method]tensor.read" (func $read (param i32 i64 i64 i32)))
    (import "aimass:plugin/tensor@0.1.0" "[method]tensor.shape" (func $shape (param i32 i32)))
    (import "aimass:plugin/tensor@0.1.0" "[method]tensor.share" (func $share (param i32 i32)))
    (import "aimass:plugin/tensor@0.1.0" "[method]tensor.reshape" (func $reshape (param i32 i32 i32 i32)))
    (import "aimass:plugin/tensor@0.1.0" "[method]tensor.rows" (func $rows (param i32 i64 i64 i32)))
    (import "aimass:plugin/tensor@0.1.0" "[method]tensor.byte-len" (func $len (param i32) (result i64)))
    (import "aimass:plugin/tensor@0.1.0" "[resource-drop]tensor" (func $drop (param i32)))"#;
/// The handle of the first input.
const HANDLE: &str = "(i32.load offset=8 (local.get 0))";

fn plain(text: String) -> Source {
    Source::Module(text, StringEncoding::UTF8)
}

fn imports() -> String {
    format!("{CREATE} {TENSOR} {LOG} {FILES}")
}

fn body(code: &str) -> Source {
    plain(processor(&imports(), code))
}

/// `code` so many times, counted in `$i`.
fn times(count: u64, code: &str) -> String {
    format!(
        "(loop $next {code} (local.set $i (i32.add (local.get $i) (i32.const 1)))
         (br_if $next (i32.lt_u (local.get $i) (i32.const {count}))))"
    )
}

fn allocating(text: &str, code: &str) -> String {
    text.replace("(local $at i32)", &format!("(local $at i32) {code}"))
}

fn endless_call(random: &mut Random) -> Source {
    let work = random.pick(&[
        "(i32.store (i32.const 900) (i32.add (i32.load (i32.const 900)) (i32.const 1)))",
        "(memory.fill (i32.const 8192) (i32.const 170) (i32.const 65536))",
        "(drop (i32.div_u (i32.const 7) (i32.load (i32.const 900))))",
        "",
    ]);
    let forever = format!("(loop $forever {work} (br $forever))");
    match random.below(3) {
        0 => plain(processor("", &format!("{forever} unreachable"))),
        1 => plain(allocating(&identity(), &forever)),
        _ => {
            let after = format!(r#"(func (export "cabi_post_process") (param i32) {forever})"#);
            plain(identity().replace("(memory (", &format!("{after} (memory (")))
        }
    }
}

fn endless_start(random: &mut Random) -> Source {
    let process = r#"(func (export "process") (param i32 i32 i32 i32) (result i32) unreachable)"#;
    let init = format!(r#"(func (export "init") {LOOP})"#);
    if random.one_in(2) {
        return plain(module_with("", &init, process));
    }
    let start = format!("(func $s {LOOP}) (start $s) (memory (");
    plain(identity().replace("(memory (", &start))
}

fn endless_destructor(random: &mut Random) -> Source {
    let rep = random.awkward();
    let end = random.pick(&[LOOP, "unreachable", "(drop (i32.load (local.get 0)))"]);
    Source::Inside(format!(
        r#"(core module $m (memory 1) (func (export "f")) (func (export "end") (param i32) {end}))
        (core instance $i (instantiate $m))
        (type $r (resource (rep i32) (dtor (core func $i "end"))))
        (core func $new (canon resource.new $r)) (core func $drop (canon resource.drop $r))
        (core module $n (import "" "new" (func $new (param i32) (result i32)))
            (import "" "drop" (func $drop (param i32)))
            (func (export "init") (call $drop (call $new (i32.const {rep})))))
        (core instance $j (instantiate $n
            (with "" (instance (export "new" (func $new)) (export "drop" (func $drop))))))
        (func $init (canon lift (core func $j "init"))) (func $f (canon lift (core func $i "f")))
        (export "init" (func $init)) (export "describe" (func $f)) (export "process" (func $f))"#
    ))
}

fn reentrance(random: &mut Random) -> Source {
    let back = random.pick(&[
        "(call $log (i32.const 2) (i32.const 0) (i32.const 0))",
        "(call $drop (i32.const 1))",
        "(drop (call $len (i32.const 1)))",
    ]);
    let code = format!("(call $shape {HANDLE} (i32.const 512)) {NOTHING}");
    plain(allocating(&processor(&imports(), &code), back))
}

fn memory_bomb(random: &mut Random) -> Source {
    let (pages, touch) = (1 + random.below(512), random.below(65_536));
    let grow = format!(
        "(local.set $j (memory.grow (i32.const {pages})))
         (if (i32.ne (local.get $j) (i32.const -1)) (then
            (i32.store (i32.add (i32.shl (local.get $j) (i32.const 16)) (i32.const {touch}))
                       (i32.const -1))))"
    );
    let count = 1 + random.below(2_000);
    let end = if random.one_in(2) { NOTHING } else { "unreachable" };
    body(&format!("{} {end}", times(count, &grow)))
}

fn table_bomb(random: &mut Random) -> Source {
    let elements = random.pick(&[1u64, 9_999, 10_001, 1 << 20, u64::from(u32::MAX)]);
    let code = random.pick(&[
        "",
        "(drop (table.grow (ref.null func) (i32.const 9000000)))",
        "(drop (table.get (i32.const 77)))",
        "(call_indirect (i32.const 1234567))",
    ]);
    let table = format!("(table {elements} funcref) (memory (");
    plain(processor("", &format!("{code} {NOTHING}")).replace("(memory (", &table))
}

fn stack_bomb(random: &mut Random) -> Source {
    let locals = "i64 ".repeat(random.below(600) as usize);
    let step = random.awkward();
    plain(module(
        "",
        &format!(
            r#"(func $f (param i32) (result i32) (local {locals})
            (i32.add (call $f (i32.add (local.get 0) (i32.const {step}))) (local.get 0)))
        (func (export "process") (param i32 i32 i32 i32) (result i32) (call $f (i32.const 0)))"#
        ),
    ))
}

fn lying_realloc(random: &mut Random) -> Source {
    let answer = match random.below(4) {
        0 => format!("(return (i32.const {}))", random.awkward()),
        1 => format!("(return (i32.mul (local.get 3) (i32.const {})))", random.awkward()),
        2 => "unreachable".to_owned(),
        _ => format!("(drop (memory.grow (i32.const {})))", random.below(3_000)),
    };
    let text = if random.one_in(2) { identity() } else { processor("", NOTHING) };
    plain(allocating(&text, &answer))
}

fn lying_lists(random: &mut Random) -> Source {
    let (pointer, len) = (random.awkward(), random.awkward());
    let list = format!("(i32.const {pointer}) (i32.const {len})");
    body(&match random.below(5) {
        0 => format!(
            "(call $create (i32.const 4) (i32.const 0) (i32.const 1) {list} (i32.const 512)) {NOTHING}"
        ),
        1 => format!(
            "(call $create (i32.const 4) {list} (i32.const 0) (i32.const 1) (i32.const 512)) {NOTHING}"
        ),
        2 => format!("(call $log (i32.const 2) {list}) {NOTHING}"),
        3 => format!(
            "(call $read {HANDLE} (i64.const 0) (i64.const 4) (i32.const {pointer})) {NOTHING}"
        ),
        _ => format!("(call $return {list})"),
    })
}

fn aliases(random: &mut Random) -> Source {
    let count = 1 + random.below(30_000);
    let store =
        "(i32.store offset=4 (i32.add (i32.const 65536) (i32.mul (local.get $i) (i32.const 24)))
        (i32.const 65536))";
    let run = r#"(import "aimass:plugin/tensor@0.1.0" "run"
        (func $run (param i32 i32 i32 i32 i32 i32 i32)))"#;
    let code = format!(
        "(drop (memory.grow (i32.const 16))) {}
         (call $run (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 65536)
                    (i32.const {count}) (i32.const 512)) {NOTHING}",
        times(count, store)
    );
    plain(processor(run, &code))
}

fn handle_bomb(random: &mut Random) -> Source {
    let make = random.pick(&[
        "(call $create (i32.const 4) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 512))",
        "(call $share (i32.load offset=8 (local.get 0)) (i32.const 512))",
        "(call $reshape (i32.load offset=8 (local.get 0)) (i32.const 700) (i32.const 1) (i32.const 512))",
        "(call $rows (i32.load offset=8 (local.get 0)) (i64.const 0) (i64.const 1) (i32.const 512))",
    ]);
    let shape = "(i64.store (i32.const 700) (i64.const 8))";
    body(&format!("{shape} {} {NOTHING}", times(900 + random.below(4_000), make)))
}

fn forged_handles(random: &mut Random) -> Source {
    let handle = random.awkward();
    let misuse = random.pick(&[
        "(drop (call $len (i32.const H)))",
        "(call $drop (i32.const H))",
        "(call $shape (i32.const H) (i32.const 512))",
        "(call $read (i32.const H) (i64.const 0) (i64.const 32) (i32.const 512))",
        "(drop (call $size (i32.const H)))",
        "(i32.store offset=8 (local.get 0) (i32.const H))",
    ]);
    let misuse = misuse.replace('H', &handle.to_string());
    let drops = if random.one_in(2) { format!("(call $drop {HANDLE})") } else { String::new() };
    body(&format!("{drops} {misuse} (call $return (local.get 0) (i32.const 1))"))
}

fn host_bytes(random: &mut Random) -> Source {
    let bytes = 65_536 * (1 + random.below(16));
    let make = format!(
        "(call $create (i32.const 4) (i32.const 512) (i32.const 1) (i32.const 0)
                       (i32.const {bytes}) (i32.const 520))"
    );
    let grow = format!(
        "(drop (memory.grow (i32.const 16))) (i64.store (i32.const 512) (i64.const {bytes}))"
    );
    body(&format!("{grow} {} {NOTHING}", times(100 + random.below(900), &make)))
}

fn call_flood(random: &mut Random) -> Source {
    let calls = random.pick(&[10_000, 1_000_001, u64::from(u32::MAX)]);
    let call = format!("(drop (call $len {HANDLE}))");
    body(&format!("{} {NOTHING}", times(calls, &call)))
}

fn large_output(random: &mut Random) -> Source {
    let count = random.pick(&[1, 64, 65, 10_000, 1 << 20]);
    body(&format!(
        "(drop (memory.grow (i32.const 200))) (call $return (local.get 0) (i32.const {count}))"
    ))
}

fn bad_text(random: &mut Random) -> Source {
    let store = format!("(i64.store (i32.const 900) (i64.const {}))", random.next() as i64);
    let len = 1 + random.below(8);
    body(&match random.below(3) {
        0 => format!("{store} (call $log (i32.const 2) (i32.const 900) (i32.const {len})) {NOTHING}"),
        1 => format!(
            "{store} (i32.store (local.get 0) (i32.const 900))
             (i32.store offset=4 (local.get 0) (i32.const {len})) (call $return (local.get 0) (i32.const 1))"
        ),
        _ => error_from(&store, 900, len),
    })
}

/// Answers an error whose texts are these bytes of the guest.
fn error_from(before: &str, at: u64, len: u64) -> String {
    format!(
        "{before} (i32.store8 (i32.const 64) (i32.const 1)) (i32.store8 (i32.const 68) (i32.const 0))
         (i32.store (i32.const 72) (i32.const {at})) (i32.store (i32.const 76) (i32.const {len}))
         (i32.store (i32.const 80) (i32.const {at})) (i32.store (i32.const 84) (i32.const {len}))
         (i32.const 64)"
    )
}

fn other_encoding(random: &mut Random) -> Source {
    let strings = [StringEncoding::UTF16, StringEncoding::CompactUTF16];
    Source::Module(identity(), strings[random.below(2) as usize])
}

fn overflowing_shapes(random: &mut Random) -> Source {
    let mut code = String::new();
    let rank = 1 + random.below(10);
    for at in 0..rank {
        let extent = random.pick(&[0i64, 1, 2, 1 << 31, 1 << 32, 1 << 62, -1, i64::MAX, i64::MIN]);
        let _ = write!(code, "(i64.store (i32.const {}) (i64.const {extent}))", 700 + 8 * at);
    }
    let (dtype, bytes) = (random.below(40), random.below(70_000));
    let _ = write!(
        code,
        "(call $create (i32.const {dtype}) (i32.const 700) (i32.const {rank}) (i32.const 0)
                       (i32.const {bytes}) (i32.const 512))
         (call $reshape {HANDLE} (i32.const 700) (i32.const {rank}) (i32.const 512))
         (call $rows {HANDLE} (i64.const {}) (i64.const {}) (i32.const 512))",
        random.awkward(),
        random.awkward()
    );
    body(&format!("{code} {NOTHING}"))
}

fn compile_bomb(random: &mut Random) -> Source {
    let (loops, locals) = (1 + random.below(44), 1 + random.below(600));
    let mut code = String::new();
    for depth in 0..loops {
        let _ = write!(code, "(loop $l{depth} ");
        for local in (depth % 3..locals).step_by(9) {
            let from = (local * 31 + depth) % locals;
            let _ =
                write!(code, "(local.set $v{local} (i32.add (local.get $v{from}) (i32.const 1)))");
        }
    }
    for depth in (0..loops).rev() {
        let _ = write!(code, "(br_if $l{depth} (local.get $v{}))) ", depth % locals);
    }
    let names: String = (0..locals).map(|local| format!("(local $v{local} i32)")).collect();
    plain(module(
        "",
        &format!(
            r#"(func (export "process") (param i32 i32 i32 i32) (result i32) {names} {code} {NOTHING})"#
        ),
    ))
}

fn type_bomb(random: &mut Random) -> Source {
    let mut inside = "(type $t0 (tuple u8 u8))".to_owned();
    match random.below(4) {
        0 => {
            for step in 1..random.below(40) {
                let _ = write!(inside, "(type $t{step} (tuple $t{0} $t{0}))", step - 1);
            }
        }
        1 => inside += &"(component)".repeat(random.below(30) as usize),
        2 => {
            inside += &format!(
                "(core module $m) {}",
                "(core instance (instantiate $m))".repeat(random.below(1_000) as usize)
            )
        }
        _ => inside += &"(core module (func))".repeat(random.below(100) as usize),
    }
    Source::Inside(inside)
}

fn traps(random: &mut Random) -> Source {
    body(random.pick(&[
        "unreachable",
        "(i32.load (i32.const -4))",
        "(i32.div_s (i32.const -2147483648) (i32.const -1))",
        "(i32.trunc_f32_s (f32.const nan))",
        "(memory.copy (i32.const 0) (i32.const -1) (i32.const 2)) unreachable",
        "(memory.fill (i32.const 131071) (i32.const 0) (i32.const 2)) unreachable",
    ]))
}

fn log_flood(random: &mut Random) -> Source {
    let (len, count) = (random.below(65_536), 1 + random.below(5_000));
    let log = format!("(call $log (i32.const 2) (i32.const 8192) (i32.const {len}))");
    body(&format!("{} {NOTHING}", times(count, &log)))
}

/// Looks for what others left in memory that was never written here, and answers or logs it.
fn scavenger(random: &mut Random) -> Source {
    let pages = 1 + random.below(250);
    let from = 131_072 + 65_536 * random.below(pages);
    let grow = format!("(drop (memory.grow (i32.const {pages})))");
    let bytes = (131_072 + 65_536 * pages - from).min(4 << 20);
    body(&match random.below(3) {
        0 => format!(
            "{grow} {}",
            ANSWER_BYTES.replacen("(i32.const 8)", &format!("(i32.const {bytes})"), 1).replace(
                "(i32.const 1000) (i32.const 8)",
                &format!("(i32.const {from}) (i32.const {bytes})")
            )
        ),
        1 => format!(
            "{grow} (call $log (i32.const 2) (i32.const {from}) (i32.const 4000)) {NOTHING}"
        ),
        _ => format!(
            "{grow} (call $read {HANDLE} (i64.const {}) (i64.const {}) (i32.const 512))
             (call $log (i32.const 2) (i32.load (i32.const 516)) (i32.const 64)) {NOTHING}",
            random.awkward(),
            random.awkward()
        ),
    })
}

fn scavenging_errors(random: &mut Random) -> Source {
    let grow = format!("(drop (memory.grow (i32.const {})))", 1 + random.below(100));
    body(&error_from(&grow, 4_096 + random.below(190_000), 1 + random.below(4_000)))
}

fn asynchronous(random: &mut Random) -> Source {
    Source::Inside(
        random
            .pick(&[
                "(core func (canon task.return))",
                "(core func (canon subtask.cancel))",
                "(core func (canon backpressure.inc))",
                "(core func (canon waitable-set.new))",
                "(core func (canon thread.yield))",
                "(type $s (stream u8)) (core func (canon stream.new $s))",
                "(type $f (future u8)) (core func (canon future.new $f))",
                "(core func (canon error-context.drop))",
                r#"(core module $m (func (export "f"))) (core instance $i (instantiate $m))
                   (func (canon lift (core func $i "f") async))"#,
            ])
            .to_owned(),
    )
}

fn features(random: &mut Random) -> Source {
    let inside = random.pick(&[
        "(core module (memory i64 1))",
        "(core module (memory 1 2 shared))",
        "(core module (tag))",
        "(core module (type (struct)))",
        "(core module (memory 1) (memory 1))",
        "(core module (func (return_call 0)))",
        "(core module (global (mut v128) (v128.const i64x2 0 0)))",
        "(core module (func (param v128 v128) (result v128)
            (i8x16.relaxed_swizzle (local.get 0) (local.get 1))))",
        r#"(import "wasi:cli/environment@0.2.0" (instance))"#,
        r#"(import "aimass:plugin/shell@0.1.0" (instance))"#,
        r#"(import "f" (func))"#,
    ]);
    Source::Inside(inside.to_owned())
}
