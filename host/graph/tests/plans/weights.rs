//! Weights: dtypes, alignment, sharing.

use crate::support::{Random, builder, bytes, f32s, near, plan, source, weight};
use aimass_graph::{
    CompileOptions, Dim, PackedStore, Plan, ValueId, WeightError, WeightSource, compile,
};
use aimass_tensor::{Buffer, BufferMut, DType};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const K: usize = 6;
const N: usize = 18;

/// A source that counts the bytes it gave and those it may let go of.
struct Counted {
    bytes: Buffer,
    digest: [u8; 32],
    read: AtomicU64,
    released: AtomicU64,
}

impl Counted {
    fn new(content: Vec<u8>, digest: u8) -> Arc<Counted> {
        let bytes = Buffer::shared(Arc::new(content));
        Arc::new(Counted {
            bytes,
            digest: [digest; 32],
            read: AtomicU64::new(0),
            released: AtomicU64::new(0),
        })
    }
}

impl WeightSource for Counted {
    fn len(&self) -> u64 {
        self.bytes.as_slice().len() as u64
    }

    fn digest(&self) -> [u8; 32] {
        self.digest
    }

    fn read(&self, range: Range<u64>) -> Result<Buffer, WeightError> {
        self.read.fetch_add(range.end - range.start, Ordering::Relaxed);
        Ok(self.bytes.slice(range.start as usize..range.end as usize))
    }

    fn release(&self, range: Range<u64>) {
        self.released.fetch_add(range.end - range.start, Ordering::Relaxed);
    }
}

fn linear_plan(source: Arc<dyn WeightSource>, dtype: DType, offset: u64) -> Plan {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap();
    let w = b.weight("w", dtype, &[K as u64, N as u64], source, offset).unwrap();
    let y = b.linear(x, w, None, false).unwrap();
    b.output("y", y).unwrap();
    plan(b)
}

fn product(x: &[f32], w: &[f32]) -> Vec<f64> {
    let part = |row: usize, j: usize| {
        (0..K).map(|p| f64::from(x[row * K + p]) * f64::from(w[p * N + j])).sum::<f64>()
    };
    (0..x.len() / K).flat_map(|row| (0..N).map(move |j| part(row, j))).collect()
}

fn check(plan: &Plan, w: &[f32]) {
    let x = Random(3).numbers(4 * K);
    let outputs = plan.run(&[f32s(&[4, K], &x)], None).unwrap();
    near(outputs[0].as_slice().unwrap(), &product(&x, w), 1e-5);
}

#[test]
fn weights_of_f32_f16_and_bf16_at_any_offset() {
    let w: Vec<f32> = Random(1).numbers(K * N).iter().map(|x| (x * 64.0).round() / 64.0).collect();
    for offset in [0usize, 1, 6] {
        let at = |content: Vec<u8>| [vec![0; offset], content].concat();
        check(&linear_plan(source(at(bytes(&w))), DType::F32, offset as u64), &w);
        // Sixty-fourths of one are exact in both halves.
        let bf16 = w.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect();
        check(&linear_plan(source(at(bf16)), DType::Bf16, offset as u64), &w);
        let f16 = w.iter().flat_map(|&x| f16_bits(x).to_le_bytes()).collect();
        check(&linear_plan(source(at(f16)), DType::F16, offset as u64), &w);
    }
}

/// The binary16 bits of a normal number that fits exactly.
fn f16_bits(x: f32) -> u16 {
    if x == 0.0 {
        return 0;
    }
    let bits = x.to_bits();
    let exponent = (bits >> 23 & 0xff) as i32 - 127 + 15;
    ((bits >> 16 & 0x8000) | (exponent as u32) << 10 | (bits >> 13 & 0x3ff)) as u16
}

#[test]
fn a_transposed_and_cast_weight_is_packed_without_a_step_of_its_own() {
    let w = Random(2).numbers(K * N);
    let mut turned = vec![0f32; K * N];
    (0..K * N).for_each(|i| turned[(i % N) * K + i / N] = w[i]);
    let halves = |w: &[f32]| -> Vec<u8> {
        w.iter().flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes()).collect()
    };
    let rounded: Vec<f32> = w.iter().map(|x| f32::from_bits(x.to_bits() & 0xffff_0000)).collect();
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(K as u64)]).unwrap();
    let w = b.weight("w", DType::Bf16, &[N as u64, K as u64], source(halves(&turned)), 0).unwrap();
    let w = b.cast(w, DType::F32).unwrap();
    let w = b.transpose(w, &[1, 0]).unwrap();
    let y = b.matmul(x, w).unwrap();
    b.output("y", y).unwrap();
    let plan = plan(b);
    assert_eq!((plan.stats().steps, plan.stats().matrices), (1, 1), "{}", plan.describe());
    check(&plan, &rounded);
}

#[test]
fn living_plans_share_packed_weights_by_content() {
    let content = bytes(&Random(4).numbers(K * N));
    let first = Counted::new(content.clone(), 200);
    let plan = linear_plan(first.clone(), DType::F32, 0);
    let read = first.read.load(Ordering::Relaxed);
    assert_eq!(read, content.len() as u64);
    // Another file object with the same digest: nothing is read again.
    let second = Counted::new(content.clone(), 200);
    let shared = linear_plan(second.clone(), DType::F32, 0);
    assert_eq!(second.read.load(Ordering::Relaxed), 0);
    assert_eq!(plan.key(), shared.key());
    drop((plan, shared));
    let third = Counted::new(content, 200);
    linear_plan(third.clone(), DType::F32, 0);
    assert!(third.read.load(Ordering::Relaxed) > 0, "the cache must not keep dead plans alive");
}

fn product_of(x: &[f32], w: &[f32], n: usize) -> Vec<f64> {
    let mut sums = vec![0.0; n];
    for (x, row) in x.iter().zip(w.chunks(n)) {
        sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += f64::from(*x) * f64::from(*w));
    }
    sums
}

#[test]
fn one_content_in_two_shapes_is_packed_twice() {
    let numbers = Random(5).numbers(24);
    let product = |k: u64| {
        let mut b = builder();
        let stored = weight(&mut b, &[4, 6], &numbers);
        let w = b.reshape(stored, &[Dim::Fixed(k), Dim::Fixed(24 / k)]).unwrap();
        let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(k)]).unwrap();
        let y = b.matmul(x, w).unwrap();
        b.output("y", y).unwrap();
        plan(b)
    };
    // Both live at once.
    let plans = [4, 6].map(|k| (k, product(k)));
    for (k, plan) in plans {
        let (k, n) = (k as usize, 24 / k as usize);
        let x = Random(6).numbers(k);
        let got = plan.run(&[f32s(&[1, k], &x)], None).unwrap();
        let expected = product_of(&x, &numbers, n);
        near(got[0].as_slice::<f32>().unwrap(), &expected, 1e-5);
    }
}

#[test]
fn an_embedding_table_stays_where_it_is() {
    let table = Random(5).numbers(1000 * 8);
    let source = Counted::new(bytes(&table), 201);
    let mut b = builder();
    let ids = b.input("ids", DType::U32, &[Dim::Batch]).unwrap();
    let table = b.weight("table", DType::F32, &[1000, 8], source.clone(), 0).unwrap();
    let y = b.gather(table, ids, 0).unwrap();
    b.output("y", y).unwrap();
    let plan = plan(b);
    assert_eq!(plan.weights_bytes(), 32_000);
    let ids = aimass_tensor::Tensor::from_slice(&[2], &[7u32, 999]).unwrap();
    let outputs = plan.run(&[ids], None).unwrap();
    let got = outputs[0].as_slice::<f32>().unwrap();
    let at = |row: usize| source.bytes.as_slice()[row * 32..row * 32 + 32].to_vec();
    assert_eq!(bytes(got), [at(7), at(999)].concat());
}

#[test]
fn a_source_that_fails_or_lies_fails_the_plan() {
    struct Broken(bool);
    impl WeightSource for Broken {
        fn len(&self) -> u64 {
            1 << 20
        }
        fn digest(&self) -> [u8; 32] {
            [u8::from(self.0) + 202; 32]
        }
        fn read(&self, _: Range<u64>) -> Result<Buffer, WeightError> {
            match self.0 {
                true => Err(WeightError { message: "the disk is gone".to_owned() }),
                false => Ok(Buffer::shared(Arc::new(vec![0u8; 3]))),
            }
        }
    }
    for fails in [true, false] {
        let mut b = builder();
        let x = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(4)]).unwrap();
        let w: ValueId = b.weight("w", DType::F32, &[4, 4], Arc::new(Broken(fails)), 64).unwrap();
        let y = b.linear(x, w, None, false).unwrap();
        b.output("y", y).unwrap();
        let error = compile(b.finish().unwrap(), &CompileOptions::default()).unwrap_err();
        assert_eq!(error.code(), "weight", "{error}");
    }
}

#[test]
fn a_weight_outside_its_file_is_refused() {
    let mut b = builder();
    let file = source(vec![0; 64]);
    for (dims, offset) in [(&[17u64][..], 0u64), (&[16], 1), (&[1], u64::MAX), (&[u64::MAX / 4], 0)]
    {
        let error = b.weight("w", DType::F32, dims, file.clone(), offset).unwrap_err();
        assert!(matches!(error.code(), "out-of-range" | "dtype" | "elements"), "{error}");
    }
    assert!(b.weight("w", DType::F32, &[16], file, 0).is_ok());
}

#[test]
fn a_packed_weight_need_not_stay_in_memory_and_one_that_is_read_in_place_must() {
    let content = bytes(&Random(5).numbers(K * N));
    let len = content.len() as u64;
    let packed = Counted::new(content.clone(), 11);
    let _plan = linear_plan(packed.clone(), DType::F32, 0);
    assert_eq!(packed.released.load(Ordering::Relaxed), len);
    let in_place = Counted::new(content, 12);
    let mut b = builder();
    let indices = b.input("i", DType::I32, &[Dim::Batch]).unwrap();
    let table = b.weight("t", DType::F32, &[K as u64, N as u64], in_place.clone(), 0).unwrap();
    let y = b.gather(table, indices, 0).unwrap();
    b.output("y", y).unwrap();
    let _plan = plan(b);
    assert_eq!(in_place.released.load(Ordering::Relaxed), 0);
}

/// A store in memory that counts.
#[derive(Default)]
struct Shelf {
    entries: Mutex<HashMap<[u8; 32], Vec<u8>>>,
    found: AtomicU64,
}

impl PackedStore for Shelf {
    fn get(&self, key: &[u8; 32]) -> Option<Buffer> {
        let entry = self.entries.lock().unwrap().get(key)?.clone();
        self.found.fetch_add(1, Ordering::Relaxed);
        let mut bytes = BufferMut::zeroed(entry.len());
        bytes.as_mut_slice().copy_from_slice(&entry);
        Some(bytes.freeze())
    }

    fn put(&self, key: &[u8; 32], bytes: &[u8]) {
        self.entries.lock().unwrap().insert(*key, bytes.to_vec());
    }
}

#[test]
fn packed_weights_come_from_the_store_at_the_next_start() {
    const WIDE: usize = 160;
    let shelf = Arc::new(Shelf::default());
    let numbers = Random(6).numbers(WIDE * WIDE);
    let x = f32s(&[2, WIDE], &Random(7).numbers(2 * WIDE));
    let run = |store: Option<Arc<dyn PackedStore>>| {
        let source = Counted::new(bytes(&numbers), 21);
        let mut b = builder();
        let x_in = b.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(WIDE as u64)]).unwrap();
        let extents = [WIDE as u64, WIDE as u64];
        let w = b.weight("w", DType::F32, &extents, source.clone(), 0).unwrap();
        let y = b.linear(x_in, w, None, false).unwrap();
        b.output("y", y).unwrap();
        let options = CompileOptions { packed_store: store, ..Default::default() };
        let plan = compile(b.finish().unwrap(), &options).unwrap();
        let read = source.read.load(Ordering::Relaxed);
        let y = plan.run(std::slice::from_ref(&x), None).unwrap()[0].bytes().to_vec();
        (read, y)
    };
    let (_, plain) = run(None);
    let (read, first) = run(Some(shelf.clone()));
    assert_eq!((read, shelf.found.load(Ordering::Relaxed)), (4 * (WIDE * WIDE) as u64, 0));
    let (read, second) = run(Some(shelf.clone()));
    assert_eq!((read, shelf.found.load(Ordering::Relaxed)), (0, 1));
    assert!(plain == first && plain == second);
    // An entry of another size is as good as none.
    shelf.entries.lock().unwrap().values_mut().for_each(|entry| entry.truncate(64));
    let (read, third) = run(Some(shelf));
    assert_eq!(read, 4 * (WIDE * WIDE) as u64);
    assert_eq!(plain, third);
}
