//! Regions: branches, loops, scans and calls, and what hostile graphs do with them.

use crate::support::{Random, builder, f32s, plan, weight};
use aimass_graph::{
    Coalescing, CompileOptions, Dim, ErrorFamily, GraphBuilder, GraphLimits, Plan, RegionId,
    ValueId, compile,
};
use aimass_tensor::{DType, Shape, Tensor};

const I64: DType = DType::I64;
const F32: DType = DType::F32;

fn int(value: i64) -> Tensor {
    Tensor::from_slice(&[], &[value]).unwrap()
}

fn flag(value: bool) -> Tensor {
    Tensor::copy_from(DType::Bool, Shape::SCALAR, &[u8::from(value)]).unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.as_slice::<f32>().unwrap().to_vec()
}

fn dynamic(name: &str) -> Dim {
    Dim::Dynamic(name.into())
}

/// A region without params.
fn branch(
    b: &mut GraphBuilder,
    captures: &[ValueId],
    build: impl FnOnce(&mut GraphBuilder, &[ValueId]) -> ValueId,
) -> RegionId {
    let inner = b.region_begin(captures, &[]).unwrap();
    let output = build(b, &inner);
    b.region_end(&[output]).unwrap()
}

/// `i, x` while `i < n`: `i + 1, x * 2 + y`, at most `max` times.
fn doubling(max: u64) -> Plan {
    let mut b = builder();
    let n = b.input("n", I64, &[]).unwrap();
    let x = b.input("x", F32, &[dynamic("k")]).unwrap();
    let y = b.input("y", F32, &[dynamic("k")]).unwrap();
    let zero = b.constant(int(0)).unwrap();
    let params = [(I64, vec![]), (F32, vec![dynamic("k")])];
    let inner = b.region_begin(&[n], &params).unwrap();
    let holds = b.less(inner[1], inner[0]).unwrap();
    let condition = b.region_end(&[holds]).unwrap();
    let inner = b.region_begin(&[y], &params).unwrap();
    let one = b.constant(int(1)).unwrap();
    let next = b.add(inner[1], one).unwrap();
    let twice = b.add(inner[2], inner[2]).unwrap();
    let sum = b.add(twice, inner[0]).unwrap();
    let body = b.region_end(&[next, sum]).unwrap();
    let outputs = b.while_loop(condition, body, &[zero, x], max).unwrap();
    b.output("i", outputs[0]).unwrap();
    b.output("x", outputs[1]).unwrap();
    plan(b)
}

#[test]
fn a_while_loop_runs_as_long_as_its_condition_holds_and_no_longer_than_its_bound() {
    for (max, n, steps) in [(10, 0, 0), (10, 1, 1), (10, 5, 5), (3, 5, 3), (0, 5, 0)] {
        let plan = doubling(max);
        for k in [0usize, 1, 5] {
            let x: Vec<f32> = (0..k).map(|i| i as f32).collect();
            let y = vec![0.5; k];
            let inputs = [int(n), f32s(&[k], &x), f32s(&[k], &y)];
            let outputs = plan.run(&inputs, None).unwrap();
            assert_eq!(outputs[0].as_slice::<i64>().unwrap(), [steps]);
            let expected: Vec<f32> =
                x.iter().map(|x| (0..steps).fold(*x, |x, _| x * 2.0 + 0.5)).collect();
            assert_eq!(numbers(&outputs[1]), expected);
        }
    }
}

#[test]
fn loops_are_charged_before_they_run() {
    let inputs = [int(3), f32s(&[2], &[1.0; 2]), f32s(&[2], &[1.0; 2])];
    let (few, many) = (doubling(4), doubling(8));
    let cost = |plan: &Plan| plan.cost(&inputs).unwrap();
    assert_eq!(2 * cost(&few).flops, cost(&many).flops);
    assert_eq!(cost(&few).arena_bytes, cost(&many).arena_bytes);
    let error = doubling(1 << 60).run(&inputs, None).unwrap_err();
    assert_eq!(error.code(), "flops");
    assert_eq!(doubling(u64::MAX).cost(&inputs).unwrap_err().code(), "flops");
}

#[test]
fn iterations_allocate_no_arena() {
    let plan = doubling(1000);
    let inputs = |n| [int(n), f32s(&[2], &[0.0; 2]), f32s(&[2], &[0.0; 2])];
    plan.run(&inputs(1), None).unwrap();
    let before = plan.stats().arena_allocations;
    plan.run(&inputs(1000), None).unwrap();
    assert_eq!(plan.stats().arena_allocations, before);
}

#[test]
fn one_of_two_branches_runs() {
    let mut b = builder();
    let c = b.input("c", DType::Bool, &[]).unwrap();
    let x = b.input("x", F32, &[Dim::Fixed(3)]).unwrap();
    let then = branch(&mut b, &[x], |b, x| b.exp(x[0]).unwrap());
    let otherwise = branch(&mut b, &[], |b, _| b.constant(f32s(&[3], &[1., 2., 3.])).unwrap());
    let y = b.if_else(c, then, otherwise).unwrap()[0];
    b.output("y", y).unwrap();
    let same = branch(&mut b, &[x], |_, x| x[0]);
    let z = b.if_else(c, same, otherwise).unwrap()[0];
    b.output("z", z).unwrap();
    let plan = plan(b);
    let x = f32s(&[3], &[0.0; 3]);
    let yes = plan.run(&[flag(true), x.clone()], None).unwrap();
    assert_eq!([numbers(&yes[0]), numbers(&yes[1])], [vec![1.0; 3], vec![0.0; 3]]);
    let no = plan.run(&[flag(false), x], None).unwrap();
    assert_eq!(numbers(&no[0]), [1., 2., 3.]);
    assert_eq!(numbers(&no[1]), [1., 2., 3.]);
}

#[test]
fn branches_of_other_extents_are_measured() {
    let mut b = builder();
    let c = b.input("c", DType::Bool, &[]).unwrap();
    let x = b.input("x", F32, &[dynamic("n")]).unwrap();
    let pairs = branch(&mut b, &[x], |b, x| {
        let pairs = b.reshape(x[0], &[dynamic(""), Dim::Fixed(2)]).unwrap();
        b.reduce_sum(pairs, &[1], false).unwrap()
    });
    let all = branch(&mut b, &[x], |b, x| b.neg(x[0]).unwrap());
    let y = b.if_else(c, pairs, all).unwrap()[0];
    let twice = b.concat(&[y, y], 0).unwrap();
    b.output("y", twice).unwrap();
    let plan = plan(b);
    let run = |c: bool, x: &[f32]| plan.run(&[flag(c), f32s(&[x.len()], x)], None);
    assert_eq!(numbers(&run(true, &[1., 2., 3., 4.]).unwrap()[0]), [3., 7., 3., 7.]);
    // The branch that would fail does not run.
    assert_eq!(numbers(&run(false, &[1., 2., 3.]).unwrap()[0]), [-1., -2., -3., -1., -2., -3.]);
    assert_eq!(run(true, &[1., 2., 3.]).unwrap_err().code(), "shape-mismatch");
}

/// Carried `h`, scanned `x` [t, 2]: `h = h * w + x`, answers `h` and all `h + 1`.
fn recurrence() -> Plan {
    let mut b = builder();
    let h = b.input("h", F32, &[Dim::Fixed(2)]).unwrap();
    let x = b.input("x", F32, &[dynamic("t"), Dim::Fixed(2)]).unwrap();
    let w = weight(&mut b, &[2, 2], &[0.5, 0.25, -1.0, 2.0]);
    let two = vec![Dim::Fixed(2)];
    let inner = b.region_begin(&[w], &[(F32, two.clone()), (F32, two)]).unwrap();
    let row = b.reshape(inner[1], &[Dim::Fixed(1), Dim::Fixed(2)]).unwrap();
    let product = b.linear(row, inner[0], None, false).unwrap();
    let flat = b.reshape(product, &[Dim::Fixed(2)]).unwrap();
    let next = b.add(flat, inner[2]).unwrap();
    let one = b.constant(f32s(&[], &[1.0])).unwrap();
    let seen = b.add(next, one).unwrap();
    let body = b.region_end(&[next, seen]).unwrap();
    let outputs = b.scan(body, &[h], &[x]).unwrap();
    b.output("last", outputs[0]).unwrap();
    b.output("all", outputs[1]).unwrap();
    plan(b)
}

#[test]
fn a_scan_carries_and_stacks() {
    let plan = recurrence();
    for t in [0usize, 1, 7] {
        let mut random = Random(t as u64);
        let (h, x) = (random.numbers(2), random.numbers(2 * t));
        let mut state = [h[0], h[1]];
        let mut all = Vec::new();
        for x in x.chunks(2) {
            let [a, c] = state;
            state = [a * 0.5 - c + x[0], a * 0.25 + c * 2.0 + x[1]];
            all.extend(state.map(|x| x + 1.0));
        }
        let outputs = plan.run(&[f32s(&[2], &h), f32s(&[t, 2], &x)], None).unwrap();
        assert_eq!(outputs[1].shape().dims(), [t, 2]);
        let near = |got: &[f32], want: &[f32]| {
            got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-4)
        };
        assert!(near(&numbers(&outputs[0]), &state), "{t}");
        assert!(near(&numbers(&outputs[1]), &all), "{t}");
    }
}

#[test]
fn a_call_repeats_a_region_with_other_extents() {
    let mut b = builder();
    let x = b.input("x", F32, &[Dim::Batch, Dim::Fixed(2)]).unwrap();
    let k = b.constant(f32s(&[], &[3.0])).unwrap();
    let inner = b.region_begin(&[k], &[(F32, vec![dynamic("m")])]).unwrap();
    let scaled = b.mul(inner[1], inner[0]).unwrap();
    let ones = b.reshape(scaled, &[dynamic("m"), Dim::Fixed(1)]).unwrap();
    let body = b.region_end(&[ones]).unwrap();
    for (name, values) in [("two", &[1f32, 2.][..]), ("three", &[1., 2., 3.])] {
        let value = b.constant(f32s(&[values.len()], values)).unwrap();
        let called = b.call(body, &[value]).unwrap()[0];
        assert_eq!(b.spec(called).unwrap().dims, [Dim::Fixed(values.len() as u64), Dim::Fixed(1)]);
        let sum = b.reduce_sum(called, &[0, 1], false).unwrap();
        let y = b.mul(x, sum).unwrap();
        b.output(name, y).unwrap();
    }
    let plan = plan(b);
    assert_eq!(*plan.coalescing(), Coalescing::Batch);
    let outputs = plan.run(&[f32s(&[1, 2], &[1., 10.])], None).unwrap();
    assert_eq!([numbers(&outputs[0]), numbers(&outputs[1])], [vec![9., 90.], vec![18., 180.]]);
}

#[test]
fn regions_nest() {
    // Σ over i < 3 of (i is even ? 10 : Σ over scanned 1, 2, 3), by loop, branch and scan.
    let mut b = builder();
    let xs = b.input("xs", F32, &[dynamic("t")]).unwrap();
    let (zero, start) = (b.constant(int(0)).unwrap(), b.constant(f32s(&[], &[0.0])).unwrap());
    let params = [(I64, vec![]), (F32, vec![])];
    let inner = b.region_begin(&[], &params).unwrap();
    let three = b.constant(int(3)).unwrap();
    let holds = b.less(inner[0], three).unwrap();
    let condition = b.region_end(&[holds]).unwrap();
    let inner = b.region_begin(&[xs], &params).unwrap();
    let two = b.constant(int(2)).unwrap();
    let rest = b.rem(inner[1], two).unwrap();
    let none = b.constant(int(0)).unwrap();
    let even = b.equal(rest, none).unwrap();
    let ten = branch(&mut b, &[], |b, _| b.constant(f32s(&[], &[10.0])).unwrap());
    let sum = branch(&mut b, &[inner[0]], |b, xs| {
        let start = b.constant(f32s(&[], &[0.0])).unwrap();
        let inner = b.region_begin(&[], &[(F32, vec![]), (F32, vec![])]).unwrap();
        let sum = b.add(inner[0], inner[1]).unwrap();
        let body = b.region_end(&[sum]).unwrap();
        b.scan(body, &[start], &[xs[0]]).unwrap()[0]
    });
    let term = b.if_else(even, ten, sum).unwrap()[0];
    let total = b.add(inner[2], term).unwrap();
    let one = b.constant(int(1)).unwrap();
    let next = b.add(inner[1], one).unwrap();
    let body = b.region_end(&[next, total]).unwrap();
    let outputs = b.while_loop(condition, body, &[zero, start], 9).unwrap();
    b.output("total", outputs[1]).unwrap();
    let plan = plan(b);
    let outputs = plan.run(&[f32s(&[3], &[1., 2., 3.])], None).unwrap();
    assert_eq!(numbers(&outputs[0]), [26.0]);
    assert_eq!(numbers(&plan.run(&[f32s(&[0], &[])], None).unwrap()[0]), [20.0]);
}

#[test]
fn loops_over_known_layers_join_and_those_over_content_do_not() {
    let stack = |by_content: bool| {
        let mut b = builder();
        let x = b.input("x", F32, &[Dim::Batch, Dim::Fixed(2)]).unwrap();
        let layers = b.constant(f32s(&[2, 2], &[1., 2., 3., 4.])).unwrap();
        let row = vec![Dim::Batch, Dim::Fixed(2)];
        let inner = b.region_begin(&[], &[(F32, row), (F32, vec![Dim::Fixed(2)])]).unwrap();
        let next = b.mul(inner[0], inner[1]).unwrap();
        let body = b.region_end(&[next]).unwrap();
        let mut y = b.scan(body, &[x], &[layers]).unwrap()[0];
        if by_content {
            let c = b.input("c", DType::Bool, &[]).unwrap();
            let same = branch(&mut b, &[y], |_, y| y[0]);
            let other = branch(&mut b, &[y], |b, y| b.neg(y[0]).unwrap());
            y = b.if_else(c, same, other).unwrap()[0];
        }
        b.output("y", y).unwrap();
        plan(b)
    };
    let joined = stack(false);
    assert_eq!(*joined.coalescing(), Coalescing::Batch);
    let outputs = joined.run(&[f32s(&[2, 2], &[1., 1., 2., 2.])], None).unwrap();
    assert_eq!(numbers(&outputs[0]), [3., 8., 6., 16.]);
    assert!(matches!(stack(true).coalescing(), Coalescing::Alone { .. }));
}

#[test]
fn what_is_outside_stays_outside() {
    let mut b = builder();
    let x = b.input("x", F32, &[Dim::Fixed(2)]).unwrap();
    let inner = b.region_begin(&[x], &[]).unwrap();
    assert_eq!(b.exp(x).unwrap_err().code(), "unknown-value");
    assert_eq!(b.output("y", inner[0]).unwrap_err().code(), "region");
    assert_eq!(b.input("z", F32, &[]).unwrap_err().code(), "region");
    assert_eq!(b.offsets("o").unwrap_err().code(), "region");
    assert_eq!(b.region_end(&[x]).unwrap_err().code(), "unknown-value");
    assert_eq!(b.region_end(&[]).unwrap_err().code(), "no-output");
    let deep = branch(&mut b, &[inner[0]], |b, x| b.exp(x[0]).unwrap());
    let region = b.region_end(&[inner[0]]).unwrap();
    assert_eq!(b.exp(inner[0]).unwrap_err().code(), "unknown-value");
    assert_eq!(b.call(deep, &[]).unwrap_err().code(), "region");
    assert_eq!(b.call(RegionId(99), &[]).unwrap_err().code(), "region");
    assert_eq!(b.region_end(&[x]).unwrap_err().code(), "region");
    let y = b.call(region, &[]).unwrap()[0];
    b.output("y", y).unwrap();
    b.region_begin(&[], &[]).unwrap();
    assert_eq!(b.finish().unwrap_err().code(), "open-region");
}

#[test]
fn wrong_types_of_regions_are_refused_by_code() {
    let mut b = builder();
    let x = b.input("x", F32, &[Dim::Fixed(2)]).unwrap();
    let rows = b.input("rows", F32, &[Dim::Batch]).unwrap();
    let c = b.input("c", DType::Bool, &[]).unwrap();
    let same = branch(&mut b, &[x], |_, x| x[0]);
    let longer = branch(&mut b, &[x], |b, x| b.concat(&[x[0], x[0]], 0).unwrap());
    let whole = branch(&mut b, &[x], |b, x| b.cast(x[0], I64).unwrap());
    assert_eq!(b.if_else(c, same, longer).unwrap_err().code(), "shape");
    assert_eq!(b.if_else(c, same, whole).unwrap_err().code(), "shape");
    assert_eq!(b.if_else(x, same, same).unwrap_err().code(), "dtype");
    let param = |b: &mut GraphBuilder, dims: &[Dim], grow: bool| {
        let inner = b.region_begin(&[], &[(F32, dims.to_vec())]).unwrap();
        let next = match grow {
            true => b.concat(&[inner[0], inner[0]], 0).unwrap(),
            false => inner[0],
        };
        b.region_end(&[next]).unwrap()
    };
    let holds = b.region_begin(&[c], &[(F32, vec![Dim::Fixed(2)])]).unwrap();
    let holds = b.region_end(&holds[..1]).unwrap();
    let (keep, grow) =
        (param(&mut b, &[Dim::Fixed(2)], false), param(&mut b, &[dynamic("m")], true));
    b.while_loop(holds, keep, &[x], 1).unwrap();
    assert_eq!(b.while_loop(holds, grow, &[x], 1).unwrap_err().code(), "shape");
    assert_eq!(b.while_loop(keep, keep, &[x], 1).unwrap_err().code(), "shape");
    assert_eq!(b.while_loop(holds, keep, &[c], 1).unwrap_err().code(), "dtype");
    assert_eq!(b.while_loop(holds, keep, &[], 1).unwrap_err().code(), "argument");
    assert_eq!(b.while_loop(holds, keep, &[rows], 1).unwrap_err().code(), "dim-class");
    let each = param(&mut b, &[], false);
    assert_eq!(b.scan(each, &[], &[c]).unwrap_err().code(), "shape");
    assert_eq!(b.scan(each, &[], &[]).unwrap_err().code(), "argument");
    b.scan(each, &[], &[rows]).unwrap();
    assert_eq!(b.call(keep, &[rows]).unwrap_err().code(), "dim-class");
    assert_eq!(b.call(keep, &[]).unwrap_err().code(), "argument");
    let offsets = b.offsets("o").unwrap();
    assert_eq!(b.region_begin(&[offsets], &[]).unwrap_err().code(), "argument");
    let param = (F32, vec![Dim::Ragged("none".into())]);
    assert_eq!(b.region_begin(&[], &[param]).unwrap_err().code(), "unknown-dim");
}

#[test]
fn depth_number_and_use_of_regions_are_bounded() {
    let mut b = builder();
    for _ in 0..GraphLimits::default().region_depth_max {
        b.region_begin(&[], &[]).unwrap();
    }
    assert_eq!(b.region_begin(&[], &[]).unwrap_err().family(), ErrorFamily::Limit);
    let limits = GraphLimits { regions_max: 2, nodes_max: 20, ..Default::default() };
    let mut b = GraphBuilder::new(limits);
    let c = b.input("c", DType::Bool, &[]).unwrap();
    let region = branch(&mut b, &[c], |b, c| (0..4).fold(c[0], |x, _| b.logical_not(x).unwrap()));
    // Four nodes and five values in the region: each op counts ten for its regions and one more.
    b.if_else(c, region, region).unwrap();
    let error = b.if_else(c, region, region).unwrap_err();
    assert_eq!(error.code(), "nodes");
    branch(&mut b, &[c], |_, c| c[0]);
    assert!(b.region_begin(&[c], &[]).is_err());
}

#[test]
fn regions_take_their_memory_from_the_budget_of_the_plan() {
    let mut b = builder();
    let c = b.input("c", DType::Bool, &[]).unwrap();
    let x = b.input("x", F32, &[Dim::Fixed(1000)]).unwrap();
    let then = branch(&mut b, &[x], |b, x| b.exp(x[0]).unwrap());
    let y = b.if_else(c, then, then).unwrap()[0];
    b.output("y", y).unwrap();
    let graph = b.finish().unwrap();
    let inputs = [flag(true), f32s(&[1000], &[0.0; 1000])];
    let limited = |bytes: u64| {
        let options = CompileOptions { arena_bytes_max: bytes, ..Default::default() };
        compile(graph.clone(), &options).unwrap().run(&inputs, None)
    };
    assert_eq!(limited(7999).unwrap_err().code(), "arena-bytes");
    limited(8000).unwrap();
}
