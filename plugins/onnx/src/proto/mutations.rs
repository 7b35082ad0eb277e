//! Broken models: truncated, with bits flipped, with parts moved. None may panic, hang, or take memory
//! beyond the reader's bounds.
//!
//! `AIMASS_MUTATIONS` sets how many random ones run, `AIMASS_SEED` chooses them.

use super::fixture::{empty, model, model_of_everything, node, port};
use super::{Model, read};
use aimass_sdk::Error;
use std::time::{Duration, Instant};

/// Reads bytes and does all with the model that needs no host.
fn exercise(bytes: Vec<u8>) -> Result<Model, Error> {
    let model = read("model.onnx", bytes)?;
    super::check(&model)?;
    crate::signature::of_model(&model, true)?;
    Ok(model)
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.next() as u8,
        2 => bytes.truncate(at.max(1)),
        3 => bytes.insert(at, random.next() as u8),
        4 => {
            bytes.remove(at);
            if bytes.is_empty() {
                bytes.push(0);
            }
        }
        5 => {
            let end = (at + 1 + random.below(64)).min(bytes.len());
            let (part, to) = (bytes[at..end].to_vec(), random.below(bytes.len()));
            bytes.splice(to..to, part);
        }
        6 => {
            let end = (at + 10).min(bytes.len());
            bytes[at..end].fill(0xff);
        }
        _ => {
            let end = (at + 1 + random.below(64)).min(bytes.len());
            let (part, to) = (bytes[at..end].to_vec(), random.below(bytes.len()));
            let len = part.len().min(bytes.len() - to);
            bytes[to..to + len].copy_from_slice(&part[..len]);
        }
    }
}

#[test]
fn the_model_of_everything_is_read() {
    let model = exercise(model_of_everything().0).unwrap();
    assert_eq!((model.graph.nodes.len(), model.graph.initializers.len()), (2, 5));
    assert_eq!((model.functions.len(), model.opsets[""]), (1, 17));
}

#[test]
fn mutations_are_refused_or_read() {
    let count = setting("AIMASS_MUTATIONS", 20_000);
    let mut random = Random(setting("AIMASS_SEED", 1));
    let models = [model_of_everything().0, nested(3)];
    let mut read = 0;
    for index in 0..count {
        let mut bytes = models[index as usize % models.len()].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut bytes, &mut random);
        }
        read += u64::from(exercise(bytes).is_ok());
    }
    assert!(read > 0 && read < count.max(2), "{read} of {count} were read");
}

#[test]
fn every_truncation_is_refused_or_read() {
    let bytes = model_of_everything().0;
    for len in 0..bytes.len() {
        // Some end between two fields of the model: what is left is a model, too.
        let _ = exercise(bytes[..len].to_vec());
    }
    assert!(exercise(Vec::new()).is_err());
    assert!(exercise(bytes[..bytes.len() / 2].to_vec()).is_err());
}

#[test]
fn every_flipped_bit_is_refused_or_read() {
    let bytes = model_of_everything().0;
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let _ = exercise(flipped);
    }
}

/// A graph in a graph in a graph.
fn nested(depth: usize) -> Vec<u8> {
    let mut graph = empty().message(1, &node("Relu", &["x"], &["y"])).message(12, &port("y", &[2]));
    for _ in 0..depth {
        let attribute = empty().text(1, "then_branch").varint(20, 5).message(6, &graph);
        let branch = node("If", &["flag"], &["y"]).message(5, &attribute);
        graph = empty().message(1, &branch).message(12, &port("y", &[2]));
    }
    model(&graph.message(11, &port("x", &[2]))).0
}

/// The code of the refusal, which has to come soon.
fn refusal(bytes: Vec<u8>) -> String {
    let start = Instant::now();
    let error = exercise(bytes).expect_err("a refusal");
    assert!(start.elapsed() < Duration::from_secs(60), "{error:?}");
    assert!(!error.message.is_empty());
    error.code
}

#[test]
fn what_passes_a_limit_is_refused_by_its_name() {
    assert_eq!(refusal(nested(40)), "onnx-depth");
    assert!(exercise(nested(30)).is_ok());
    let deep_type = (0..40).fold(empty(), |ty, _| empty().message(9, &empty().message(1, &ty)));
    let port = empty().text(1, "x").message(2, &deep_type);
    assert_eq!(refusal(model(&empty().message(11, &port)).0), "onnx-depth");
    let name = "n".repeat(10 << 20);
    assert_eq!(refusal(model(&empty().message(1, &node("Relu", &[&name], &["y"]))).0), "onnx-list");
    let axes = (0..9).fold(empty(), |tensor, _| tensor.varint(1, 1));
    assert_eq!(refusal(model(&empty().message(5, &axes)).0), "onnx-rank");
    let nodes = node("Relu", &["x"], &[]);
    let nodes = empty().message(1, &nodes).0.repeat(300_000);
    let graph = super::fixture::Message(nodes);
    assert_eq!(refusal(model(&graph).0), "onnx-nodes");
    let inputs = empty().text(1, "x").0.repeat(16 << 20);
    let node = super::fixture::Message(inputs);
    assert_eq!(refusal(model(&empty().message(1, &node)).0), "onnx-memory");
    let fields = empty().varint(3, 1).0.repeat(17 << 20);
    assert_eq!(refusal(fields), "onnx-fields");
    let ints = empty().varint(8, 1).0.repeat(16 << 20);
    let attribute = super::fixture::Message(ints).text(1, "is");
    let node = super::fixture::node("Relu", &["x"], &["y"]).message(5, &attribute);
    assert_eq!(refusal(model(&empty().message(1, &node)).0), "onnx-memory");
}

#[test]
fn values_made_twice_are_refused_by_name() {
    let twice = empty().message(1, &node("Relu", &["x"], &["y"]));
    let twice = twice.message(1, &node("Neg", &["x"], &["y"])).message(12, &port("y", &[2]));
    let error = exercise(model(&twice).0).expect_err("a refusal");
    assert!(error.message.contains("`y` is made twice"), "{}", error.message);
}
