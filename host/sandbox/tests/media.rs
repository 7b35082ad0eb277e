//! `media` in the sandbox: what a guest gets for a file, and what it may cost.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use aimass_sandbox::{Cause, NamedTensors, PluginError};
use std::fmt::Write;
use std::time::{Duration, Instant};
use support::{Bench, call, package, process};

/// Where a guest keeps its file.
const AT: usize = 8_192;

fn read(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/media/");
    std::fs::read(format!("{folder}{name}")).unwrap()
}

/// A guest that hands `data` to `function`, with `channels` if it is for pictures, `times` times, and
/// answers the last tensor as `y`, or the error.
fn guest(data: &[u8], channels: Option<u32>, times: u32) -> String {
    let mut text = String::new();
    data.iter().for_each(|byte| write!(text, "\\{byte:02x}").unwrap());
    let (name, extra, argument) = match channels {
        Some(channels) => ("decode-image", "i32", format!("(i32.const {channels})")),
        None => ("decode-audio", "", String::new()),
    };
    let imports = format!(
        r#"(import "aimass:plugin/media@0.1.0" "{name}" (func $decode (param i32 i32 {extra} i32)))"#
    );
    let len = data.len();
    let body = format!(
        r#"(data (i32.const {AT}) "{text}") (data (i32.const 300) "y")
  (func (export "process") (param i32 i32 i32 i32) (result i32) (local $left i32)
    (local.set $left (i32.const {times}))
    (loop $again
      (call $decode (i32.const {AT}) (i32.const {len}) {argument} (i32.const 200))
      (if (i32.load8_u (i32.const 200)) (then (return (i32.const 200))))
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $again (local.get $left)))
    (i32.store (i32.const 240) (i32.const 300)) (i32.store (i32.const 244) (i32.const 1))
    (i32.store (i32.const 248) (i32.load (i32.const 204)))
    (call $return (i32.const 240) (i32.const 1)))"#
    );
    support::module(&imports, &body).replace("\"memory\") 2)", "\"memory\") 4)")
}

async fn answer(bench: &Bench, limits: &str, wat: &str) -> Result<NamedTensors, PluginError> {
    let package = package("processor", &support::core(wat), limits);
    let plugin = bench.load_package(&package).await.unwrap();
    Ok(process(&plugin, vec![]).await?.outputs)
}

async fn code(bench: &Bench, limits: &str, wat: &str) -> String {
    match answer(bench, limits, wat).await.unwrap_err().cause {
        Cause::Guest(error) => error.code.to_string(),
        other => panic!("expected an answer of the guest, got {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_decoded_at_once_or_on_another_thread() {
    let bench = Bench::new();
    let small = guest(&read("color.png"), Some(3), 1);
    let outputs = answer(&bench, "{}", &small).await.unwrap();
    assert_eq!(outputs[0].1.shape()[..], [37, 45, 3]);
    assert_eq!(outputs[0].1.bytes(), read("color.png.3.raw"));
    let large = guest(&read("coffee.jpg"), Some(1), 1);
    let outputs = answer(&bench, "{}", &large).await.unwrap();
    assert_eq!(outputs[0].1.shape()[..], [480, 640, 1]);
    let sound = guest(&read("pcm-16.wav"), None, 1);
    let outputs = answer(&bench, "{}", &sound).await.unwrap();
    assert_eq!(outputs[0].1.shape()[..], [400, 2]);
    assert_eq!(outputs[0].1.bytes(), read("pcm-16.wav.raw"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_or_too_large_is_an_error_of_the_file() {
    let bench = Bench::with(|config| {
        config.limits.image_pixels_max = 45 * 37;
        config.limits.audio_samples_max = 800;
    });
    let picture = read("color.png");
    assert!(answer(&bench, "{}", &guest(&picture, Some(3), 1)).await.is_ok());
    assert_eq!(code(&bench, "{}", &guest(&picture, Some(2), 1)).await, "media");
    assert_eq!(code(&bench, "{}", &guest(&picture[..900], Some(3), 1)).await, "media");
    assert_eq!(code(&bench, "{}", &guest(&read("coffee.jpg"), Some(3), 1)).await, "pixels");
    assert!(answer(&bench, "{}", &guest(&read("pcm-16.wav"), None, 1)).await.is_ok());
    assert_eq!(code(&bench, "{}", &guest(&read("extensible-24x6.wav"), None, 1)).await, "samples");
}

#[tokio::test(flavor = "multi_thread")]
async fn pixels_and_the_decoders_memory_are_charged_before_they_are_taken() {
    let bench = Bench::new();
    let once = guest(&read("coffee.jpg"), Some(3), 1);
    assert_eq!(code(&bench, r#"{"hostBytesMax": 900000}"#, &once).await, "host-bytes");
    // The pixels fit, what the decoder takes beside them does not.
    assert_eq!(code(&bench, r#"{"hostBytesMax": 1000000}"#, &once).await, "host-bytes");
    assert!(answer(&bench, r#"{"hostBytesMax": 4000000}"#, &once).await.is_ok());
    // The decoder's share comes back, that of kept tensors does not.
    let often = guest(&read("coffee.jpg"), Some(3), 5);
    assert_eq!(code(&bench, r#"{"hostBytesMax": 4000000}"#, &often).await, "host-bytes");
    assert!(answer(&bench, r#"{"hostBytesMax": 8000000}"#, &often).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_decodes_for_ever_is_cut_at_its_deadline() {
    let bench = Bench::new();
    let wat = guest(&read("coffee.jpg"), Some(1), u32::MAX);
    // Each tensor is kept, so the handles would end it first without more of them.
    let limits = r#"{"handlesMax": 1000, "hostBytesMax": 1000000000}"#;
    let package = package("processor", &support::core(&wat), limits);
    let plugin = bench.load_package(&package).await.unwrap();
    let (wall, start) = (Duration::from_millis(100), Instant::now());
    let error = plugin.process(call(wall), vec![]).await.unwrap_err();
    assert!(matches!(error.cause, Cause::Deadline), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    bench.still_works().await;
}
