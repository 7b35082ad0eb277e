//! Networks over one axis with constant weights, against the same ones op by op.

use crate::support::{Random, builder, bytes, f32s, near, plan_on, source};
use aimass_graph::{BatchNormValues, ConvValues, Dim, GraphBuilder, Plan, ValueId, Window};
use aimass_tensor::{DType, Tensor};

/// A network whose weights are constants or inputs.
struct Net {
    b: GraphBuilder,
    constant: bool,
    random: Random,
    inputs: Vec<Tensor>,
}

fn window(stride: u64, [before, after]: [u64; 2], dilation: u64) -> Window {
    Window {
        strides: vec![stride],
        pads_before: vec![before],
        pads_after: vec![after],
        dilations: vec![dilation],
    }
}

impl Net {
    fn weight(&mut self, shape: &[usize]) -> ValueId {
        let numbers = self.random.numbers(shape.iter().product());
        let name = format!("w{}", self.inputs.len());
        let extents: Vec<u64> = shape.iter().map(|&extent| extent as u64).collect();
        if self.constant {
            let source = source(bytes(&numbers));
            return self.b.weight(&name, DType::F32, &extents, source, 0).unwrap();
        }
        self.inputs.push(f32s(shape, &numbers));
        let dims: Vec<Dim> = extents.into_iter().map(Dim::Fixed).collect();
        self.b.input(&name, DType::F32, &dims).unwrap()
    }

    fn conv(&mut self, x: ValueId, shape: [usize; 3], (window, groups): (Window, u32)) -> ValueId {
        let (w, bias) = (self.weight(&shape), Some(self.weight(&shape[..1])));
        self.b.conv(ConvValues { x, w, bias }, window, groups).unwrap()
    }

    fn build(mut self) -> (Plan, Vec<Tensor>) {
        let dims = [Dim::Batch, Dim::Fixed(20), Dim::Fixed(6)];
        let x = self.b.input("x", DType::F32, &dims).unwrap();
        let x = self.b.transpose(x, &[0, 2, 1]).unwrap();
        let x = self.conv(x, [16, 6, 3], (window(1, [2, 2], 2), 1));
        let [scale, bias, mean] = [(); 3].map(|()| self.weight(&[16]));
        let variance = self.weight(&[16]);
        let variance = self.b.mul(variance, variance).unwrap();
        let values = BatchNormValues { scale, bias, mean, variance };
        let x = self.b.batch_norm(x, values, 0.5).unwrap();
        let x = self.b.relu(x).unwrap();
        let y = self.conv(x, [16, 1, 5], (window(1, [4, 0], 1), 16));
        let summand = self.weight(&[16, 1]);
        let y = self.b.add(y, summand).unwrap();
        let y = self.b.sigmoid(y).unwrap();
        let gate = self.b.reduce_mean(y, &[2], true).unwrap();
        let gate = self.conv(gate, [16, 16, 1], (window(1, [0, 0], 1), 1));
        let y = self.b.mul(y, gate).unwrap();
        let y = self.b.add(y, x).unwrap();
        let z = self.b.max_pool(y, &[2], window(2, [0, 0], 1)).unwrap();
        let z = self.b.concat(&[z, z], 2).unwrap();
        let w = self.weight(&[16, 5, 2]);
        let values = ConvValues { x: z, w, bias: None };
        let z = self.b.conv_transpose(values, window(2, [0, 0], 1), 1, &[0]).unwrap();
        let z = self.b.softmax(z, 1).unwrap();
        let back = self.b.transpose(y, &[0, 2, 1]).unwrap();
        let rows = self.b.reduce_mean(y, &[2], false).unwrap();
        let part = self.b.slice(y, 2, 3, 9, 1).unwrap();
        for (name, value) in
            [("y", y), ("z", z), ("back", back), ("rows", rows), ("gate", gate), ("part", part)]
        {
            self.b.output(name, value).unwrap();
        }
        (plan_on(self.b, 2), self.inputs)
    }
}

#[test]
fn a_network_over_one_axis_runs_as_images_and_computes_what_its_ops_do() {
    let net = |constant: bool| Net { b: builder(), constant, random: Random(9), inputs: vec![] };
    let x = f32s(&[3, 20, 6], &Random(10).numbers(3 * 120));
    let (fused, _) = net(true).build();
    let (plain, weights) = net(false).build();
    let text = fused.describe();
    for part in [
        "image: conv 1x3",
        "image: depthwise conv 1x5",
        "image: max-pool 1x2",
        "conv-transpose 1x2",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("batch-norm"), "{text}");
    let mut inputs = vec![x.clone()];
    inputs.extend(weights);
    let expected = plain.run(&inputs, None).unwrap();
    let got = fused.run(std::slice::from_ref(&x), None).unwrap();
    for (got, want) in got.iter().zip(&expected) {
        assert_eq!(got.shape(), want.shape());
        let want: Vec<f64> =
            want.as_slice::<f32>().unwrap().iter().map(|&x| f64::from(x)).collect();
        near(got.as_slice::<f32>().unwrap(), &want, 2e-4);
    }
    let last = f32s(&[1, 20, 6], &x.as_slice::<f32>().unwrap()[240..]);
    for (alone, all) in fused.run(&[last], None).unwrap().iter().zip(&got) {
        let (alone, all) = (alone.as_slice::<f32>().unwrap(), all.as_slice::<f32>().unwrap());
        assert_eq!(alone, &all[all.len() / 3 * 2..]);
    }
}
