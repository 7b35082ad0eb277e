//! Networks of convolutions in few steps, against the same ops with weights that are inputs, which stay
//! as they are.

use crate::support::{Random, builder, f32s, near, plan_on, source};
use aimass_graph::{
    BatchNormValues, ConvValues, Dim, GraphBuilder, Plan, ResizeMode, ValueId, Window,
};
use aimass_tensor::{DType, Tensor};

/// A graph whose weights are constants, or inputs after the image.
struct Net {
    b: GraphBuilder,
    constant: bool,
    random: Random,
    inputs: Vec<Tensor>,
}

fn window(stride: u64, pads: u64) -> Window {
    Window {
        strides: vec![stride; 2],
        pads_before: vec![pads; 2],
        pads_after: vec![pads; 2],
        dilations: vec![1; 2],
    }
}

impl Net {
    fn weight(&mut self, shape: &[usize]) -> ValueId {
        let numbers = self.random.numbers(shape.iter().product());
        self.value(shape, &numbers)
    }

    fn value(&mut self, shape: &[usize], numbers: &[f32]) -> ValueId {
        let dims: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
        if self.constant {
            let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            return self.b.weight("w", DType::F32, &dims, source(bytes), 0).unwrap();
        }
        self.inputs.push(f32s(shape, numbers));
        let dims: Vec<Dim> = dims.into_iter().map(Dim::Fixed).collect();
        self.b.input(&format!("w{}", self.inputs.len()), DType::F32, &dims).unwrap()
    }

    fn conv(&mut self, x: ValueId, shape: [usize; 4], (stride, groups): (u64, u32)) -> ValueId {
        let (w, bias) = (self.weight(&shape), self.weight(&shape[..1]));
        let values = ConvValues { x, w, bias: Some(bias) };
        self.b.conv(values, window(stride, shape[2] as u64 / 2), groups).unwrap()
    }

    fn batch_norm(&mut self, x: ValueId, channels: usize) -> ValueId {
        let [scale, bias, mean] = [(); 3].map(|()| self.weight(&[channels]));
        let variance: Vec<f32> = (0..channels).map(|i| 0.5 + i as f32 / 8.0).collect();
        let variance = self.value(&[channels], &variance);
        let values = BatchNormValues { scale, bias, mean, variance };
        self.b.batch_norm(x, values, 1e-3).unwrap()
    }

    /// `x min(max(x + 3, 0), 6) / 6` as exporters spell it.
    fn swish(&mut self, x: ValueId) -> ValueId {
        let (three, six) = (self.value(&[], &[3.0]), self.value(&[1], &[6.0]));
        let y = self.b.add(three, x).unwrap();
        let y = self.b.clamp(y, 0.0, 6.0).unwrap();
        let y = self.b.mul(y, x).unwrap();
        self.b.div(y, six).unwrap()
    }

    /// Everything that the rewriting knows, with branches.
    fn build(mut self) -> (Plan, Vec<Tensor>) {
        let dims = [Dim::Batch, Dim::Fixed(3), Dim::Fixed(18), Dim::Fixed(22)];
        let image = self.b.input("image", DType::F32, &dims).unwrap();
        let x = self.conv(image, [16, 3, 3, 3], (2, 1));
        let x = self.batch_norm(x, 16);
        let x = self.swish(x);
        let factor = self.value(&[1], &[0.75]);
        let x = self.b.mul(factor, x).unwrap();
        let y = self.conv(x, [16, 1, 5, 5], (1, 16));
        let summand = self.weight(&[1, 16, 1, 1]);
        let y = self.b.sub(y, summand).unwrap();
        let y = self.b.leaky_relu(y, 0.1).unwrap();
        let gate = self.b.reduce_mean(y, &[2, 3], true).unwrap();
        let gate = self.conv(gate, [16, 16, 1, 1], (1, 1));
        let gate = self.b.hard_sigmoid(gate, 0.2, 0.5).unwrap();
        let y = self.b.mul(y, gate).unwrap();
        let y = self.conv(y, [16, 16, 1, 1], (1, 1));
        let y = self.b.add(x, y).unwrap();
        let y = self.b.relu(y).unwrap();
        let z = self.b.max_pool(y, &[3, 3], window(2, 1)).unwrap();
        let z = self.b.resize(z, &[9, 11], ResizeMode::Nearest, false, false).unwrap();
        let z = self.b.concat(&[z, y], 1).unwrap();
        // In groups, so that it stays a plain op.
        let z = self.conv(z, [8, 8, 3, 3], (1, 4));
        let w = self.weight(&[8, 5, 2, 2]);
        let values = ConvValues { x: z, w, bias: None };
        let z = self.b.conv_transpose(values, window(2, 0), 1, &[0, 0]).unwrap();
        let z = self.b.sigmoid(z).unwrap();
        let rows = self.b.reduce_mean(y, &[2, 3], false).unwrap();
        let flat = self.b.reshape(y, &[Dim::Batch, Dim::Fixed(16 * 99)]).unwrap();
        self.b.output("flat", flat).unwrap();
        self.b.output("z", z).unwrap();
        self.b.output("y", y).unwrap();
        self.b.output("rows", rows).unwrap();
        (plan_on(self.b, 2), self.inputs)
    }
}

/// A convolution, its pixels repeated as formats without an op for it spell that, and a sum.
fn enlarged(constant: bool, factors: [u64; 2], twice: bool) -> (Plan, Vec<Tensor>) {
    let mut net = Net { b: builder(), constant, random: Random(11), inputs: vec![] };
    let dims = [Dim::Batch, Dim::Fixed(3), Dim::Fixed(5), Dim::Fixed(7)];
    let image = net.b.input("image", DType::F32, &dims).unwrap();
    let mut x = net.conv(image, [20, 3, 3, 3], (1, 1));
    let mut extents = [20, 5, 7];
    let mut halfway: Option<ValueId> = None;
    for (axis, factor) in [(2, factors[0]), (3, factors[1])] {
        let dims = |extents: &[u64]| -> Vec<Dim> {
            std::iter::once(Dim::Batch).chain(extents.iter().map(|&e| Dim::Fixed(e))).collect()
        };
        let mut apart = extents.to_vec();
        apart.insert(axis, 1);
        x = net.b.reshape(x, &dims(&apart)).unwrap();
        apart[axis] = factor;
        x = net.b.broadcast(x, &dims(&apart)).unwrap();
        extents[axis - 1] *= factor;
        // The image in between is not looked at where nobody needs it.
        if twice || axis == 3 {
            x = net.b.reshape(x, &dims(&extents)).unwrap();
            halfway.get_or_insert(x);
        }
    }
    let beside = net.conv(image, [20, 3, 3, 3], (1, 1));
    let sizes = [5 * factors[0], 7 * factors[1]];
    let beside = net.b.resize(beside, &sizes, ResizeMode::Nearest, false, false).unwrap();
    let sum = net.b.add(x, beside).unwrap();
    let last = net.conv(sum, [9, 20, 3, 3], (1, 1));
    net.b.output("last", last).unwrap();
    if twice {
        let pooled = net.b.reduce_mean(halfway.unwrap(), &[2, 3], true).unwrap();
        net.b.output("pooled", pooled).unwrap();
        net.b.output("enlarged", x).unwrap();
    }
    (plan_on(net.b, 2), net.inputs)
}

#[test]
fn repeated_pixels_are_one_broadcast_with_channels_last() {
    let image = f32s(&[2, 3, 5, 7], &Random(12).numbers(2 * 3 * 5 * 7));
    for (factors, twice) in [([2, 2], false), ([1, 3], false), ([4, 2], true), ([3, 1], true)] {
        let (fused, _) = enlarged(true, factors, twice);
        let (plain, weights) = enlarged(false, factors, twice);
        let text = fused.describe();
        let count = |label: &str| text.lines().filter(|line| line.ends_with(label)).count();
        // Halfway, another one reads the rows that are repeated.
        let expected = 1 + usize::from(twice && !factors.contains(&1));
        assert_eq!(count("broadcast"), expected, "{factors:?}: {text}");
        // Back to channels in front: the outputs, and nothing else.
        assert_eq!(count("transpose"), fused.signature().outputs.len(), "{factors:?}: {text}");
        let mut inputs = vec![image.clone()];
        inputs.extend(weights);
        let expected = plain.run(&inputs, None).unwrap();
        let got = fused.run(std::slice::from_ref(&image), None).unwrap();
        for (got, want) in got.iter().zip(&expected) {
            assert_eq!(got.shape(), want.shape());
            let want: Vec<f64> =
                want.as_slice::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect();
            near(got.as_slice::<f32>().unwrap(), &want, 2e-4);
        }
    }
}

/// A stage of detectors: the channels in two parts, one of which goes through a convolution and is joined
/// with both; the rows of pixels in two parts.
fn in_parts(constant: bool) -> (Plan, Vec<Tensor>) {
    let mut net = Net { b: builder(), constant, random: Random(13), inputs: vec![] };
    let dims = [Dim::Batch, Dim::Fixed(3), Dim::Fixed(9), Dim::Fixed(7)];
    let image = net.b.input("image", DType::F32, &dims).unwrap();
    let x = net.conv(image, [20, 3, 3, 3], (1, 1));
    let parts = net.b.split(x, 1, &[12, 8]).unwrap();
    let y = net.conv(parts[1], [8, 8, 3, 3], (1, 1));
    let x = net.b.concat(&[parts[0], parts[1], y], 1).unwrap();
    let x = net.conv(x, [16, 28, 1, 1], (1, 1));
    let parts = net.b.split(x, 2, &[4, 5]).unwrap();
    let low = net.conv(parts[1], [4, 16, 3, 3], (1, 1));
    net.b.output("high", parts[0]).unwrap();
    net.b.output("low", low).unwrap();
    (plan_on(net.b, 2), net.inputs)
}

#[test]
fn parts_of_an_image_keep_their_channels_last() {
    let image = f32s(&[2, 3, 9, 7], &Random(14).numbers(2 * 3 * 9 * 7));
    let (fused, _) = in_parts(true);
    let (plain, weights) = in_parts(false);
    let text = fused.describe();
    let transposes = text.lines().filter(|line| line.ends_with("transpose")).count();
    assert_eq!(transposes, 2, "the outputs, and nothing else: {text}");
    let inputs: Vec<Tensor> = std::iter::once(image.clone()).chain(weights).collect();
    let expected = plain.run(&inputs, None).unwrap();
    let got = fused.run(&[image], None).unwrap();
    for (got, want) in got.iter().zip(&expected) {
        assert_eq!(got.shape(), want.shape());
        let want: Vec<f64> =
            want.as_slice::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect();
        near(got.as_slice::<f32>().unwrap(), &want, 2e-4);
    }
}

#[test]
fn a_network_in_few_steps_computes_what_its_ops_do() {
    let net = |constant: bool| Net { b: builder(), constant, random: Random(7), inputs: vec![] };
    let image = f32s(&[2, 3, 18, 22], &Random(8).numbers(2 * 3 * 18 * 22));
    let (fused, _) = net(true).build();
    let (plain, weights) = net(false).build();
    let text = fused.describe();
    for part in [
        "image: conv 3x3 With(HardSwish) scaled",
        "image: depthwise conv 5x5 With(LeakyRelu",
        "With(HardSigmoid",
        "+ residual Relu",
        "image: max-pool 3x3",
        "image: conv-transpose 2x2 Sigmoid",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("batch-norm") && !text.contains("clamp"), "{text}");
    let mut inputs = vec![image.clone()];
    inputs.extend(weights);
    // The image is declared first.
    let expected = plain.run(&inputs, None).unwrap();
    let got = fused.run(std::slice::from_ref(&image), None).unwrap();
    assert_eq!(got.len(), expected.len());
    for (got, want) in got.iter().zip(&expected) {
        assert_eq!(got.shape(), want.shape());
        let want: Vec<f64> =
            want.as_slice::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect();
        near(got.as_slice::<f32>().unwrap(), &want, 2e-4);
    }
    let half = 3 * 18 * 22;
    let second = f32s(&[1, 3, 18, 22], &image.as_slice::<f32>().unwrap()[half..]);
    let alone = fused.run(&[second], None).unwrap();
    for (alone, both) in alone.iter().zip(&got) {
        let (alone, both) = (alone.as_slice::<f32>().unwrap(), both.as_slice::<f32>().unwrap());
        assert_eq!(alone, &both[both.len() / 2..]);
    }
}
