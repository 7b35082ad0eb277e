//! Pooling of the rows of sequences, and of rows of a table that sequences name.

use crate::placed::{FLOATS, Placed};
use crate::reference::{Guarded, Random, close, device, epsilon, rounded};
use aimass_cuda::ragged_pool::{Named, Pooling, Ragged, ragged_pool, ragged_pool_named};
use aimass_cuda::{Form, IndexType};

const KINDS: [Pooling; 5] =
    [Pooling::Mean, Pooling::Sum, Pooling::Max, Pooling::First, Pooling::Last];
const OFFSETS: [f64; 8] = [0.0, 3.0, 3.0, 4.0, 50.0, 300.0, 301.0, 301.0];

fn words(x: &[f64]) -> Guarded {
    Guarded::new(&crate::reference::encode(Form::I32, x))
}

fn expected(kind: Pooling, rows: &[&[f64]], column: usize) -> f64 {
    let own = rows.iter().map(|row| row[column]);
    let count = rows.len() as f64;
    if rows.is_empty() {
        return 0.0;
    }
    match kind {
        Pooling::Sum => own.sum(),
        Pooling::Mean => own.sum::<f64>() / count,
        Pooling::Max => own.fold(f64::NEG_INFINITY, |a, x| match a.is_nan() || x.is_nan() {
            true => f64::NAN,
            false => a.max(x),
        }),
        Pooling::First => rows[0][column],
        Pooling::Last => rows[rows.len() - 1][column],
    }
}

fn check(kind: Pooling, form: Form, columns: usize, shift: usize, index_type: Option<IndexType>) {
    let places = 301;
    let rows = if index_type.is_some() { 40 } else { places };
    let mut x = Random::new(columns as u64).floats(form, rows * columns);
    if columns > 2 {
        x[20 * columns + 1] = f64::NAN;
    }
    let names: Vec<f64> = (0..places).map(|i| ((i * 7919) % rows) as f64).collect();
    let sequences = OFFSETS.len() - 1;
    let (from, to) =
        (Placed::new(form, shift, &x), Placed::poisoned(form, shift, sequences * columns));
    let (offsets, fault) = (words(&OFFSETS), Guarded::new(&[0xff; 8]));
    let ragged = Ragged {
        x: from.slice(),
        offsets: offsets.slice(),
        y: to.slice(),
        rows: rows as u32,
        columns: columns as u32,
        sequences: sequences as u32,
    };
    let mut queue = device().queue().expect("a turn");
    match index_type {
        None => ragged_pool(&mut queue, kind, form, &ragged).expect("a launch"),
        Some(index_type) => {
            let form_of_indices = if index_type == IndexType::I64 { Form::I64 } else { Form::I32 };
            let indices = Placed::new(form_of_indices, 1, &names);
            let (indices, count, fault) = (indices.slice(), places as u32, fault.slice());
            let named = Named { indices, index_type, count, fault };
            ragged_pool_named(&mut queue, kind, form, &ragged, &named).expect("a launch");
            queue.synchronize().expect("an end");
        }
    }
    let row = |place: usize| match index_type {
        Some(_) => &x[names[place] as usize * columns..][..columns],
        None => &x[place * columns..][..columns],
    };
    let want: Vec<f64> = OFFSETS
        .windows(2)
        .flat_map(|pair| {
            let own: Vec<&[f64]> = (pair[0] as usize..pair[1] as usize).map(row).collect();
            (0..columns).map(move |column| expected(kind, &own, column)).collect::<Vec<f64>>()
        })
        .map(|y| rounded(form, y))
        .collect();
    let what = format!("{kind:?} {form:?} columns {columns} shift {shift} {index_type:?}");
    close(&what, &to.numbers(&mut queue), &want, 2.0 * epsilon(form).max(2e-5));
    assert_eq!(fault.content(&mut queue), [0xff; 8], "{what}");
}

pub(crate) fn draw_ragged_pool(random: &mut Random) {
    check(random.of(&KINDS), random.of(&FLOATS), random.extent(300), random.below(4), None);
}

pub(crate) fn draw_ragged_pool_named(random: &mut Random) {
    let index_type = random.of(&[IndexType::I32, IndexType::U32, IndexType::I64]);
    let kind = random.of(&[Pooling::Sum, Pooling::Mean]);
    check(kind, random.of(&FLOATS), random.extent(200), random.below(4), Some(index_type));
}

#[test]
fn rows_of_sequences_become_one() {
    for form in FLOATS {
        for columns in [0, 1, 31, 33, 64, 257, 1024] {
            for kind in KINDS {
                check(kind, form, columns, columns % 3, None);
            }
        }
    }
}

#[test]
fn named_rows_of_a_table_become_one() {
    for form in FLOATS {
        for (columns, index_type) in [
            (1, IndexType::I32),
            (33, IndexType::I64),
            (128, IndexType::U32),
            (128, IndexType::I64),
        ] {
            check(Pooling::Sum, form, columns, 0, Some(index_type));
            check(Pooling::Mean, form, columns, 1, Some(index_type));
        }
    }
}

#[test]
fn names_and_offsets_outside_read_nothing() {
    let x = Placed::new(Form::F32, 0, &[1.0, 2.0, 4.0, 8.0]);
    let to = Placed::poisoned(Form::F32, 0, 4);
    let indices = Placed::new(Form::I64, 0, &[0.0, 1.0, 2.0, -1.0, 1.0, 1e15]);
    let (offsets, fault) = (words(&[0.0, 5.0, 900.0]), Guarded::new(&[0xff; 8]));
    let ragged = Ragged {
        x: x.slice(),
        offsets: offsets.slice(),
        y: to.slice(),
        rows: 2,
        columns: 2,
        sequences: 2,
    };
    let named = Named {
        indices: indices.slice(),
        index_type: IndexType::I64,
        count: 6,
        fault: fault.slice(),
    };
    let mut queue = device().queue().expect("a turn");
    ragged_pool_named(&mut queue, Pooling::Sum, Form::F32, &ragged, &named).expect("a launch");
    assert_eq!(to.numbers(&mut queue), [9.0, 18.0, 0.0, 0.0]);
    assert_eq!(fault.content(&mut queue), 2u64.to_le_bytes());
    ragged_pool(&mut queue, Pooling::Sum, Form::F32, &ragged).expect("a launch");
    assert_eq!(to.numbers(&mut queue), [5.0, 10.0, 0.0, 0.0]);
}
