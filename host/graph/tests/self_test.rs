//! The self-test launches every kernel that there is an image of, in every form.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use aimass_graph::{Gpu, GpuOptions};
use aimass_vgpu::Settings;
use std::collections::BTreeSet;

/// Entries that no plan launches, and why they are there.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "conv_depthwise_f16",
        "what plans make channels last is of f32; of halves it runs as conv_direct",
    ),
    ("conv_depthwise_bf16", "as conv_depthwise_f16"),
    (
        "quantized_expand_f16",
        "plans compute layers of quantized weights in f32, whatever their inputs are",
    ),
    ("quantized_expand_bf16", "as quantized_expand_f16"),
];

/// Names of all entries of the images.
fn entries() -> BTreeSet<String> {
    let table = include_str!("../../../kernels/cuda/prebuilt/kernels.json");
    let table: serde_json::Value = serde_json::from_str(table).unwrap();
    let kernels = table["kernels"].as_array().unwrap();
    let named = kernels.iter().flat_map(|kernel| {
        let name = kernel["name"].as_str().unwrap().to_owned();
        let forms = kernel["forms"].as_array().unwrap().clone();
        forms.into_iter().map(move |form| match form.as_str().unwrap() {
            "" => name.clone(),
            form => format!("{name}_{form}"),
        })
    });
    named.collect()
}

#[test]
fn every_entry_of_the_images_is_launched_by_the_self_test() {
    let images = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kernels/cuda/prebuilt");
    let record = std::env::var_os("VGPU_RECORD").map(Into::into);
    let settings =
        Settings { ptx: Some(images.into()), mem_mb: 256, record, ..Settings::default() };
    let vgpu = aimass_vgpu::load(&settings).unwrap();
    let holds = |with_cublaslt: bool| {
        // What is made at run time, where there is a compiler for it, is no entry of the images.
        let options = GpuOptions { fused_kernels_max: 0, ..GpuOptions::default() };
        let gpu = Gpu::open(0, &options).unwrap();
        assert_eq!(gpu.cublaslt().is_ok(), with_cublaslt);
        let outcome = gpu.self_test();
        assert_eq!(outcome.failures, Vec::<String>::new());
    };
    holds(false);
    // Windows are written out for its products, which take the place of other kernels.
    aimass_vgpu::load_cublaslt().unwrap();
    holds(true);
    let launched: BTreeSet<String> = vgpu.counters().into_iter().map(|(name, _)| name).collect();
    let entries = entries();
    let left_out: BTreeSet<String> = LEFT_OUT.iter().map(|(name, _)| (*name).to_owned()).collect();
    let missing: Vec<_> =
        entries.difference(&launched).filter(|name| !left_out.contains(*name)).collect();
    assert!(
        missing.is_empty(),
        "{} of {} entries are launched by no case: {missing:#?}",
        missing.len(),
        entries.len()
    );
    let unknown: Vec<_> = launched.difference(&entries).collect();
    assert!(unknown.is_empty(), "launched, but no entries of kernels.json: {unknown:?}");
    let needless: Vec<_> =
        left_out.intersection(&launched).chain(left_out.difference(&entries)).collect();
    assert!(needless.is_empty(), "left out, but launched or gone: {needless:?}");
}
