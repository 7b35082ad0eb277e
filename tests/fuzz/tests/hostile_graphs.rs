//! Graphs that want more than they may: each is refused with the limit in its message, and the host
//! holds little memory meanwhile.

use std::sync::{Arc, Mutex, PoisonError};

use aimass_graph::{
    BytesSource, CompileOptions, ConvValues, Dim, ErrorFamily, GraphBuilder, GraphError,
    GraphLimits, PadMode, Plan, RegionId, ResizeMode, RunError, ValueId, Window, compile,
};
use aimass_tensor::{Buffer, DType, Shape, Tensor};
use aimass_testkit::Peak;

#[global_allocator]
static PEAK: Peak = Peak::new();

const MIB: usize = 1 << 20;

/// What `work` answers, and the bytes it held at most. One at a time: the allocator is everybody's.
fn held<T>(work: impl FnOnce() -> T) -> (T, usize) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    PEAK.during(work)
}

fn builder() -> GraphBuilder {
    GraphBuilder::new(GraphLimits::default())
}

fn fixed(dims: &[u64]) -> Vec<Dim> {
    dims.iter().map(|&extent| Dim::Fixed(extent)).collect()
}

fn floats(shape: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(shape, values).expect("as many as the shape has")
}

fn ones(b: &mut GraphBuilder, dims: &[usize]) -> ValueId {
    let values = vec![1.0; dims.iter().product()];
    b.constant(floats(dims, &values)).expect("a small constant")
}

fn window(strides: u64, pads: u64, dilations: u64) -> Window {
    Window {
        strides: vec![strides; 2],
        pads_before: vec![pads; 2],
        pads_after: vec![pads; 2],
        dilations: vec![dilations; 2],
    }
}

#[test]
fn overflowing_extents_are_refused_before_memory_is_taken() {
    type Attempt = fn(&mut GraphBuilder, ValueId) -> Result<ValueId, GraphError>;
    const HUGE: u64 = u64::MAX;
    let attempts: [(&str, Attempt); 14] = [
        ("2^40 elements", |b, x| b.broadcast(x, &fixed(&[1 << 40, 1, 1, 4, 4]))),
        ("broadcast", |b, x| b.broadcast(x, &fixed(&[HUGE, 1, 1, 4, 4]))),
        ("tile", |b, x| b.tile(x, &[1, HUGE, 1, 1])),
        ("tile twice", |b, x| b.tile(x, &[1, 1 << 32, 1 << 32, 1])),
        ("pad", |b, x| b.pad(x, &[0; 4], &[0, 0, 0, HUGE], PadMode::Constant, 0.0)),
        ("pads", |b, x| b.pad(x, &[0, 0, 1 << 62, 0], &[0, 0, 1 << 62, 0], PadMode::Edge, 0.0)),
        ("iota", |b, _| b.iota(&fixed(&[1 << 32, 1 << 32]), 0, i64::MAX, i64::MAX)),
        ("resize", |b, x| b.resize(x, &[1 << 40, 4], ResizeMode::Bilinear, false, false)),
        ("resize both", |b, x| b.resize(x, &[HUGE, HUGE], ResizeMode::Nearest, false, false)),
        ("dilated", |b, x| b.max_pool(x, &[2, 2], window(1, 0, HUGE))),
        ("pooled pads", |b, x| b.average_pool(x, &[1, 1], window(1, 1 << 40, 1), true)),
        ("spread", |b, x| {
            let w = ones(b, &[1, 1, 1, 1]);
            b.conv_transpose(ConvValues { x, w, bias: None }, window(HUGE, 0, 1), 1, &[0, 0])
        }),
        ("empty, but of 2^62 rows", |b, x| b.broadcast(x, &fixed(&[1 << 62, 0, 1, 4, 4]))),
        ("one-hot", |b, _| {
            let indices = b.constant(Tensor::from_slice(&[2], &[0i64, 1]).expect("two"))?;
            b.one_hot(indices, HUGE, DType::F32)
        }),
    ];
    for (name, attempt) in attempts {
        let mut b = builder();
        let x = ones(&mut b, &[1, 1, 4, 4]);
        let (outcome, bytes) = held(|| attempt(&mut b, x));
        let error = outcome.expect_err(name);
        let (family, text) = (error.family(), error.to_string());
        let known = [ErrorFamily::Limit, ErrorFamily::Input];
        assert!(known.contains(&family), "{name}: {family:?} {text}");
        assert!(text.contains("at most") || text.contains("expected"), "{name}: {text}");
        assert!(bytes < MIB, "{name} held {bytes} bytes");
    }
}

/// Compiles a graph with one output, with at most 1 GiB for a run.
fn plan(mut b: GraphBuilder, y: ValueId) -> Plan {
    b.output("y", y).expect("an output");
    let options =
        CompileOptions { threads: 1, arena_bytes_max: 1 << 30, ..CompileOptions::default() };
    compile(b.finish().expect("a graph"), &options).expect("a plan")
}

#[test]
fn chains_of_constants_that_grow_stay_small_until_they_run() {
    type Step = fn(&mut GraphBuilder, ValueId, u64) -> Result<ValueId, GraphError>;
    let chains: [(&str, Step); 6] = [
        ("tile", |b, x, _| b.tile(x, &[1, 1, 4])),
        ("concat", |b, x, _| b.concat(&[x, x, x, x], 2)),
        ("pad", |b, x, n| b.pad(x, &[0; 3], &[0, 0, 3 * n], PadMode::Edge, 0.0)),
        ("resize", |b, x, n| b.resize(x, &[4 * n], ResizeMode::Nearest, false, false)),
        ("broadcast", |b, x, n| {
            let wide = b.broadcast(x, &fixed(&[4, 1, n]))?;
            b.reshape(wide, &fixed(&[1, 1, 4 * n]))
        }),
        ("gather", |b, x, n| {
            let rows = b.reshape(x, &fixed(&[1, n]))?;
            let indices = b.constant(Tensor::from_slice(&[4], &[0i64; 4]).expect("four"))?;
            let many = b.gather(rows, indices, 0)?;
            b.reshape(many, &fixed(&[1, 1, 4 * n]))
        }),
    ];
    for (name, step) in chains {
        let mut b = builder();
        let (mut x, mut n) = (ones(&mut b, &[1, 1, 1]), 1u64);
        // 2^30 elements of 4 bytes, out of one.
        for _ in 0..15 {
            x = step(&mut b, x, n).unwrap_or_else(|error| panic!("{name} at {n}: {error}"));
            n *= 4;
        }
        let (plan, bytes) = held(|| plan(b, x));
        assert!(bytes < 48 * MIB, "{name} held {bytes} bytes");
        assert!(plan.weights_bytes() < 20 * MIB as u64, "{name}: {}", plan.weights_bytes());
        let (outcome, bytes) = held(|| plan.run(&[], None));
        let error = outcome.expect_err(name);
        assert!(matches!(error, RunError::ArenaLimit { max: 0x4000_0000, .. }), "{name}: {error}");
        assert!(error.to_string().contains("at most 1073741824 are allowed"), "{name}: {error}");
        assert!(bytes < MIB, "{name} held {bytes} bytes");
    }
}

#[test]
fn a_million_nodes_stop_at_the_limit_and_the_rest_compiles() {
    let ((plan, error), bytes) = held(|| {
        let mut b = builder();
        let mut x = b.input("x", DType::F32, &fixed(&[4])).expect("an input");
        let error = (0..1_000_000).find_map(|_| match b.neg(x) {
            Ok(y) => {
                x = y;
                None
            }
            Err(error) => Some(error),
        });
        (plan(b, x), error.expect("no million nodes"))
    });
    assert_eq!(error.to_string(), "a graph has at most 100000 nodes, got 100001");
    assert!(bytes < 400 * MIB, "{bytes} bytes");
    let outputs = plan.run(&[floats(&[4], &[1.0; 4])], None).expect("a run");
    assert_eq!(outputs[0].as_slice::<f32>(), Ok(&[1.0; 4][..]));
}

/// A plan of which 30,000 values live at once.
fn many_values() -> Plan {
    let mut b = builder();
    let x = b.input("x", DType::I32, &fixed(&[2])).expect("an input");
    let parts: Vec<ValueId> = (0..30_000).map(|_| b.neg(x).expect("a node")).collect();
    let mut sums = Vec::new();
    for pair in parts.chunks(2) {
        sums.push(b.add(pair[0], pair[1]).expect("a sum"));
    }
    let total = sums.into_iter().reduce(|all, sum| b.add(all, sum).expect("a sum"));
    plan(b, total.expect("many"))
}

#[test]
fn many_values_that_live_at_once_compile() {
    let (plan, _) = held(many_values);
    let x = Tensor::from_slice(&[2], &[1i32, 2]).expect("two");
    let outputs = plan.run(&[x], None).expect("a run");
    assert_eq!(outputs[0].as_slice::<i32>(), Ok(&[-30_000, -60_000][..]));
}

#[test]
fn few_nodes_with_many_operands_stop_at_a_limit_of_their_own() {
    let ((nodes, error), bytes) = held(|| {
        let mut b = builder();
        let x = b.input("x", DType::F32, &fixed(&[1_024])).expect("an input");
        let ends = (0..100_000).find_map(|nodes| Some((nodes, b.split(x, 0, &[1; 1_024]).err()?)));
        ends.expect("not 10^8 values")
    });
    assert_eq!(nodes, 1_000_000 / 1_025);
    let expected = "a graph has at most 1000000 inputs and outputs of nodes, got ";
    assert!(error.to_string().starts_with(expected), "{error}");
    assert!(bytes < 400 * MIB, "{bytes} bytes");
}

#[test]
fn refused_calls_leave_nothing_behind() {
    let mut b = builder();
    let dims = [Dim::Dynamic("n".into()), Dim::Fixed(1 << 30)];
    let x = b.input("x", DType::F32, &dims).expect("an input");
    let (codes, bytes) = held(|| {
        // The sum of extents is a new rule each time; 2^40 elements beside it are too many.
        let wide = |round| b.pad(x, &[0; 2], &[round, 1 << 40], PadMode::Constant, 0.0);
        (1..20_000u64)
            .map(wide)
            .filter(|wide| matches!(wide, Err(e) if e.code() == "elements"))
            .count()
    });
    assert_eq!(codes, 19_999);
    assert!(bytes < 8 * MIB, "{bytes} bytes");
}

#[test]
fn weights_end_where_their_file_ends() {
    let source = || Arc::new(BytesSource::new(Buffer::shared(Arc::new(vec![0u8; 64]))));
    for (dims, offset, fits) in [
        (vec![16], 0, true),
        (vec![16], 4, false),
        (vec![1], 60, true),
        (vec![1], 61, false),
        (vec![1], u64::MAX, false),
        (vec![1], u64::MAX - 3, false),
        (vec![1 << 34], 0, false),
        (vec![0, 1 << 34], 64, true),
        (vec![0, 1 << 35], 64, false),
        (vec![1 << 62], 0, false),
        (vec![u64::MAX, 2], 0, false),
    ] {
        let mut b = builder();
        let (outcome, bytes) = held(|| b.weight("w", DType::F32, &dims, source(), offset));
        assert_eq!(outcome.is_ok(), fits, "{dims:?} at {offset}: {outcome:?}");
        let text = outcome.err().map(|error| error.to_string()).unwrap_or_default();
        let named = text.contains("64 bytes") || text.contains("elements");
        assert!(fits || named, "{dims:?} at {offset}: {text}");
        assert!(bytes < MIB, "{bytes} bytes");
    }
}

#[test]
fn an_empty_value_counts_as_if_its_empty_extent_were_one() {
    let mut b = builder();
    let dims = [Dim::Dynamic("n".into()), Dim::Dynamic("m".into())];
    let x = b.input("x", DType::F32, &dims).expect("an input");
    let y = b.l2_normalize(x, 1e-6).expect("a node");
    let plan = plan(b, y);
    let empty = |rows: usize| {
        let shape = Shape::new(&[rows, 0]).expect("a shape");
        [Tensor::copy_from(DType::F32, shape, &[]).expect("no bytes")]
    };
    assert!(plan.run(&empty(1_000), None).is_ok());
    let error = plan.run(&empty((1 << 30) + 1), None).expect_err("too many rows of nothing");
    assert_eq!(error.to_string(), "the run takes 1073741825 bytes, at most 1073741824 are allowed");
}

#[test]
fn dimensions_are_declared_before_they_are_named() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Dynamic("n".into())]).expect("an input");
    for name in ["m", "%0", "%1", "%00", "%"] {
        let error = b.broadcast(x, &[Dim::Dynamic(name.into())]).expect_err(name);
        assert_eq!(error.code(), "unknown-dim", "{name}");
    }
    let odd = b.slice(x, 0, 1, 9, 2).expect("a part");
    assert_eq!(b.spec(odd).map(|spec| spec.dims.clone()), Ok(vec![Dim::Dynamic("%0".into())]));
    assert!(b.iota(&[Dim::Dynamic("%0".into())], 0, 0, 1).is_ok());
    assert!(b.iota(&[Dim::Dynamic("%1".into())], 0, 0, 1).is_err());
}

#[test]
fn nothing_tells_a_call_how_many_others_are_in_its_batch() {
    type Extent = fn(&mut GraphBuilder, Dim) -> Result<ValueId, GraphError>;
    let uses: [(&str, Extent); 3] = [
        ("iota", |b, count| b.iota(&[count], 0, 0, 1)),
        ("broadcast", |b, count| {
            let one = ones(b, &[1]);
            b.broadcast(one, &[count])
        }),
        ("another input", |b, count| b.input("other", DType::F32, &[Dim::Batch, count])),
    ];
    for (name, extent) in uses {
        let mut b = builder();
        let offsets = b.offsets("o").expect("offsets");
        let x = b.input("x", DType::F32, &[Dim::Ragged("o".into())]).expect("an input");
        let y = b.ragged_sum(x, offsets).expect("sums");
        extent(&mut b, Dim::Dynamic("o+1".into())).expect(name);
        let plan = plan(b, y);
        let alone = matches!(plan.coalescing(), aimass_graph::Coalescing::Alone { .. });
        assert!(alone, "{name}: {:?}", plan.coalescing());
    }
}

#[test]
fn values_and_regions_that_do_not_exist_are_refused() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &fixed(&[2])).expect("an input");
    // A value that a later call will answer: the only way to write a cycle down.
    let next = ValueId(x.0 + 1);
    for error in [b.add(x, next), b.add(next, next), b.neg(ValueId(u32::MAX))] {
        assert_eq!(error.expect_err("no such value").code(), "unknown-value");
    }
    let y = b.neg(x).expect("the value that was named before");
    assert_eq!(y, next);
    let nowhere = RegionId(7);
    for refused in [
        b.region_end(&[x]).map(|_| Vec::new()),
        b.if_else(x, nowhere, nowhere),
        b.while_loop(nowhere, nowhere, &[x], u64::MAX),
        b.scan(nowhere, &[x], &[]),
        b.call(nowhere, &[x]),
    ] {
        let error = refused.expect_err("no such region");
        assert_eq!(error.family(), ErrorFamily::Input);
    }
    assert_eq!(b.reduce_sum(x, &vec![0; 1_000_000], true).expect_err("a list").code(), "argument");
    assert_eq!(b.concat(&vec![x; 1_025], 0).expect_err("a list").code(), "argument");
    assert_eq!(b.split(x, 0, &vec![0; 1_025]).expect_err("a list").code(), "argument");
    assert_eq!(
        b.conv(ConvValues { x, w: x, bias: None }, window(1, 0, 1), 1).expect_err("a rank").code(),
        "shape"
    );
}
