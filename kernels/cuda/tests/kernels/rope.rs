//! Rotary position embedding.

use crate::placed::{FLOATS, Placed};
use crate::reference::{Random, close, device, epsilon, rounded};
use aimass_cuda::rope::{Rope, rope, turns};
use aimass_cuda::{DeviceError, Form, IndexType};

/// Shapes `[rows, heads, size]`.
const SHAPES: &[(u32, u32, u32)] =
    &[(0, 2, 4), (1, 1, 2), (5, 3, 6), (33, 4, 64), (7, 9, 128), (300, 17, 128), (2, 2, 0)];

fn check(form: Form, &(rows, heads, size): &(u32, u32, u32), interleaved: bool, kind: IndexType) {
    let x = Random::new(7).floats(form, (rows * heads * size) as usize);
    let positions = match kind {
        IndexType::I64 => vec![0.0, 7.0, -3.0, 100_000.0, 1.0],
        IndexType::I32 => vec![-1.0, 2.0, 4096.0],
        IndexType::U32 => vec![3.0, 131_071.0],
    };
    let form_of_positions = if kind == IndexType::I64 { Form::I64 } else { Form::I32 };
    let positions_at = Placed::new(form_of_positions, 1, &positions);
    let table: Vec<u8> = turns(size, 10_000.0).iter().flat_map(|turn| turn.to_le_bytes()).collect();
    let table = Placed::of_bytes(Form::I64, 0, &table);
    let (from, to) = (Placed::new(form, 1, &x), Placed::poisoned(form, 0, x.len()));
    let mut operands = Rope {
        x: from.slice(),
        y: to.slice(),
        positions: positions_at.slice(),
        index_type: kind,
        positions_count: positions.len() as u32,
        turns: table.slice(),
        rows,
        heads,
        size,
        interleaved,
    };
    let mut queue = device().queue().expect("a turn");
    rope(&mut queue, form, &operands).expect("a launch");
    let (size, columns, half) = (size as usize, (heads * size) as usize, size as usize / 2);
    let want: Vec<f64> = (0..x.len())
        .map(|at| {
            let (row, own) = (at / columns, at % size);
            let (i, second, other) = match interleaved {
                true => (own / 2, own % 2 == 1, at ^ 1),
                false if own < half => (own, false, at + half),
                false => (own - half, true, at - half),
            };
            let speed = 10_000f64.powf(-2.0 * i as f64 / size as f64);
            let (sine, cosine) = (positions[row % positions.len()] * speed).sin_cos();
            rounded(form, x[at] * cosine + if second { x[other] * sine } else { -x[other] * sine })
        })
        .collect();
    let what = format!("{form:?} [{rows}, {heads}, {size}] {interleaved} {kind:?}");
    close(&what, &to.numbers(&mut queue), &want, 2.0 * epsilon(form).max(1e-6));
    operands.y = operands.x;
    rope(&mut queue, form, &operands).expect("a launch");
    assert_eq!(from.bytes(&mut queue), to.bytes(&mut queue), "in place: {what}");
}

pub(crate) fn draw_rope(random: &mut Random) {
    let (rows, heads) = (random.below(40) as u32, random.below(9) as u32);
    let shape = (rows, heads, 2 * random.below(70) as u32);
    let kind = random.of(&[IndexType::I32, IndexType::I64, IndexType::U32]);
    check(random.of(&FLOATS), &shape, random.below(2) == 0, kind);
}

#[test]
fn heads_turn_by_their_position() {
    for form in FLOATS {
        for shape in SHAPES {
            for interleaved in [false, true] {
                for kind in [IndexType::I32, IndexType::I64, IndexType::U32] {
                    check(form, shape, interleaved, kind);
                }
            }
        }
    }
}

#[test]
fn odd_heads_and_missing_positions_are_refused() {
    let x = Placed::new(Form::F32, 0, &[1.0; 12]);
    let operands = Rope {
        x: x.slice(),
        y: x.slice(),
        positions: x.slice(),
        index_type: IndexType::I32,
        positions_count: 1,
        turns: x.slice(),
        rows: 1,
        heads: 3,
        size: 4,
        interleaved: false,
    };
    let mut queue = device().queue().expect("a turn");
    let wrong = [
        Rope { heads: 4, size: 3, ..operands },
        Rope { positions_count: 0, ..operands },
        Rope { positions_count: 13, ..operands },
        Rope { rows: 2, ..operands },
        Rope { heads: 1, size: 14, ..operands },
    ];
    for operands in wrong {
        let refused = rope(&mut queue, Form::F32, &operands);
        assert!(matches!(refused, Err(DeviceError::Defect(_))), "{operands:?}");
    }
}
