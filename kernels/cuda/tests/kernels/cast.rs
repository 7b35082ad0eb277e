//! Conversions, against what Rust's `as` and the crate `half` make of the same numbers.

use crate::moved::{
    INTEGERS, Operand, bytes_left, decode_whole, encode_whole, integers, size, wrapped,
};
use crate::reference::{Random, SIZES};
use aimass_cuda::cast::{cast, castable};
use aimass_tensor::DType;
use half::{bf16, f16};

const FLOATS: [DType; 4] = [DType::F16, DType::Bf16, DType::F32, DType::F64];

/// Numbers that are integers or floats.
#[derive(Clone, Copy, Debug)]
enum Number {
    Whole(i128),
    Real(f64),
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("an element")
}

fn read(dtype: DType, bytes: &[u8]) -> Number {
    match dtype {
        DType::F16 => Number::Real(f16::from_le_bytes(array(bytes)).into()),
        DType::Bf16 => Number::Real(bf16::from_le_bytes(array(bytes)).into()),
        DType::F32 => Number::Real(f32::from_le_bytes(array(bytes)).into()),
        DType::F64 => Number::Real(f64::from_le_bytes(array(bytes))),
        DType::Bool => Number::Whole((bytes[0] != 0).into()),
        dtype => Number::Whole(decode_whole(dtype, bytes)[0]),
    }
}

/// A float that rounds to 11 or 8 bits of precision as `x` does: bits far below only say that there
/// are some. The crate `half` drops them.
fn sticky(x: f64) -> f64 {
    let (bits, low) = (x.to_bits(), x.to_bits() & 0xffff_ffff);
    f64::from_bits((bits - low) | (u64::from(low != 0) << 32))
}

/// As [`sticky`], for an integer that f64 may not hold.
fn sticky_whole(x: i128) -> f64 {
    let size = x.unsigned_abs();
    let drop = (128 - size.leading_zeros()).saturating_sub(30);
    let lead = size >> drop << drop;
    let more = if lead == size { 0 } else { 1u128 << (drop - 1) };
    let approximate = (lead + more) as f64;
    sticky(if x < 0 { -approximate } else { approximate })
}

fn write(dtype: DType, x: Number) -> Vec<u8> {
    match (dtype, x) {
        (DType::Bool, Number::Whole(x)) => vec![(x != 0).into()],
        (DType::Bool, Number::Real(x)) => vec![(x != 0.0).into()],
        (DType::F16, Number::Real(x)) => f16::from_f64(sticky(x)).to_le_bytes().to_vec(),
        (DType::Bf16, Number::Real(x)) => bf16::from_f64(sticky(x)).to_le_bytes().to_vec(),
        (DType::F32, Number::Real(x)) => (x as f32).to_le_bytes().to_vec(),
        (DType::F64, Number::Real(x)) => x.to_le_bytes().to_vec(),
        (DType::F16 | DType::Bf16, Number::Whole(x)) => write(dtype, Number::Real(sticky_whole(x))),
        (DType::F32, Number::Whole(x)) => (x as f32).to_le_bytes().to_vec(),
        (DType::F64, Number::Whole(x)) => (x as f64).to_le_bytes().to_vec(),
        (DType::I8, Number::Real(x)) => (x as i8).to_le_bytes().to_vec(),
        (DType::U8, Number::Real(x)) => (x as u8).to_le_bytes().to_vec(),
        (DType::I16, Number::Real(x)) => (x as i16).to_le_bytes().to_vec(),
        (DType::U16, Number::Real(x)) => (x as u16).to_le_bytes().to_vec(),
        (DType::I32, Number::Real(x)) => (x as i32).to_le_bytes().to_vec(),
        (DType::U32, Number::Real(x)) => (x as u32).to_le_bytes().to_vec(),
        (DType::I64, Number::Real(x)) => (x as i64).to_le_bytes().to_vec(),
        (DType::U64, Number::Real(x)) => (x as u64).to_le_bytes().to_vec(),
        (dtype, Number::Whole(x)) => encode_whole(dtype, &[wrapped(dtype, x)]),
        (dtype, Number::Real(_)) => panic!("no conversion to {dtype}"),
    }
}

/// Content of a dtype: bounds of every other one, halves, NaN, infinities, and anything.
fn content(dtype: DType, n: usize) -> Vec<u8> {
    if dtype == DType::Bool {
        return (0..n).map(|i| (i % 3) as u8).collect();
    }
    if !FLOATS.contains(&dtype) {
        return encode_whole(dtype, &integers(dtype, n, n as u64));
    }
    let bounds = [7, 8, 15, 16, 31, 32, 63, 64].map(|bits| 2f64.powi(bits));
    let near = bounds.iter().flat_map(|&b| [b, b - 1.0, b - 0.5, -b, -b - 1.0, b.next_down()]);
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.5, -0.5, 1.5, 2.5, 65519.9];
    let ties = [1.0 + 2f64.powi(-11), 1.0 + 2f64.powi(-11) + 2f64.powi(-40), 1e-7, 3e-8, 1e300];
    let mut random = Random::new(n as u64);
    let any = std::iter::from_fn(|| Some(random.float() * 300.0));
    let numbers = special.into_iter().chain(ties).chain(near).chain(any).take(n);
    numbers.flat_map(|x| write(dtype, Number::Real(x))).collect()
}

fn is_nan(dtype: DType, bytes: &[u8]) -> bool {
    matches!(read(dtype, bytes), Number::Real(x) if x.is_nan())
}

fn types() -> impl Iterator<Item = DType> {
    INTEGERS.into_iter().chain(FLOATS).chain([DType::Bool])
}

/// One conversion of `bytes`, operands each `skip` of its elements off alignment.
fn check(from: DType, to: DType, bytes: &[u8], skip: [usize; 2]) {
    assert!(castable(from, to));
    let n = bytes.len() / size(from);
    let x = Operand::new(bytes, skip[0] * size(from));
    let found = bytes_left(n * size(to), skip[1] * size(to), |queue, out| {
        cast(queue, (x.slice(), from), (out, to), n as u32)
    });
    for (x, found) in bytes.chunks(size(from)).zip(found.chunks(size(to))) {
        let number = read(from, x);
        let expected = write(to, number);
        let same = found == expected || is_nan(to, found) && is_nan(to, &expected);
        assert!(same, "{number:?} of {from} to {to}: {found:?}, not {expected:?}");
    }
}

pub(crate) fn draw_cast(random: &mut Random) {
    let types: Vec<DType> = types().collect();
    let (from, to) = (random.of(&types), random.of(&types));
    let bytes = content(from, random.extent(5000));
    check(from, to, &bytes, [random.below(4), random.below(4)]);
}

#[test]
fn numbers_convert_between_all_types() {
    for from in types() {
        // The last is more than the grid has threads, four elements each.
        for &n in SIZES.iter().chain(&[4099]) {
            let bytes = content(from, n);
            for (to, skip) in types().flat_map(|to| [(to, 0), (to, 1)]) {
                check(from, to, &bytes, [skip; 2]);
            }
        }
    }
}

#[test]
fn packed_types_have_no_conversion() {
    assert!(!castable(DType::F32, DType::Q4K) && !castable(DType::I4, DType::I8));
    assert!(!castable(DType::Bytes, DType::F32));
}
