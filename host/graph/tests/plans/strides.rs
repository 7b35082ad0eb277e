//! Strides that move into the convolutions before them, against the same network of which every value
//! is an output and so must be whole.

use crate::support::{Random, builder, f32s, plan_on, weight};
use aimass_graph::{BatchNormValues, ConvValues, Dim, GraphBuilder, Plan, ValueId, Window};

struct Net {
    b: GraphBuilder,
    random: Random,
    /// Whether the sum at the end of the block is an output.
    whole: bool,
}

fn window(strides: [u64; 2], pads: u64) -> Window {
    Window {
        strides: strides.to_vec(),
        pads_before: vec![pads; 2],
        pads_after: vec![pads; 2],
        dilations: vec![1; 2],
    }
}

impl Net {
    fn conv(&mut self, x: ValueId, shape: [usize; 4], strides: [u64; 2]) -> ValueId {
        let numbers = self.random.numbers(shape.iter().product());
        let w = weight(&mut self.b, &shape.map(|extent| extent as u64), &numbers);
        let bias = self.random.numbers(shape[0]);
        let bias = weight(&mut self.b, &[shape[0] as u64], &bias);
        let values = ConvValues { x, w, bias: Some(bias) };
        self.b.conv(values, window(strides, shape[2] as u64 / 2), 1).unwrap()
    }

    fn batch_norm(&mut self, x: ValueId, channels: usize) -> ValueId {
        let [scale, bias, mean] = [(); 3].map(|()| {
            let numbers = self.random.numbers(channels);
            weight(&mut self.b, &[channels as u64], &numbers)
        });
        let variance = weight(&mut self.b, &[channels as u64], &vec![0.5; channels]);
        let values = BatchNormValues { scale, bias, mean, variance };
        self.b.batch_norm(x, values, 1e-3).unwrap()
    }

    /// A bottleneck and the two convolutions of the next stage that skip pixels of its sum.
    fn build(mut self, steps: [[u64; 2]; 2]) -> Plan {
        let dims = [Dim::Batch, Dim::Fixed(4), Dim::Fixed(13), Dim::Fixed(10)];
        let image = self.b.input("image", aimass_tensor::DType::F32, &dims).unwrap();
        let x = self.conv(image, [16, 4, 3, 3], [1, 1]);
        let y = self.conv(x, [8, 16, 1, 1], [1, 1]);
        let y = self.b.relu(y).unwrap();
        let y = self.conv(y, [8, 8, 3, 3], [1, 1]);
        let y = self.b.relu(y).unwrap();
        let y = self.conv(y, [16, 8, 1, 1], [1, 1]);
        let numbers = self.random.numbers(16);
        let factor = weight(&mut self.b, &[1, 16, 1, 1], &numbers);
        let y = self.b.add(x, y).unwrap();
        let y = self.b.mul(factor, y).unwrap();
        let y = self.batch_norm(y, 16);
        let sum = self.b.relu(y).unwrap();
        let left = self.conv(sum, [24, 16, 1, 1], steps[0]);
        let right = self.conv(sum, [12, 16, 1, 1], steps[1]);
        let pooled = self.b.max_pool(sum, &[1, 1], window(steps[0], 0)).unwrap();
        let pooled = self.b.sigmoid(pooled).unwrap();
        for (name, value) in [("left", left), ("right", right), ("pooled", pooled)] {
            self.b.output(name, value).unwrap();
        }
        if self.whole {
            self.b.output("sum", sum).unwrap();
        }
        plan_on(self.b, 2)
    }
}

fn net(whole: bool, steps: [[u64; 2]; 2]) -> Plan {
    Net { b: builder(), random: Random(5), whole }.build(steps)
}

#[test]
fn pixels_that_nobody_reads_are_not_made_and_no_bit_changes() {
    let image = f32s(&[2, 4, 13, 10], &Random(6).numbers(2 * 4 * 13 * 10));
    for steps in [[2, 2], [1, 3], [13, 20]] {
        let (thin, whole) = (net(false, [steps; 2]), net(true, [steps; 2]));
        // The first convolution is read elsewhere, too, so its pixels are picked.
        assert!(thin.describe().contains("image: max-pool 1x1"), "{}", thin.describe());
        assert!(!thin.describe().contains("image: conv 1x1"), "{}", thin.describe());
        assert!(whole.describe().contains("image: conv 1x1"), "{}", whole.describe());
        let (thin, whole) = (thin.run(std::slice::from_ref(&image), None).unwrap(), whole);
        let whole = whole.run(std::slice::from_ref(&image), None).unwrap();
        for (thin, whole) in thin.iter().zip(&whole) {
            assert_eq!(thin.shape(), whole.shape());
            assert_eq!(thin.bytes(), whole.bytes(), "steps {steps:?}");
        }
    }
}

#[test]
fn readers_of_different_strides_get_the_whole_image() {
    let image = f32s(&[1, 4, 13, 10], &Random(6).numbers(4 * 13 * 10));
    let steps = [[2, 2], [2, 1]];
    let plans = [net(false, steps), net(true, steps)];
    assert!(plans[0].describe().contains("image: conv 1x1"), "{}", plans[0].describe());
    let [free, whole] = plans.map(|plan| plan.run(std::slice::from_ref(&image), None).unwrap());
    assert!(free.iter().zip(&whole).all(|(free, whole)| free.bytes() == whole.bytes()));
}
