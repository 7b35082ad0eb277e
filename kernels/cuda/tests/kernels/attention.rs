//! Attention: equal and ragged sequences, masks, shared heads, one query to many keys, paged keys.

use crate::reference::{Guarded, Random, close, decode, device, encode, epsilon};
use aimass_cuda::Form;
use aimass_cuda::attention::{
    AttentionOperands, AttentionShape, Columns, Mask, Sequences, attention, attention_scratch,
};
use aimass_cuda::attention_decode::{Decode, Pages, attention_decode, decode_scratch};

const FORMS: [Form; 3] = [Form::F32, Form::F16, Form::Bf16];

/// A matrix whose rows begin `offset` elements in and lie `row` elements apart, among other numbers.
#[derive(Clone)]
struct Matrix {
    numbers: Vec<f64>,
    offset: usize,
    row: usize,
}

impl Matrix {
    fn random(random: &mut Random, form: Form, rows: usize, row: usize, offset: usize) -> Matrix {
        Matrix { numbers: random.floats(form, offset + rows * row), offset, row }
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.numbers[self.offset + row * self.row + column]
    }

    fn upload(&self, form: Form) -> Guarded {
        Guarded::new(&encode(form, &self.numbers))
    }

    fn columns<'m>(&self, form: Form, memory: &'m Guarded) -> Columns<'m> {
        let start = self.offset * form.bytes();
        let slice = memory.slice();
        let slice = slice.part(start, slice.bytes() - start).expect("a part");
        Columns { slice, row: self.row as u32 }
    }
}

/// One head of one query by the definition: `(score of a key, value of a key and column)`.
fn query(
    keys: usize,
    dim: usize,
    score: impl Fn(usize) -> f64,
    value: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let scores: Vec<f64> = (0..keys).map(score).collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY && !scores.iter().any(|x| x.is_nan()) {
        return vec![0.0; dim];
    }
    let weights: Vec<f64> = scores.iter().map(|x| (x - largest).exp()).collect();
    let sum: f64 = weights.iter().sum();
    let column =
        |d| weights.iter().enumerate().map(|(key, w)| w * value(key, d)).sum::<f64>() / sum;
    (0..dim).map(column).collect()
}

/// Extents of a case.
#[derive(Clone, Debug)]
struct Case {
    heads: usize,
    kv_heads: usize,
    dim: usize,
    causal: bool,
    /// Queries and keys of each sequence.
    sequences: Vec<(usize, usize)>,
    ragged: bool,
    /// Extents of the mask: sequences, heads, queries, keys, each 1 or all.
    mask: Option<[bool; 4]>,
    offset: usize,
}

impl Case {
    fn new(heads: usize, kv_heads: usize, dim: usize, sequences: &[(usize, usize)]) -> Case {
        let sequences = sequences.to_vec();
        Case {
            heads,
            kv_heads,
            dim,
            causal: false,
            sequences,
            ragged: false,
            mask: None,
            offset: 0,
        }
    }

    fn shape(&self) -> AttentionShape {
        AttentionShape {
            heads: self.heads as u32,
            kv_heads: self.kv_heads as u32,
            head_dim: self.dim as u32,
            scale: 1.0 / (self.dim as f32).sqrt(),
            causal: self.causal,
        }
    }

    /// Strides and numbers of the mask; every seventh number hides, and all of the first query's.
    fn mask(&self, random: &mut Random, form: Form) -> Option<([usize; 4], Vec<f64>)> {
        let whole = self.mask?;
        let (queries, keys) = self.sequences[0];
        let full = [self.sequences.len(), self.heads, queries, keys];
        let mut extents = [1; 4];
        let mut strides = [0; 4];
        let mut step = 1;
        for axis in (0..4).rev() {
            if whole[axis] {
                (extents[axis], strides[axis]) = (full[axis], step);
                step *= full[axis];
            }
        }
        let mut numbers = random.floats(form, extents.iter().product());
        for (i, x) in numbers.iter_mut().enumerate() {
            if i % 7 == 3 || whole[2] && whole[3] && i < keys {
                *x = f64::NEG_INFINITY;
            }
        }
        Some((strides, numbers))
    }

    fn check(&self, form: Form, seed: u64) {
        let mut random = Random::new(seed);
        let (width, kv_width) = (self.heads * self.dim, self.kv_heads * self.dim);
        let queries: usize = self.sequences.iter().map(|own| own.0).sum();
        let keys: usize = self.sequences.iter().map(|own| own.1).sum();
        let pad = if self.offset == 0 { 16 } else { 3 };
        let q = Matrix::random(&mut random, form, queries, width + pad, self.offset);
        let k = Matrix::random(&mut random, form, keys, kv_width, self.offset);
        let v = Matrix::random(&mut random, form, keys, kv_width + pad, self.offset);
        let mask = self.mask(&mut random, form);
        let y =
            Matrix { numbers: vec![f64::NAN; self.offset + queries * (width + pad)], ..q.clone() };
        let found = self.run(form, [&q, &k, &v, &y], mask.as_ref());
        let expected = self.expected([&q, &k, &v], mask.as_ref());
        let tolerance = if form == Form::F32 { 2e-5 } else { 2.0 * epsilon(form) };
        close(&format!("{self:?} {form:?}"), &found, &expected, tolerance);
    }

    fn run(
        &self,
        form: Form,
        [q, k, v, y]: [&Matrix; 4],
        mask: Option<&([usize; 4], Vec<f64>)>,
    ) -> Vec<f64> {
        let places = [q, k, v, y].map(|matrix| matrix.upload(form));
        let mut offsets = vec![0u32];
        for (queries, _) in &self.sequences {
            offsets.push(offsets[offsets.len() - 1] + *queries as u32);
        }
        let bytes: Vec<u8> = offsets.iter().flat_map(|x| x.to_le_bytes()).collect();
        let (offsets, count) = (Guarded::new(&bytes), self.sequences.len() as u32);
        let rows: usize = self.sequences.iter().map(|own| own.0).sum();
        let sequences = match self.ragged {
            true => Sequences::Ragged { offsets: offsets.slice(), count, rows: rows as u32 },
            false => {
                let (queries, keys) = self.sequences.first().copied().unwrap_or_default();
                Sequences::Equal { count, queries: queries as u32, keys: keys as u32 }
            }
        };
        let scratch = Guarded::poisoned(attention_scratch(&self.shape(), &sequences));
        let numbers = mask.map(|(_, numbers)| Guarded::new(&encode(form, numbers)));
        let mask = mask.zip(numbers.as_ref()).map(|((strides, _), memory)| {
            let [sequence, head, query, key] = strides.map(|stride| stride as u32);
            Mask { slice: memory.slice(), sequence, head, query, key }
        });
        let operands = AttentionOperands {
            q: q.columns(form, &places[0]),
            k: k.columns(form, &places[1]),
            v: v.columns(form, &places[2]),
            mask,
            y: y.columns(form, &places[3]),
            scratch: scratch.slice(),
        };
        let mut queue = device().queue().expect("a turn");
        attention(&mut queue, form, &self.shape(), &sequences, &operands).expect("launches");
        scratch.content(&mut queue);
        let all = decode(form, &places[3].content(&mut queue));
        let width = self.heads * self.dim;
        let row = |row: usize| all[y.offset + row * y.row..][..width].to_vec();
        assert!(all[..y.offset].iter().all(|x| x.is_nan()), "{self:?}: written before the rows");
        for i in 0..rows {
            let beside = &all[y.offset + i * y.row + width..y.offset + (i + 1) * y.row];
            assert!(beside.iter().all(|x| x.is_nan()), "{self:?}: written beside row {i}");
        }
        (0..rows).flat_map(row).collect()
    }

    fn expected(&self, [q, k, v]: [&Matrix; 3], mask: Option<&([usize; 4], Vec<f64>)>) -> Vec<f64> {
        let mut all = Vec::new();
        let (mut first_query, mut first_key) = (0, 0);
        for (sequence, &(queries, keys)) in self.sequences.iter().enumerate() {
            for i in 0..queries {
                for head in 0..self.heads {
                    let kv_head = head / (self.heads / self.kv_heads);
                    let score = |j: usize| {
                        let products = (0..self.dim).map(|d| {
                            q.at(first_query + i, head * self.dim + d)
                                * k.at(first_key + j, kv_head * self.dim + d)
                        });
                        let own = mask.map_or(0.0, |([s, h, q, k], numbers)| {
                            numbers[sequence * s + head * h + i * q + j * k]
                        });
                        let hidden = self.causal && j + queries > i + keys;
                        let score = products.sum::<f64>() / (self.dim as f64).sqrt() + own;
                        if hidden { f64::NEG_INFINITY } else { score }
                    };
                    let value = |j: usize, d: usize| v.at(first_key + j, kv_head * self.dim + d);
                    all.extend(query(keys, self.dim, score, value));
                }
            }
            (first_query, first_key) = (first_query + queries, first_key + keys);
        }
        all
    }
}

/// Sequences, heads and masks at random. Hidden keys may weigh on what is not a number or not.
pub(crate) fn draw_attention(random: &mut Random) {
    let kv_heads = 1 + random.below(3);
    let dim = random.of(&[1, 3, 8, 16, 32, 33, 40, 64, 80, 128, 132, 264]);
    let mut case = Case::new(kv_heads * (1 + random.below(3)), kv_heads, dim, &[]);
    (case.causal, case.ragged) = (random.below(2) == 0, random.below(2) == 0);
    case.offset = random.below(2);
    let count = random.below(4);
    if case.ragged {
        case.sequences = (0..count).map(|_| random.extent(70)).map(|len| (len, len)).collect();
    } else {
        let queries = random.extent(70);
        case.sequences = vec![(queries, random.extent(140)); count];
        let axes = random.below(16);
        // A mask has the extents of the first sequence.
        let masked = count > 0 && random.below(2) == 0;
        case.mask = masked.then_some([axes & 1 != 0, axes & 2 != 0, axes & 4 != 0, axes & 8 != 0]);
    }
    case.check(random.of(&FORMS), random.bits());
}

/// A cache in pages at random.
pub(crate) fn draw_attention_decode(random: &mut Random) {
    let form = random.of(&FORMS);
    paged(form, 1 + random.below(17), 1 + random.below(24), 1 + random.below(5));
}

#[test]
fn equal_sequences_of_every_extent_of_a_head() {
    for form in FORMS {
        for (seed, dim) in
            [1, 7, 16, 32, 33, 64, 80, 96, 128, 160, 256, 264].into_iter().enumerate()
        {
            for (causal, (queries, keys)) in [(false, (3, 70)), (true, (67, 67))] {
                let case = Case::new(2, 2, dim, &[(queries, keys); 2]);
                Case { causal, ..case }.check(form, seed as u64);
            }
        }
    }
}

#[test]
fn queries_and_keys_around_the_tiles() {
    for form in FORMS {
        for (queries, keys) in
            [(2, 1), (2, 0), (0, 5), (63, 31), (64, 32), (65, 33), (129, 128), (130, 5)]
        {
            for causal in [false, true] {
                let case = Case::new(1, 1, 64, &[(queries, keys)]);
                Case { causal, ..case }.check(form, (queries * 1000 + keys) as u64);
            }
        }
    }
}

#[test]
fn heads_share_keys() {
    for form in FORMS {
        for (heads, kv_heads) in [(4, 2), (6, 1), (8, 8)] {
            Case { causal: true, ..Case::new(heads, kv_heads, 40, &[(34, 50); 2]) }.check(form, 5);
        }
    }
}

#[test]
fn a_mask_of_any_broadcast_is_added_and_a_query_without_keys_gives_zeros() {
    for form in FORMS {
        for axes in 0..16 {
            let mask = Some([axes & 1 != 0, axes & 2 != 0, axes & 4 != 0, axes & 8 != 0]);
            Case { mask, ..Case::new(2, 2, 32, &[(5, 67); 3]) }.check(form, axes);
            Case { mask, ..Case::new(2, 1, 32, &[(1, 300); 3]) }.check(form, axes);
        }
    }
}

#[test]
fn the_lowest_finite_mask_hides_from_those_alone_who_see_others() {
    let mut random = Random::new(8);
    for form in FORMS {
        let case =
            Case { mask: Some([false, false, true, true]), ..Case::new(1, 1, 16, &[(4, 9)]) };
        let lowest = match form {
            Form::F16 => -65504.0,
            Form::F32 => f64::from(f32::MIN),
            _ => f64::from(half::bf16::MIN),
        };
        let [q, k, v] = [4, 9, 9].map(|rows| Matrix::random(&mut random, form, rows, 16, 0));
        let y = Matrix { numbers: vec![f64::NAN; 4 * 16], ..q.clone() };
        let mask = ([0, 0, 9, 1], vec![lowest; 36]);
        let found = case.run(form, [&q, &k, &v, &y], Some(&mask));
        for (d, &found) in found.iter().enumerate().take(16) {
            let mean = (0..9).map(|j| v.at(j, d)).sum::<f64>() / 9.0;
            // In f16 the scores still count beside the lowest number.
            if form != Form::F16 {
                close(&format!("{form:?}"), &[found], &[mean], 2.0 * epsilon(form).max(1e-6));
            }
        }
        assert!(found.iter().all(|x| x.is_finite()));
    }
}

#[test]
fn ragged_sequences_see_their_own_rows() {
    let lengths = [
        vec![0, 3, 0, 0, 65, 64, 1, 0],
        vec![130],
        vec![31, 32, 33, 127, 128, 129],
        vec![1; 70],
        vec![0, 0],
        vec![],
    ];
    for form in FORMS {
        for (seed, lengths) in lengths.iter().enumerate() {
            let sequences: Vec<(usize, usize)> = lengths.iter().map(|&len| (len, len)).collect();
            for (causal, dim) in [(false, 32), (true, 64), (true, 288)] {
                if dim == 288 && seed > 0 {
                    continue;
                }
                let case = Case::new(2, 1, dim, &sequences);
                Case { ragged: true, causal, ..case }.check(form, seed as u64);
            }
        }
    }
}

#[test]
fn rows_that_are_not_aligned() {
    for form in FORMS {
        for (queries, keys) in [(20, 40), (1, 40)] {
            for dim in [16, 60, 128] {
                Case { offset: 1, ..Case::new(2, 1, dim, &[(queries, keys)]) }.check(form, 9);
            }
        }
    }
}

#[test]
fn one_query_to_many_keys() {
    for form in FORMS {
        for keys in [0, 1, 31, 255, 256, 257, 700] {
            for (heads, kv_heads, dim) in
                [(2, 2, 64), (3, 1, 128), (5, 1, 16), (1, 1, 100), (4, 1, 256), (2, 1, 3)]
            {
                Case::new(heads, kv_heads, dim, &[(1, keys); 2]).check(form, keys as u64);
            }
        }
    }
}

#[test]
fn what_is_not_a_number_reaches_its_own_row_alone() {
    let mut random = Random::new(3);
    for form in FORMS {
        let case = Case::new(1, 1, 32, &[(40, 50)]);
        let [mut q, k, v] = [40, 50, 50].map(|rows| Matrix::random(&mut random, form, rows, 32, 0));
        q.numbers[7 * 32 + 5] = f64::NAN;
        q.numbers[9 * 32 + 1] = f64::INFINITY;
        let y = Matrix { numbers: vec![0.0; 40 * 32], ..q.clone() };
        let y = Matrix { numbers: y.numbers.iter().map(|_| f64::NAN).collect(), ..y };
        let found = case.run(form, [&q, &k, &v, &y], None);
        for (row, numbers) in found.chunks(32).enumerate() {
            let nan = numbers.iter().all(|x| x.is_nan());
            assert_eq!(nan, row == 7 || row == 9, "{form:?} row {row}");
        }
    }
}

#[test]
fn keys_in_pages_of_a_cache() {
    for form in FORMS {
        for (page, pages, each) in [(16, 40, 3), (5, 70, 1), (1, 300, 4)] {
            paged(form, page, pages, each);
        }
    }
}

/// Sequences whose keys lie in pages; `each` heads share keys.
fn paged(form: Form, page: usize, pages: usize, each: usize) {
    let mut random = Random::new(page as u64);
    let (heads, kv_heads, dim) = (2 * each, 2, 64);
    let keys_max = page * pages;
    let lengths = [keys_max, 0, 1, 257.min(keys_max), 90.min(keys_max)];
    let cache_pages = pages * lengths.len() + 3;
    let rows = cache_pages * page;
    let q = Matrix::random(&mut random, form, lengths.len(), heads * dim, 0);
    let k = Matrix::random(&mut random, form, rows, kv_heads * dim, 0);
    let v = Matrix::random(&mut random, form, rows, kv_heads * dim, 0);
    // Pages in an order that is not theirs.
    let table: Vec<u32> =
        (0..pages * lengths.len()).map(|i| ((i * 7919 + 2) % cache_pages) as u32).collect();
    let bytes = |x: &[u32]| x.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let places = [&q, &k, &v].map(|matrix| matrix.upload(form));
    let table_at = Guarded::new(&bytes(&table));
    let lengths_at = Guarded::new(&bytes(&lengths.map(|len| len as u32)));
    let y = Guarded::poisoned(lengths.len() * heads * dim * form.bytes());
    let shape = AttentionShape {
        heads: heads as u32,
        kv_heads: kv_heads as u32,
        head_dim: dim as u32,
        scale: 0.125,
        causal: true,
    };
    let sequences = lengths.len() as u32;
    let scratch = Guarded::poisoned(decode_scratch(&shape, sequences, keys_max as u32));
    let step = Decode {
        sequences,
        keys: keys_max as u32,
        q: q.columns(form, &places[0]),
        k: k.columns(form, &places[1]),
        v: v.columns(form, &places[2]),
        mask: None,
        y: Columns { slice: y.slice(), row: (heads * dim) as u32 },
        lengths: lengths_at.slice(),
        pages: Some(Pages {
            table: table_at.slice(),
            pages: pages as u32,
            keys: page as u32,
            rows: rows as u32,
        }),
        scratch: scratch.slice(),
    };
    let mut queue = device().queue().expect("a turn");
    attention_decode(&mut queue, form, &shape, &step).expect("launches");
    let found = decode(form, &y.content(&mut queue));
    let mut expected = Vec::new();
    for (sequence, &len) in lengths.iter().enumerate() {
        let row = |j: usize| table[sequence * pages + j / page] as usize * page + j % page;
        for head in 0..heads {
            let kv = head / each * dim;
            let score = |j: usize| {
                (0..dim).map(|d| q.at(sequence, head * dim + d) * k.at(row(j), kv + d)).sum::<f64>()
                    * 0.125
            };
            expected.extend(query(len, dim, score, |j, d| v.at(row(j), kv + d)));
        }
    }
    let tolerance = if form == Form::F32 { 2e-5 } else { 2.0 * epsilon(form) };
    close(&format!("{form:?} {page} {pages}"), &found, &expected, tolerance);
}

#[test]
fn operands_that_are_too_short_are_refused() {
    let case = Case::new(2, 1, 8, &[(4, 6)]);
    let lengths = [4 * 16, 6 * 8, 6 * 8, 4 * 16];
    for short in 0..=4 {
        let places: Vec<Guarded> = lengths
            .iter()
            .enumerate()
            .map(|(i, &len)| Guarded::poisoned((len - usize::from(i == short)) * 4))
            .collect();
        let columns = |i: usize, row| Columns { slice: places[i].slice(), row };
        let operands = AttentionOperands {
            q: columns(0, 16),
            k: columns(1, 8),
            v: columns(2, 8),
            mask: None,
            y: columns(3, 16),
            scratch: places[0].slice(),
        };
        let sequences = Sequences::Equal { count: 1, queries: 4, keys: 6 };
        let mut queue = device().queue().expect("a turn");
        let outcome = attention(&mut queue, Form::F32, &case.shape(), &sequences, &operands);
        assert_eq!(outcome.is_err(), short < 4, "operand {short}");
    }
}
