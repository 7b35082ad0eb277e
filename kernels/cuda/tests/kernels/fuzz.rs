//! Every launcher on cases that a seed draws: shapes, types, strides, places off alignment, and
//! content that is no number, infinite or below the normal numbers.
//!
//! Each case is one of the topic's own check against f64. A failure names launcher and seed, which
//! `AIMASS_SEED` gives again; `AIMASS_ALL=1` draws many more cases.

use crate::reference::{Random, Salt, set_salt};
use crate::{
    attention, binary, cast, channel_norm, conv, counting, dynamic_linear, indexed, matmul,
    matmul_integer, norm, pool, quantize, quantized, ragged_pool, random_bits, recurrent, reduce,
    resample, rope, shape_ops, softmax, top_k, unary,
};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{SystemTime, UNIX_EPOCH};

/// A public function that queues kernels, `file::function`, and what draws and checks a case of it.
struct Launcher {
    name: &'static str,
    draw: fn(&mut Random),
    /// Whether NaN and infinities may be anywhere. Where not, the topic's checks put them into rows
    /// of their own, because elsewhere what they spread to is not said.
    special: bool,
}

const fn plain(name: &'static str, draw: fn(&mut Random)) -> Launcher {
    Launcher { name, draw, special: false }
}

const fn special(name: &'static str, draw: fn(&mut Random)) -> Launcher {
    Launcher { name, draw, special: true }
}

const LAUNCHERS: &[Launcher] = &[
    plain("arg_extreme::arg_extreme", reduce::draw_arg_extreme),
    plain("attention::attention", attention::draw_attention),
    plain("attention_decode::attention_decode", attention::draw_attention_decode),
    special("binary::arithmetic", binary::draw_arithmetic),
    special("binary::bitwise", binary::draw_bitwise),
    special("binary::compare", binary::draw_compare),
    special("binary::logical", binary::draw_logical),
    special("cast::cast", cast::draw_cast),
    plain("channel_norm::batch_norm", channel_norm::draw_batch_norm),
    plain("channel_norm::group_norm", channel_norm::draw_group_norm),
    plain("conv::conv", conv::draw_conv),
    plain("conv::conv_depthwise", conv::draw_conv_depthwise),
    plain("conv::conv_transpose", conv::draw_conv_transpose),
    plain("counting::iota", counting::draw_iota),
    plain("counting::one_hot", counting::draw_one_hot),
    plain("counting::positions", counting::draw_positions),
    plain("cumulative::cumulative", reduce::draw_cumulative),
    plain("dynamic_linear::dynamic_linear", dynamic_linear::draw_dynamic_linear),
    plain("gather::gather", indexed::draw_gather),
    plain("gather::gather_elements", indexed::draw_gather_elements),
    plain("gather::gather_tuples", indexed::draw_gather_tuples),
    special("matmul::matmul", matmul::draw_matmul),
    plain("matmul_integer::matmul_integer", matmul_integer::draw_matmul_integer),
    plain("norm::norm", norm::draw_norm),
    plain("pad::pad", shape_ops::draw_pad),
    special("pool::average_pool", pool::draw_average_pool),
    special("pool::max_pool", pool::draw_max_pool),
    plain("quantize::dequantize", quantize::draw_quantize),
    plain("quantize::quantize", quantize::draw_quantize),
    plain("quantized::quantized_linear", quantized::draw_quantized_linear),
    special("ragged_pool::ragged_pool", ragged_pool::draw_ragged_pool),
    special("ragged_pool::ragged_pool_named", ragged_pool::draw_ragged_pool_named),
    plain("random_bits::random_bits", random_bits::draw_random_bits),
    plain("recurrent::recurrent", recurrent::draw_recurrent),
    plain("reduce::reduce", reduce::draw_reduce),
    special("resample::resample", resample::draw_resample),
    plain("resample::resize_taps", resample::draw_resize_taps),
    special("rope::rope", rope::draw_rope),
    plain("scatter::scatter_elements", indexed::draw_scatter_elements),
    plain("scatter::scatter_tuples", indexed::draw_scatter_tuples),
    plain("select::select", binary::draw_select),
    plain("shape_ops::broadcast_to", shape_ops::draw_broadcast_to),
    plain("shape_ops::concat", shape_ops::draw_concat),
    plain("shape_ops::slice", shape_ops::draw_slice),
    plain("shape_ops::tile", shape_ops::draw_tile),
    plain("shape_ops::transpose", shape_ops::draw_transpose),
    plain("softmax::softmax", softmax::draw_softmax),
    plain("strided::copy", shape_ops::draw_copy),
    plain("top_k::top_k", top_k::draw_top_k),
    special("unary::unary", unary::draw_unary),
    plain("unary::unary_int", unary::draw_unary_int),
    special("unary::unary_test", unary::draw_unary_test),
];

/// Launchers that are not fuzzed, each with the reason. None is.
const EXCEPTIONS: &[(&str, &str)] = &[];

/// Cases of each launcher, and with `AIMASS_ALL=1`.
const CASES: u64 = 30;
const CASES_ALL: u64 = 1_000;

/// Draws cases of these launchers.
fn fuzz(launchers: &[Launcher]) {
    let all = std::env::var("AIMASS_ALL").is_ok_and(|all| all == "1");
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs());
    let given = std::env::var("AIMASS_SEED").ok().and_then(|seed| seed.parse().ok());
    let first: u64 = given.unwrap_or(clock % 1_000_000_000 + 1);
    let cases = if given.is_some() {
        1
    } else if all {
        CASES_ALL
    } else {
        CASES
    };
    println!("fuzz: {cases} cases of each of {} launchers from seed {first}", launchers.len());
    for launcher in launchers {
        for seed in first..first + cases {
            let salt = Salt { seed, special: launcher.special && seed % 2 == 0 };
            set_salt(salt);
            let case = || (launcher.draw)(&mut Random::new(0));
            if let Err(problem) = catch_unwind(AssertUnwindSafe(case)) {
                println!(
                    "fuzz: {} fails; again: AIMASS_SEED={seed} AIMASS_FUZZ={}",
                    launcher.name, launcher.name
                );
                resume_unwind(problem);
            }
        }
    }
}

/// The launchers that `AIMASS_FUZZ` names, or this share of all.
fn fuzz_share(share: usize) {
    let named = std::env::var("AIMASS_FUZZ").unwrap_or_default();
    let size = LAUNCHERS.len().div_ceil(SHARES);
    for launcher in LAUNCHERS.chunks(size).nth(share).unwrap_or_default() {
        if named.is_empty() || launcher.name == named {
            fuzz(std::slice::from_ref(launcher));
        }
    }
}

/// Parts that run beside each other.
const SHARES: usize = 4;

#[test]
fn drawn_cases_of_the_first_quarter_are_those_of_f64() {
    fuzz_share(0);
}

#[test]
fn drawn_cases_of_the_second_quarter_are_those_of_f64() {
    fuzz_share(1);
}

#[test]
fn drawn_cases_of_the_third_quarter_are_those_of_f64() {
    fuzz_share(2);
}

#[test]
fn drawn_cases_of_the_last_quarter_are_those_of_f64() {
    fuzz_share(3);
}

/// Names, `file::function`, of the public functions of the crate that take a queue.
fn launchers_of_the_crate() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
    for file in std::fs::read_dir(sources).expect("the sources") {
        let path = file.expect("a file").path();
        let module = path.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("text");
        for function in text.split("\npub fn ").skip(1) {
            let (name, rest) = function.split_once('(').expect("parameters");
            let parameters = rest.split(") ->").next().unwrap_or(rest);
            if parameters.contains("queue: &mut Queue") {
                let name = name.split('<').next().unwrap_or(name);
                found.insert(format!("{module}::{name}"));
            }
        }
    }
    found
}

#[test]
fn every_launcher_is_fuzzed_or_excepted_with_a_reason() {
    let fuzzed: BTreeSet<String> = LAUNCHERS.iter().map(|own| own.name.to_owned()).collect();
    let excepted: BTreeSet<String> = EXCEPTIONS.iter().map(|own| own.0.to_owned()).collect();
    assert_eq!(fuzzed.len(), LAUNCHERS.len(), "two entries have one name");
    assert!(EXCEPTIONS.iter().all(|(_, reason)| !reason.is_empty()));
    assert!(fuzzed.is_disjoint(&excepted));
    let covered: BTreeSet<String> = fuzzed.union(&excepted).cloned().collect();
    let launchers = launchers_of_the_crate();
    assert!(launchers.len() > 40, "the sources were not read: {launchers:?}");
    assert_eq!(covered, launchers, "list the launcher in fuzz.rs, with what draws a case of it");
}
