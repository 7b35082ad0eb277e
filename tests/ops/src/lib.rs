//! One suite of op cases, run on every backend through one-node graphs: [`run`] does it on a GPU, for
//! `aimass device report`. The tests of this crate do it on the CPU, with `AIMASS_DEVICE=virtual` on the
//! virtual GPU, with `cuda:0` on the one of this machine.
//!
//! Each op of `wit/graph.wit` has an entry in the table of its family; a test reads the contract
//! and finds the ops that have none. References are naive loops in f64, written here. A case is a test: it
//! fails by a panic, which [`run`] catches.

#![allow(clippy::unwrap_used, reason = "a case fails by panics")]

mod backend;
mod casts;
mod convolutions;
mod elementwise;
mod indexed;
mod layers;
mod moves;
mod narrow;
mod panics;
mod products;
mod quantized;
mod recurrent;
mod reductions;
mod reference;
mod sequences;
mod shapes;
mod signals;
mod suite;
#[cfg(test)]
mod test_device;

pub use suite::{CaseOutcome, SuiteOutcome, run};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Scope, run_op};
    use crate::reference::Case;
    use crate::suite::FAMILIES;
    use std::collections::BTreeSet;

    /// Methods of the builder that are no ops.
    const NO_OPS: &[&str] = &[
        "offsets",
        "input",
        "weight",
        "constant",
        "constant-tensor",
        "state",
        "state-write",
        "output",
        "describe",
        "finish",
    ];

    #[test]
    fn every_op_of_the_contract_has_cases_or_is_refused_by_name() {
        let wit = include_str!("../../../wit/graph.wit");
        let builder = wit.split_once("resource builder {").unwrap().1;
        let names = builder.lines().filter_map(|line| {
            let (name, rest) = line.trim().split_once(": ")?;
            let method = rest.starts_with("func(") || rest.starts_with("static func(");
            (method && !NO_OPS.contains(&name)).then_some(name)
        });
        let names: BTreeSet<&str> = names.collect();
        assert!(names.len() > 120, "the contract was not understood: {names:?}");
        let tested: BTreeSet<&str> =
            FAMILIES.iter().flat_map(|(_, cases)| *cases).map(|(name, _)| *name).collect();
        let _scope = Scope::of(test_device::named());
        for name in &names {
            let refused = run_op(name, &[], &[]).is_err_and(|error| error.code() == "op");
            assert!(tested.contains(name) != refused, "{name}: tested or refused, not both");
        }
        assert!(tested.is_subset(&names), "{:?}", tested.difference(&names));
    }

    fn run(cases: &[Case]) {
        for (name, case) in cases {
            println!("{name}");
            let scope = Scope::of(test_device::named());
            case();
            for form in scope.end().on_cpu {
                println!("on the CPU: {form}");
            }
        }
    }

    #[test]
    fn convolutions_and_pooling() {
        run(convolutions::CASES);
    }

    #[test]
    fn conversions() {
        run(casts::CASES);
    }

    #[test]
    fn elementwise_ops() {
        run(elementwise::CASES);
    }

    #[test]
    fn elements_and_slices_by_index() {
        run(indexed::CASES);
    }

    #[test]
    fn layers_of_networks() {
        run(layers::CASES);
    }

    #[test]
    fn elements_of_every_dtype_move_alike() {
        run(moves::CASES);
    }

    #[test]
    fn products_of_matrices() {
        run(products::CASES);
    }

    #[test]
    fn quantized_numbers() {
        run(quantized::CASES);
    }

    #[test]
    fn recurrent_layers() {
        run(recurrent::CASES);
    }

    #[test]
    fn reductions_and_selections() {
        run(reductions::CASES);
    }

    #[test]
    fn ops_on_sequences() {
        run(sequences::CASES);
    }

    #[test]
    fn positions_transforms_bags_and_boxes() {
        run(signals::CASES);
    }

    #[test]
    fn ops_on_shapes() {
        run(shapes::CASES);
    }
}
