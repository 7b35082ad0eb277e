//! Convolutions and their like in graphs: classes of dimensions, halves, tables of weights.

use crate::support::{Random, builder, f32s, near, plan, plan_on, weight};
use aimass_graph::{Coalescing, ConvValues, Dim, GraphError, ResizeMode, Window, run_op};
use aimass_tensor::{DType, Tensor};

fn window(strides: u64, pads: u64) -> Window {
    Window {
        strides: vec![strides; 2],
        pads_before: vec![pads; 2],
        pads_after: vec![pads; 2],
        dilations: vec![1; 2],
    }
}

#[test]
fn rows_stay_apart_and_extents_are_derived() {
    let mut b = builder();
    let dynamic = |name: &str| Dim::Dynamic(name.into());
    let dims = [Dim::Batch, Dim::Fixed(3), dynamic("h"), dynamic("w")];
    let x = b.input("x", DType::F32, &dims).unwrap();
    let mut random = Random(3);
    let w = weight(&mut b, &[4, 3, 3, 3], &random.numbers(4 * 27));
    let y = b.conv(ConvValues { x, w, bias: None }, window(2, 1), 1).unwrap();
    let y = b.max_pool(y, &[2, 2], window(1, 0)).unwrap();
    let y = b.resize(y, &[5, 6], ResizeMode::Bilinear, false, false).unwrap();
    b.output("y", y).unwrap();
    let plan = plan(b);
    assert_eq!(*plan.coalescing(), Coalescing::Batch);
    let items: Vec<Vec<f32>> = (0..3).map(|_| random.numbers(3 * 9 * 8)).collect();
    let joined = plan.run(&[f32s(&[3, 3, 9, 8], &items.concat())], None).unwrap();
    assert_eq!(joined[0].shape()[..], [3, 4, 5, 6]);
    for (item, together) in items.iter().zip(joined[0].as_slice::<f32>().unwrap().chunks(120)) {
        let alone = plan.run(&[f32s(&[1, 3, 9, 8], item)], None).unwrap();
        assert_eq!(alone[0].as_slice::<f32>().unwrap(), together);
    }
    let error = plan.run(&[f32s(&[1, 3, 2, 8], &items[0][..48])], None).unwrap_err();
    assert_eq!(error.code(), "shape-mismatch", "{error}");
}

#[test]
fn channels_and_spatial_axes_cannot_hold_rows() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Fixed(3), Dim::Fixed(4), Dim::Fixed(5)]).unwrap();
    let w = b.input("w", DType::F32, &[Dim::Batch, Dim::Fixed(4), Dim::Fixed(1)]).unwrap();
    let one =
        Window { strides: vec![1], pads_before: vec![0], pads_after: vec![0], dilations: vec![1] };
    let error = b.conv(ConvValues { x, w, bias: None }, one, 1).unwrap_err();
    assert!(matches!(error, GraphError::Argument { argument: "w", .. }), "{error}");
    let offsets = b.offsets("o").unwrap();
    let error = b.resize(offsets, &[3], ResizeMode::Nearest, false, false).unwrap_err();
    assert!(matches!(error, GraphError::Rank { .. }), "{error}");
}

#[test]
fn halves_are_computed_in_f32() {
    // 1, 2, .. 9 and 0.5 as bf16 and f16.
    let bf16 = |x: f32| (x.to_bits() >> 16) as u16;
    let f16 = |x: f32| (((x.to_bits() >> 13) & 0x3ff) | (((x.to_bits() >> 23) - 112) << 10)) as u16;
    let halves: [(DType, &dyn Fn(f32) -> u16); 2] = [(DType::Bf16, &bf16), (DType::F16, &f16)];
    for (dtype, half) in halves {
        let tensor = |shape: &[usize], values: &[f32]| {
            let bytes: Vec<u8> = values.iter().flat_map(|&x| half(x).to_le_bytes()).collect();
            let shape = aimass_tensor::Shape::new(shape).unwrap();
            Tensor::copy_from(dtype, shape, &bytes).unwrap()
        };
        let x = tensor(&[1, 1, 9], &[1., 2., 3., 4., 5., 6., 7., 8., 9.]);
        let w = tensor(&[1, 1, 2], &[0.5, 0.5]);
        let y = run_op("conv", &[x.clone(), w], &[]).unwrap();
        let want = tensor(&[1, 1, 8], &[1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5]);
        assert_eq!(y[0].bytes(), want.bytes());
        let size = [("size".to_owned(), aimass_graph::Attribute::Ints(vec![8]))];
        let y = run_op("max-pool", &[x], &size).unwrap();
        assert_eq!(y[0].bytes(), tensor(&[1, 1, 2], &[8., 9.]).bytes());
    }
}

#[test]
fn a_resample_takes_weighted_sums_and_checks_its_indices() {
    let x: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let run = |indices: &[i32]| {
        let mut b = builder();
        let value = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(3), Dim::Fixed(2)]).unwrap();
        let indices = b.constant(Tensor::from_slice(&[2, 2], indices).unwrap()).unwrap();
        let weights = weight(&mut b, &[2, 2], &[1.0, 0.5, 2.0, -1.0]);
        let y = b.resample(value, 1, indices, weights).unwrap();
        b.output("y", y).unwrap();
        plan(b).run(&[f32s(&[2, 3, 2], &x)], None)
    };
    let y = run(&[0, 1, 2, 0]).unwrap();
    let want = [1., 2.5, 8., 9., 10., 11.5, 14., 15.];
    near(y[0].as_slice::<f32>().unwrap(), &want, 1e-6);
    for bad in [-1, 3] {
        assert_eq!(run(&[0, 1, 2, bad]).unwrap_err().code(), "index");
    }
}

#[test]
fn a_refused_resize_leaves_no_node_behind() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, 2.into_dim(), 3.into_dim(), 4.into_dim()]);
    let x = x.unwrap();
    b.resize(x, &[6, 1 << 40], ResizeMode::Nearest, false, false).unwrap_err();
    let y = b.resize(x, &[6, 8], ResizeMode::Nearest, false, false).unwrap();
    b.output("y", y).unwrap();
    let plan = plan_on(b, 1);
    assert_eq!(plan.stats().steps, 2);
}

trait IntoDim {
    fn into_dim(self) -> Dim;
}

impl IntoDim for u64 {
    fn into_dim(self) -> Dim {
        Dim::Fixed(self)
    }
}

/// Windows of five with so many channels and filters go by tiles of outputs, in images of one column, in lines
/// of images and where the axis is the only one.
#[test]
fn long_filters_give_the_same_by_tiles_alone_and_together() {
    let mut random = Random(11);
    let (channels, filters, taps) = (160, 336, 5);
    let w = random.numbers(filters * channels * taps);
    let of = |extents: &[u64], kernel: &[u64], pads: [u64; 2]| -> (Window, Vec<u64>) {
        let padded: Vec<u64> = kernel.iter().map(|&k| if k > 1 { 1 } else { 0 }).collect();
        let by = |pad: u64| padded.iter().map(|&one| one * pad).collect::<Vec<_>>();
        let window = Window {
            strides: vec![1; extents.len()],
            pads_before: by(pads[0]),
            pads_after: by(pads[1]),
            dilations: vec![1; extents.len()],
        };
        (window, [&[filters as u64, channels as u64], kernel].concat())
    };
    let cases: [(&[u64], &[u64]); 4] =
        [(&[21], &[5]), (&[3, 14], &[1, 5]), (&[10, 1], &[5, 1]), (&[9, 2], &[5, 1])];
    for (extents, kernel) in cases {
        let (window, shape) = of(extents, kernel, [2, 1]);
        let mut b = builder();
        let fixed = extents.iter().map(|&extent| Dim::Fixed(extent));
        let dims: Vec<Dim> =
            [Dim::Batch, Dim::Fixed(channels as u64)].into_iter().chain(fixed).collect();
        let x = b.input("x", DType::F32, &dims).unwrap();
        let filter = weight(&mut b, &shape, &w);
        let y = b.conv(ConvValues { x, w: filter, bias: None }, window.clone(), 1).unwrap();
        let y = b.relu(y).unwrap();
        b.output("y", y).unwrap();
        let plan = plan(b);
        assert_eq!(*plan.coalescing(), Coalescing::Batch);
        let by_tiles = extents != [9, 2];
        let rows = if by_tiles { taps + 3 } else { taps };
        let packed = (rows * channels * filters * 4) as u64;
        assert_eq!(plan.weights_bytes(), packed, "{extents:?}");
        let item = channels * extents.iter().product::<u64>() as usize;
        let x = random.numbers(3 * item);
        let sized = |batch: usize| -> Vec<usize> {
            let extents = extents.iter().map(|&extent| extent as usize);
            [batch, channels].into_iter().chain(extents).collect()
        };
        let together = plan.run(&[f32s(&sized(3), &x)], None).unwrap();
        let list = |name: &str, values: &[u64]| {
            let values = values.iter().map(|&value| value as i64).collect();
            (name.to_owned(), aimass_graph::Attribute::Ints(values))
        };
        let attributes =
            [list("pads-before", &window.pads_before), list("pads-after", &window.pads_after)];
        let filter_extents: Vec<usize> = shape.iter().map(|&extent| extent as usize).collect();
        let plain =
            run_op("conv", &[f32s(&sized(3), &x), f32s(&filter_extents, &w)], &attributes).unwrap();
        let plain: Vec<f64> =
            plain[0].as_slice::<f32>().unwrap().iter().map(|y| f64::from(y.max(0.0))).collect();
        let got = together[0].as_slice::<f32>().unwrap();
        near(got, &plain, 1e-4);
        for (i, x) in x.chunks(item).enumerate() {
            let alone = plan.run(&[f32s(&sized(1), x)], None).unwrap();
            let alone = alone[0].as_slice::<f32>().unwrap();
            assert_eq!(alone, &got[i * alone.len()..][..alone.len()], "item {i}");
        }
    }
}
