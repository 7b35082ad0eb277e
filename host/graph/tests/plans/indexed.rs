//! Rows, memory and errors of ops by index, and linear layers of halves.

use crate::support::{builder, f32s, plan, weight};
use aimass_graph::{
    Attribute, BadRow, Coalescing, Contraction, Dim, GraphBuilder, ScatterMode, ValueId, run_op,
};
use aimass_tensor::{DType, Tensor};

fn batch(b: &mut GraphBuilder, name: &str, dtype: DType, extents: &[u64]) -> ValueId {
    let mut dims = vec![Dim::Batch];
    dims.extend(extents.iter().map(|&extent| Dim::Fixed(extent)));
    b.input(name, dtype, &dims).unwrap()
}

#[test]
fn elements_of_rows_are_joined_and_a_bad_index_names_its_row() {
    let mut b = builder();
    let x = batch(&mut b, "x", DType::F32, &[3]);
    let at = batch(&mut b, "at", DType::I64, &[2]);
    let y = b.gather_elements(x, at, 1).unwrap();
    // `y` ends here, so that the update takes its memory.
    let y = b.relu(y).unwrap();
    let y = b.scatter_elements(y, at, y, 1, ScatterMode::Add).unwrap();
    b.output("y", y).unwrap();
    let plan = plan(b);
    assert_eq!(*plan.coalescing(), Coalescing::Batch);
    let x = f32s(&[2, 3], &[1., 2., 3., 4., 5., 6.]);
    let at = Tensor::from_slice(&[2, 2], &[1i64, 0, 1, 1]).unwrap();
    let y = plan.run(&[x.clone(), at], None).unwrap();
    assert_eq!(y[0].as_slice::<f32>().unwrap(), [3., 3., 5., 15.]);
    let at = Tensor::from_slice(&[2, 2], &[0i64, 0, 0, 3]).unwrap();
    let error = plan.run(&[x, at], None).unwrap_err();
    assert_eq!((error.bad_row(), error.code()), (Some(BadRow::Batch(1)), "index"));
    assert!(error.to_string().starts_with("gather-elements: index 3"), "{error}");
}

#[test]
fn an_update_in_place_leaves_what_is_read_later() {
    let mut b = builder();
    let x = b.input("x", DType::F32, &[Dim::Fixed(3)]).unwrap();
    let at = b.constant(Tensor::from_slice(&[1, 1], &[1i64]).unwrap()).unwrap();
    let new = b.constant(f32s(&[1], &[9.0])).unwrap();
    let kept = b.neg(x).unwrap();
    let changed = b.scatter_nd(kept, at, new, ScatterMode::Replace).unwrap();
    let again = b.scatter_nd(changed, at, new, ScatterMode::Add).unwrap();
    let sum = b.add(kept, again).unwrap();
    b.output("sum", sum).unwrap();
    let y = plan(b).run(&[f32s(&[3], &[1., 2., 3.])], None).unwrap();
    assert_eq!(y[0].as_slice::<f32>().unwrap(), [-2., 16., -6.]);
}

#[test]
fn ops_by_index_that_would_mix_rows_are_refused() {
    let mut b = builder();
    let x = batch(&mut b, "x", DType::F32, &[3]);
    let at = batch(&mut b, "at", DType::I64, &[2]);
    let table = weight(&mut b, &[3, 2], &[0.0; 6]);
    let updates = batch(&mut b, "updates", DType::F32, &[2]);
    let replace = ScatterMode::Replace;
    let first = Contraction { contract_x: &[0], contract_y: &[0], ..Default::default() };
    let errors = [
        b.gather_elements(x, at, 0).unwrap_err(),
        b.gather_nd(x, at, 0).unwrap_err(),
        b.scatter_elements(x, at, updates, 0, replace).unwrap_err(),
        b.scatter_elements(table, at, updates, 0, replace).unwrap_err(),
        b.scatter_nd(table, at, updates, replace).unwrap_err(),
        b.non_zero(x).unwrap_err(),
        b.cumulative_prod(x, 0, false, false).unwrap_err(),
        b.dot_general(x, x, first).unwrap_err(),
        b.dot_general(x, x, Contraction::default()).unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.code(), "dim-class", "{error}");
    }
    let dims = |value: ValueId, b: &GraphBuilder| b.spec(value).unwrap().dims[0].clone();
    let at = b.gather_elements(table, at, 0).unwrap();
    assert_eq!(dims(at, &b), Dim::Batch);
    let last = Contraction { contract_x: &[1], contract_y: &[0], ..Default::default() };
    let y = b.dot_general(x, table, last).unwrap();
    assert_eq!(dims(y, &b), Dim::Batch);
    let rows = Contraction { batch_x: &[0], batch_y: &[0], contract_x: &[1], contract_y: &[1] };
    let y = b.dot_general(x, x, rows).unwrap();
    assert_eq!(b.spec(y).unwrap().dims, [Dim::Batch]);
}

#[test]
fn a_linear_layer_of_halves_packs_its_weights() {
    let text = |dtype: &str| [("dtype".to_owned(), Attribute::Text(dtype.to_owned()))];
    let cast = |x: Tensor, dtype: &str| run_op("cast", &[x], &text(dtype)).unwrap().remove(0);
    let mut b = builder();
    let x = batch(&mut b, "x", DType::F16, &[2]);
    let w = b.constant(cast(f32s(&[2, 3], &[1., 2., 3., 4., 5., 6.]), "f16")).unwrap();
    let bias = b.constant(cast(f32s(&[3], &[0.5, 0., -0.5]), "f16")).unwrap();
    let y = b.linear(x, w, Some(bias), false).unwrap();
    let y = b.matmul(y, w);
    assert_eq!(y.unwrap_err().code(), "shape");
    let y = b.linear(x, w, Some(bias), false).unwrap();
    b.output("y", y).unwrap();
    let plan = plan(b);
    assert_eq!(plan.stats().matrices, 1);
    let x = cast(f32s(&[2, 2], &[1., 0., 1., 2.]), "f16");
    let y = plan.run(&[x], None).unwrap().remove(0);
    assert_eq!(y.dtype(), DType::F16);
    let y = cast(y, "f32");
    assert_eq!(y.as_slice::<f32>().unwrap(), [1.5, 2., 2.5, 9.5, 12., 14.5]);
}
