//! What the sandbox adds to a picture's way from a file to the input of a vision model.
//!
//! The plugin `image-preprocess` resizes the JPEG of 640 x 480 in `tests/golden/media` to 256, crops 224 and
//! normalizes, in a fresh instance for every call. Beside it: the same decoder and kernels called natively, and
//! the same decoder with a loop written by hand.

use crate::row::{Row, median, median_ratio, micros};
use crate::support::{Bench, call, package, setup};
use aimass_graph::{Attribute, run_op};
use aimass_media::{Channels, Image, Limits};
use aimass_sandbox::NoFiles;
use aimass_tensor::{BufferMut, DType, Shape, Strings, Tensor};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 101;
const MEAN: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATION: [f32; 3] = [0.229, 0.224, 0.225];
const CONFIG: &str = r#"{"size": {"height": 256, "width": 341}, "crop": {"height": 224, "width": 224},
    "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}"#;
/// Most that the sandbox may take of the time of native code.
const RATIO_MAX: f64 = 1.2;

/// `plugins` is the folder of built components.
pub(crate) async fn rows(plugins: &Path) {
    let component = std::fs::read(plugins.join("image-preprocess.wasm"));
    let component = component.expect("`--plugins`, with the component of image-preprocess");
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/media/coffee.jpg");
    let file = std::fs::read(file).unwrap();
    let bench = Bench::with(|config| config.instances_max = None);
    let package = package("processor", &component, "{}");
    let setup = setup(CONFIG.as_bytes(), Arc::new(NoFiles));
    let plugin = bench.sandbox.load(&package, setup).await.unwrap();
    let input = || {
        let strings = Strings::from_slices(&[&file]).unwrap();
        vec![("image".into(), Tensor::from_strings(Shape::new(&[1]).unwrap(), strings).unwrap())]
    };
    let [mut sandboxed, mut native, mut by_hand, mut decoding] = [const { Vec::new() }; 4];
    let mut worst = 0f32;
    for round in 0..ROUNDS {
        // Whoever goes second finds tables and buffers in the caches: they take turns.
        let early = (round % 2 == 0).then(|| timed(|| of_kernels(&file)));
        let start = Instant::now();
        let outputs = plugin.process(call(Duration::from_secs(60)), input()).await.unwrap().outputs;
        sandboxed.push(micros(start.elapsed()));
        let (kernels, time) = early.unwrap_or_else(|| timed(|| of_kernels(&file)));
        native.push(time);
        let (own, time) = timed(|| of_loops(&file));
        by_hand.push(time);
        decoding.push(timed(|| black_box(decoded(&file))).1);
        let pixels = outputs[0].1.as_slice::<f32>().unwrap();
        assert!(pixels == kernels.as_slice::<f32>().unwrap(), "the same kernels, the same bits");
        let differences = pixels.iter().zip(&own).map(|(a, b)| (a - b).abs());
        worst = differences.fold(worst, f32::max);
    }
    let [by_hand, decoding] = [by_hand, decoding].map(|times| median(&times));
    println!(
        "loop by hand {by_hand:.0} us (differs by {worst:.1e} at most), decoding {decoding:.0} us"
    );
    let (value, peer_value) = (median(&sandboxed), median(&native));
    let (name, unit, peer) =
        ("JPEG of 640 x 480 to a normalized tensor", "us", "the same natively");
    let ratio = median_ratio(&sandboxed, &native);
    Row { name, value, unit, peer, peer_value, ratio, ratio_max: RATIO_MAX }.print();
}

/// What `work` answers, and its microseconds.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let answer = work();
    (answer, micros(start.elapsed()))
}

fn decoded(file: &[u8]) -> Tensor {
    let image = Image::open(file, &Limits::default()).unwrap();
    let shape = Shape::new(&[image.height() as usize, image.width() as usize, 3]).unwrap();
    let mut block = BufferMut::uninit(image.output_bytes(Channels::Rgb));
    image.decode(Channels::Rgb, block.as_mut_slice()).unwrap();
    Tensor::new(DType::U8, shape, block.freeze()).unwrap()
}

fn op(name: &str, inputs: &[&Tensor], attributes: Vec<(&str, Attribute)>) -> Tensor {
    let inputs: Vec<Tensor> = inputs.iter().map(|&tensor| tensor.clone()).collect();
    let attributes: Vec<_> =
        attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    run_op(name, &inputs, &attributes).unwrap().remove(0)
}

fn reshaped(x: &Tensor, extents: &[usize]) -> Tensor {
    x.reshaped(Shape::new(extents).unwrap()).unwrap()
}

fn resized(x: &Tensor, extents: [usize; 2]) -> Tensor {
    let attributes = vec![
        ("extents", Attribute::Ints(extents.map(|extent| extent as i64).to_vec())),
        ("mode", Attribute::Text("bilinear".to_owned())),
        ("antialias", Attribute::Bool(true)),
    ];
    op("resize", &[x], attributes)
}

/// What the plugin asks the host for, step by step.
fn of_kernels(file: &[u8]) -> Tensor {
    let x = op("cast", &[&decoded(file)], vec![("dtype", Attribute::Text("f32".to_owned()))]);
    let (height, width) = (x.shape()[0], x.shape()[1]);
    // Whichever axis leaves less for the other one goes first, as in the SDK.
    let x = if 256 * width <= height * 341 {
        let rows = resized(&reshaped(&x, &[1, 1, height, 3 * width]), [256, 3 * width]);
        resized(&reshaped(&rows, &[1, 256, width, 3]), [341, 3])
    } else {
        let columns = resized(&reshaped(&x, &[1, height, width, 3]), [341, 3]);
        resized(&reshaped(&columns, &[1, 1, height, 3 * 341]), [256, 3 * 341])
    };
    let x = reshaped(&x, &[256, 341, 3]).rows(16..240);
    let part = [("axis", 1), ("start", 58), ("end", 282), ("step", 1)];
    let x = op("slice", &[&x], part.map(|(name, value)| (name, Attribute::Int(value))).to_vec());
    let factors: [f32; 3] = std::array::from_fn(|c| 1.0 / 255.0 / DEVIATION[c]);
    let shifts: [f32; 3] = std::array::from_fn(|c| -MEAN[c] / DEVIATION[c]);
    let x = op("mul", &[&x, &Tensor::from_slice(&[3], &factors).unwrap()], vec![]);
    let x = op("add", &[&x, &Tensor::from_slice(&[3], &shifts).unwrap()], vec![]);
    let x = op("transpose", &[&x], vec![("permutation", Attribute::Ints(vec![2, 0, 1]))]);
    reshaped(&x, &[1, 3, 224, 224])
}

/// First element and weights of each of `to` outputs over `from` elements: a widened triangle.
fn triangle(from: usize, to: usize) -> Vec<(usize, Vec<f32>)> {
    let step = from as f64 / to as f64;
    let reach = step.max(1.0);
    let taps = |position: usize| {
        let center = (position as f64 + 0.5) * step - 0.5;
        let first = (center - reach).ceil().max(0.0) as usize;
        let last = ((center + reach).floor() as usize).min(from - 1);
        let weight = |index: usize| (1.0 - (index as f64 - center).abs() / reach).max(0.0);
        let weights: Vec<f64> = (first..=last).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        (first, weights.iter().map(|weight| (weight / sum) as f32).collect())
    };
    (0..to).map(taps).collect()
}

/// The same numbers as one would write them without a library, rows of the crop only.
fn of_loops(file: &[u8]) -> Vec<f32> {
    let pixels = decoded(file);
    let (height, width) = (pixels.shape()[0], pixels.shape()[1]);
    let (rows, columns) = (triangle(height, 256), triangle(width, 341));
    let mut out = vec![0f32; 3 * 224 * 224];
    let mut line = vec![0f32; 3 * width];
    for (y, (first, weights)) in rows[16..240].iter().enumerate() {
        line.fill(0.0);
        for (row, weight) in (*first..).zip(weights) {
            let source = &pixels.bytes()[row * 3 * width..][..3 * width];
            line.iter_mut().zip(source).for_each(|(sum, &byte)| *sum += weight * f32::from(byte));
        }
        for (x, (first, weights)) in columns[58..282].iter().enumerate() {
            let mut sums = [0f32; 3];
            for (pixel, weight) in line[3 * first..].as_chunks::<3>().0.iter().zip(weights) {
                sums.iter_mut().zip(pixel).for_each(|(sum, part)| *sum += weight * part);
            }
            for (c, sum) in sums.into_iter().enumerate() {
                out[(c * 224 + y) * 224 + x] = (sum / 255.0 - MEAN[c]) / DEVIATION[c];
            }
        }
    }
    out
}
