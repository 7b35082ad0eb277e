//! Real embeddings beside reference numbers that other implementations made (tests/golden).

use std::collections::HashMap;

use aimass_e2e::{Site, floats, infer_text, integers, prepared, repository};
use aimass_testkit::Server;

/// Largest difference to the reference.
const TOLERANCE: f32 = 1e-5;
const DIMENSIONS: usize = 384;

fn texts() -> Vec<String> {
    let json = std::fs::read(repository().join("tests/golden/texts.json")).expect("golden texts");
    serde_json::from_slice(&json).expect("a list of texts")
}

fn reference() -> Vec<f32> {
    let path = repository().join("tests/golden/embeddings.f32");
    floats(&std::fs::read(path).expect("golden embeddings"))
}

/// Embeddings of `texts`, asked for in groups of these sizes, in this order.
fn embeddings(server: &Server, texts: &[String], groups: &[usize]) -> Vec<u32> {
    let mut bits = Vec::new();
    let mut rest = texts;
    let mut sizes = groups.iter().cycle();
    while !rest.is_empty() {
        let size = *sizes.next().expect("a cycle has no end");
        let (group, tail) = rest.split_at(size.min(rest.len()));
        let group: Vec<&str> = group.iter().map(String::as_str).collect();
        let outputs = infer_text(server, "minilm", &group);
        assert_eq!(outputs[0].0, "embedding");
        bits.extend(floats(&outputs[0].1).iter().map(|value| value.to_bits()));
        rest = tail;
    }
    bits
}

#[test]
fn embeddings_agree_with_the_reference_and_batched_equals_alone() {
    let site = Site::new();
    let (texts, reference) = (texts(), reference());
    assert!(texts.len() >= 300);
    let server = site.serve(&[]);
    let alone = embeddings(&server, &texts, &[1]);
    assert_eq!(alone.len(), texts.len() * DIMENSIONS);
    for (index, (got, expected)) in alone.iter().zip(&reference).enumerate() {
        let difference = (f32::from_bits(*got) - expected).abs();
        let text = &texts[index / DIMENSIONS];
        assert!(difference <= TOLERANCE, "text {text:?}: differs by {difference}");
    }
    for groups in [&[64][..], &[3, 17, 1, 8, 29], &[2, 5]] {
        assert!(embeddings(&server, &texts, groups) == alone, "groups of {groups:?} differ");
    }
    let together = asked_at_once(&server, &texts);
    assert!(together == alone, "concurrent calls differ");
    drop(server);
    let single = site.serve(&["--threads", "1"]);
    assert!(embeddings(&single, &texts, &[7, 31]) == alone, "one thread differs");
}

/// Every text from one of eight clients that ask at the same time.
fn asked_at_once(server: &Server, texts: &[String]) -> Vec<u32> {
    let parts: Vec<Vec<u32>> = std::thread::scope(|scope| {
        let clients: Vec<_> = texts
            .chunks(texts.len().div_ceil(8))
            .map(|part| scope.spawn(move || embeddings(server, part, &[1, 2])))
            .collect();
        clients.into_iter().map(|client| client.join().expect("a client")).collect()
    });
    parts.concat()
}

#[test]
fn token_ids_agree_exactly() {
    let site = Site::new();
    let package = site.folder().join("tokens");
    std::fs::create_dir(&package).expect("a folder");
    let sources = repository().join("tests/e2e/packages/tokens");
    std::fs::copy(sources.join("model.toml"), package.join("model.toml")).expect("a manifest");
    let tokenizer = prepared("AIMASS_MODEL_DIR").join("tokenizer.json");
    std::fs::copy(tokenizer, package.join("tokenizer.json")).expect("a tokenizer");
    site.succeed(&["model", "add", "tokens"]);
    let json = std::fs::read(repository().join("tests/golden/token_ids.json")).expect("golden ids");
    let expected: Vec<Vec<i32>> = serde_json::from_slice(&json).expect("a list of lists");
    let server = site.serve(&[]);
    let texts = texts();
    for (part, ids) in texts.chunks(50).zip(expected.chunks(50)) {
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        let outputs: HashMap<_, _> = infer_text(&server, "tokens", &part).into_iter().collect();
        let (got, offsets) = (integers(&outputs["input_ids"]), integers(&outputs["offsets"]));
        for (index, ids) in ids.iter().enumerate() {
            let range = offsets[index] as usize..offsets[index + 1] as usize;
            assert_eq!(got[range], ids[..], "text {:?}", part[index]);
        }
    }
}
