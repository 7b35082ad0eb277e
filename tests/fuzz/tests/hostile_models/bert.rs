//! A configuration and a safetensors file that lie.

use crate::{MIB, serve};

#[test]
fn bert_files_that_lie_are_refused() {
    let config = br#"{"model_type": "bert", "hidden_act": "gelu", "hidden_size": 8,
        "num_attention_heads": 2, "num_hidden_layers": 2, "layer_norm_eps": 1e-12}"#;
    let file = |length: u64, header: &str| {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + 64, 0);
        bytes
    };
    let tensor = |shape: &str, start: u64, end: u64| {
        let header = format!(
            r#"{{"embeddings.word_embeddings.weight": {{"dtype": "F32", "shape": {shape}, "data_offsets": [{start}, {end}]}}}}"#
        );
        file(header.len() as u64, &header)
    };
    let nested = "[".repeat(100_000);
    let cases = vec![
        ("a header of 2^60 bytes", file(1 << 60, "{}")),
        ("a header of u64::MAX bytes", file(u64::MAX, "{}")),
        ("a header beyond the file", file(1_000, "{}")),
        ("a range past the end", tensor("[4, 4]", 16, 80)),
        ("a range backwards", tensor("[4, 4]", 64, 0)),
        ("an offset that overflows", tensor("[4, 4]", u64::MAX - 63, u64::MAX)),
        ("a shape that overflows", tensor("[4294967296, 4294967296, 4]", 0, 64)),
        ("a negative shape", tensor("[-4, -4]", 0, 64)),
        ("2^40 elements", tensor("[1048576, 1048576]", 0, 64)),
        ("lists 100,000 deep", file(nested.len() as u64, &nested)),
        ("nothing", Vec::new()),
    ];
    let packages = cases.iter().map(|(_, tensors)| {
        vec![
            ("config.json".to_owned(), config.to_vec()),
            ("model.safetensors".to_owned(), tensors.clone()),
        ]
    });
    let Some(served) = serve("bert", packages.collect()) else { return };
    for ((name, _), (outcome, bytes)) in cases.into_iter().zip(served) {
        let error = outcome.expect_err(name);
        assert!(["safetensors", "header-bytes"].contains(&&*error.code), "{name}: {error:?}");
        assert!(bytes < 32 * MIB, "{name}: held {bytes} bytes");
    }
}
