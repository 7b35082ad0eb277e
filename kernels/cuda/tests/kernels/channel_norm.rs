//! Normalization of channels.

use crate::placed::{FLOATS, Placed};
use crate::reference::{Random, close, device, epsilon, rounded};
use aimass_cuda::channel_norm::{Channels, Statistics, batch_norm, group_norm};
use aimass_cuda::lanes::Lanes;
use aimass_cuda::{DeviceError, Form};

const EPSILON: f32 = 1e-3;
const SHAPES: &[(u32, u32, u32)] = &[
    (0, 3, 4),
    (1, 1, 1),
    (2, 6, 1),
    (3, 4, 49),
    (2, 12, 64),
    (1, 6, 33),
    (2, 4, 1024),
    (1, 32, 1025),
];

/// Operands on the device and as numbers.
struct Case {
    form: Form,
    shape: Lanes,
    x: Vec<f64>,
    vectors: [Vec<f64>; 4],
    placed: [Placed; 6],
}

impl Case {
    fn new(form: Form, &(outer, n, inner): &(u32, u32, u32), shift: usize) -> Case {
        let mut random = Random::new(u64::from(n + inner));
        let mut x = random.floats(form, (outer * n * inner) as usize);
        if outer > 1 && !x.is_empty() {
            x[0] = f64::NAN;
        }
        let mut vectors = [0; 4].map(|_| random.floats(form, n as usize));
        vectors[3].iter_mut().for_each(|x| *x = x.abs());
        let place = |x: &[f64]| Placed::new(form, shift, x);
        let [a, b, c, d] = &vectors;
        let y = Placed::poisoned(form, shift, x.len());
        let placed = [place(&x), place(a), place(b), place(c), place(d), y];
        Case { form, shape: Lanes { outer, n, inner }, x, vectors, placed }
    }

    fn channels(&self) -> Channels<'_> {
        let [x, scale, bias, _, _, y] = &self.placed;
        let (x, scale, bias, y) = (x.slice(), scale.slice(), bias.slice(), y.slice());
        Channels { shape: self.shape, x, scale, bias, y }
    }

    fn found(&self) -> Vec<f64> {
        self.placed[5].numbers(&mut device().queue().expect("a turn"))
    }

    /// What `f(x, channel, index)` gives, rounded.
    fn want(&self, f: impl Fn(f64, usize, usize) -> f64) -> Vec<f64> {
        let Lanes { n, inner, .. } = self.shape;
        let channel = |i: usize| i / inner as usize % n as usize;
        let each = |(i, x): (usize, &f64)| rounded(self.form, f(*x, channel(i), i));
        self.x.iter().enumerate().map(each).collect()
    }
}

fn check_batch(form: Form, shape: &(u32, u32, u32), shift: usize) {
    let case = Case::new(form, shape, shift);
    let statistics = Statistics { mean: case.placed[3].slice(), variance: case.placed[4].slice() };
    let mut queue = device().queue().expect("a turn");
    batch_norm(&mut queue, statistics, EPSILON, form, &case.channels()).expect("a launch");
    drop(queue);
    let [scale, bias, mean, variance] = &case.vectors;
    let want = case.want(|x, c, _| {
        (x - mean[c]) / (variance[c] + f64::from(EPSILON)).sqrt() * scale[c] + bias[c]
    });
    let what = format!("{form:?} {shape:?} {shift}");
    close(&what, &case.found(), &want, 2.0 * epsilon(form).max(2e-6));
}

#[test]
fn channels_take_their_stored_statistics() {
    for form in FLOATS {
        for shape in SHAPES {
            [0, 1].into_iter().for_each(|shift| check_batch(form, shape, shift));
        }
    }
}

fn check_groups(form: Form, shape: &(u32, u32, u32), groups: u32, shift: usize) {
    let case = Case::new(form, shape, shift);
    let mut queue = device().queue().expect("a turn");
    group_norm(&mut queue, groups, EPSILON, form, &case.channels()).expect("a launch");
    drop(queue);
    let n = (shape.1 / groups * shape.2) as usize;
    let moments: Vec<(f64, f64)> = case
        .x
        .chunks_exact(n.max(1))
        .map(|x| {
            let mean = x.iter().sum::<f64>() / n as f64;
            let squares = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            (mean, (squares / n as f64 + f64::from(EPSILON)).sqrt())
        })
        .collect();
    let [scale, bias, _, _] = &case.vectors;
    let want = case.want(|x, c, i| (x - moments[i / n].0) / moments[i / n].1 * scale[c] + bias[c]);
    let what = format!("{form:?} {shape:?} {groups} groups, {shift}");
    close(&what, &case.found(), &want, 2.0 * epsilon(form).max(4e-6));
}

#[test]
fn groups_of_channels_are_normalized_by_themselves() {
    for form in FLOATS {
        for (shape, shift) in SHAPES.iter().flat_map(|shape| [(shape, 0), (shape, 1)]) {
            for groups in [1, 2, shape.1].into_iter().filter(|groups| shape.1 % groups == 0) {
                check_groups(form, shape, groups, shift);
            }
        }
    }
}

pub(crate) fn draw_batch_norm(random: &mut Random) {
    let shape = (random.below(4) as u32, 1 + random.below(40) as u32, random.extent(300) as u32);
    check_batch(random.of(&FLOATS), &shape, random.below(3));
}

pub(crate) fn draw_group_norm(random: &mut Random) {
    let (groups, each) = (1 + random.below(5) as u32, 1 + random.below(5) as u32);
    let shape = (random.below(4) as u32, groups * each, random.extent(1200) as u32);
    check_groups(random.of(&FLOATS), &shape, groups, random.below(3));
}

#[test]
fn groups_divide_the_channels() {
    let case = Case::new(Form::F32, &(1, 6, 2), 0);
    let mut queue = device().queue().expect("a turn");
    for groups in [0, 4] {
        let refused = group_norm(&mut queue, groups, EPSILON, Form::F32, &case.channels());
        assert!(matches!(refused, Err(DeviceError::Defect(_))));
    }
}
