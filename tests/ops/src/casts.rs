//! Conversions: every pair of dtypes, and every code of the narrow floats.

use crate::backend::run_op;
use crate::moves::WHOLE;
use crate::narrow::Format;
use crate::reference::{Array, Case, check, codes, numbers, refused, text};
use aimass_tensor::{DType, Shape, Tensor};

pub(crate) const CASES: &[Case] = &[("cast", cast)];

const NARROW: [DType; 6] =
    [DType::F16, DType::Bf16, DType::F8E4m3, DType::F8E5m2, DType::F8E4m3Fnuz, DType::F8E5m2Fnuz];

fn cast() {
    every_pair_of_dtypes();
    floats_to_integers();
    every_code_of_a_narrow_float();
    every_seam_between_two_codes();
    results_of_other_implementations();
    packed_integers();
    let x = Array::new(&[1], [1.0]).f32();
    refused("cast", std::slice::from_ref(&x), &[text("dtype", "q4_0")], "dtype");
    refused("cast", std::slice::from_ref(&x), &[text("dtype", "bytes")], "dtype");
    refused("cast", &[x], &[text("dtype", "other")], "argument");
}

fn to(x: &Tensor, dtype: DType) -> Tensor {
    let attributes = [text("dtype", dtype.name())];
    run_op("cast", std::slice::from_ref(x), &attributes).unwrap().remove(0)
}

fn every_pair_of_dtypes() {
    for shape in [&[2usize, 3][..], &[], &[0, 4], &[999]] {
        let count = shape.iter().product::<usize>();
        let x = Array::new(shape, (0..count).map(|i| (i % 5) as f64));
        for from in WHOLE {
            for to in WHOLE {
                let expected = match DType::Bool {
                    bool if from == bool || to == bool => x.map(|x| f64::from(x != 0.0)),
                    _ => x.clone(),
                };
                check("cast", &[x.tensor(from)], &[text("dtype", to.name())], &expected, 0.0);
            }
        }
    }
}

fn floats_to_integers() {
    let x = Array::new(&[6], [-1.5, 300.0, f64::NAN, 2.9, f64::INFINITY, -1e6]);
    for from in [DType::F32, DType::F64, DType::Bf16, DType::F16, DType::F8E5m2] {
        let x = x.tensor(from);
        let cut = |low: f64, high: f64| {
            let cut = |x: f64| if x.is_nan() { 0.0 } else { x.trunc().clamp(low, high) };
            Array::new(&[6], numbers(&x).into_iter().map(cut))
        };
        check("cast", std::slice::from_ref(&x), &[text("dtype", "UINT8")], &cut(0.0, 255.0), 0.0);
        check("cast", std::slice::from_ref(&x), &[text("dtype", "i8")], &cut(-128.0, 127.0), 0.0);
        check(
            "cast",
            std::slice::from_ref(&x),
            &[text("dtype", "u64")],
            &cut(0.0, u64::MAX as f64),
            0.0,
        );
        let expected = Array::new(&[6], [1.0; 6]);
        check("cast", std::slice::from_ref(&x), &[text("dtype", "bool")], &expected, 0.0);
    }
    let wide = Array::new(&[3], [-1.0, 300.0, 65_536.0]);
    let expected = Array::new(&[3], [255.0, 44.0, 0.0]);
    check("cast", &[wide.tensor(DType::I64)], &[text("dtype", "u8")], &expected, 0.0);
    let zeros = Array::new(&[2], [0.0, -0.0]).f32();
    for dtype in NARROW {
        let signs: Vec<bool> =
            numbers(&to(&zeros, dtype)).iter().map(|x| x.is_sign_negative()).collect();
        assert_eq!(signs, [false, !dtype.name().ends_with("fnuz")], "{dtype}");
    }
}

/// All codes of a dtype.
fn all_codes(dtype: DType) -> Tensor {
    let size = dtype.size().unwrap();
    let count = 256usize.pow(size as u32);
    let bytes: Vec<u8> =
        (0..count).flat_map(|code| code.to_le_bytes().into_iter().take(size)).collect();
    Tensor::copy_from(dtype, Shape::new(&[count]).unwrap(), &bytes).unwrap()
}

fn every_code_of_a_narrow_float() {
    for from in NARROW {
        let x = all_codes(from);
        let known = Array::new(x.shape(), numbers(&x));
        check("cast", std::slice::from_ref(&x), &[text("dtype", "f32")], &known, 0.0);
        check("cast", std::slice::from_ref(&x), &[text("dtype", "f64")], &known, 0.0);
        for dtype in NARROW {
            same_codes(&to(&x, dtype), &known, dtype);
        }
    }
}

/// Requires every element to have the code of its number.
fn same_codes(got: &Tensor, known: &Array, dtype: DType) {
    let format = Format::of(dtype).unwrap();
    for (got, &x) in codes(got).into_iter().zip(&known.data) {
        let want = format.encode(x);
        let same = got == want || format.decode(got).is_nan() && format.decode(want).is_nan();
        assert!(same, "{dtype} of {x:?}: expected {want:#x}, got {got:#x}");
    }
}

fn every_seam_between_two_codes() {
    for dtype in NARROW {
        let known = numbers(&all_codes(dtype));
        let finite = known.windows(2).filter(|pair| pair[1].is_finite() && pair[0].is_finite());
        let middles: Vec<f64> = finite.map(|pair| (pair[0] + pair[1]) / 2.0).collect();
        // What an f64 can tell from the middle and an f32 cannot.
        let doubles: Vec<f64> =
            middles.iter().flat_map(|&x| [x, x.next_up(), x.next_down(), -x, x * 1e300]).collect();
        let x = Array::new(&[doubles.len()], doubles);
        same_codes(&to(&x.tensor(DType::F64), dtype), &x, dtype);
        let singles =
            middles.iter().map(|&x| x as f32).flat_map(|x| [x, x.next_up(), x.next_down()]);
        let singles: Vec<f64> = singles.map(f64::from).collect();
        let x = Array::new(&[singles.len()], singles);
        same_codes(&to(&x.f32(), dtype), &x, dtype);
        let whole: Vec<f64> = (0..2000).map(|i| f64::from(i * i * 37 - 9_000_000)).collect();
        let x = Array::new(&[2000], whole);
        same_codes(&to(&x.tensor(DType::I32), dtype), &x, dtype);
    }
}

fn results_of_other_implementations() {
    let golden = include_str!("../golden/narrow_floats.txt");
    assert_eq!(golden.lines().count(), 36);
    let dtype = |name: &str| DType::ALL.into_iter().find(|dtype| dtype.name() == name).unwrap();
    for line in golden.lines() {
        let [from, into, want] = line.split(' ').collect::<Vec<&str>>()[..] else {
            panic!("{line}")
        };
        let got = to(&all_codes(dtype(from)), dtype(into));
        let size = got.dtype().size().unwrap();
        let mut digest = 0xcbf2_9ce4_8422_2325u64;
        for (bytes, x) in got.bytes().chunks_exact(size).zip(numbers(&got)) {
            for &byte in bytes {
                let byte = if x.is_nan() { 0x7f } else { byte };
                digest = (digest ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        }
        assert_eq!(format!("{digest:016x}"), want, "{from} to {into}");
    }
}

fn packed(dtype: DType, elements: usize, bytes: &[u8]) -> Tensor {
    Tensor::copy_from(dtype, Shape::new(&[elements]).unwrap(), bytes).unwrap()
}

fn packed_integers() {
    let (signed, unsigned) =
        (packed(DType::I4, 3, &[0x8f, 0x07]), packed(DType::U4, 3, &[0x8f, 0x07]));
    let (below, above) = (Array::new(&[3], [-1.0, -8.0, 7.0]), Array::new(&[3], [15.0, 8.0, 7.0]));
    for to in [DType::I8, DType::I64, DType::F16, DType::Bf16, DType::F32, DType::F64] {
        let attributes = [text("dtype", to.name())];
        check("cast", std::slice::from_ref(&signed), &attributes, &below, 0.0);
        check("cast", std::slice::from_ref(&unsigned), &attributes, &above, 0.0);
    }
    for from in [DType::I8, DType::I32, DType::F16, DType::F32, DType::F64, DType::F8E5m2] {
        assert_eq!(to(&below.tensor(from), DType::I4).bytes(), signed.bytes(), "{from}");
    }
    for from in [DType::U8, DType::I64, DType::U64, DType::F16, DType::F32] {
        assert_eq!(to(&above.tensor(from), DType::U4).bytes(), unsigned.bytes(), "{from}");
    }
    // Integers wrap, floats saturate.
    let x = Array::new(&[4], [-9.0, 8.0, 16.0, -1.0]);
    assert_eq!(to(&x.tensor(DType::I32), DType::I4).bytes(), [0x87, 0xf0]);
    assert_eq!(to(&x.tensor(DType::I32), DType::U4).bytes(), [0x87, 0xf0]);
    assert_eq!(to(&x.f32(), DType::I4).bytes(), [0x78, 0xf7]);
    assert_eq!(to(&x.f32(), DType::U4).bytes(), [0x80, 0x0f]);
    assert_eq!(to(&signed, DType::U4).bytes(), [0x8f, 0x07]);
    assert_eq!(to(&packed(DType::U4, 0, &[]), DType::F32).byte_len(), 0);
    refused("transpose", &[signed], &[crate::reference::ints("permutation", &[0])], "dtype");
}
