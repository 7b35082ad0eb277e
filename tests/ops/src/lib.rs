//! One suite of op cases, run on every backend through one-node graphs: on the CPU, and with
//! `AIMASS_DEVICE=virtual` on the virtual GPU, with `cuda:0` on the one of this machine.
//!
//! Each op of `wit/graph.wit` has an entry in the table of its family; a test reads the contract
//! and finds the ops that have none. References are naive loops in f64, written here.

#[cfg(test)]
mod backend;
#[cfg(test)]
mod casts;
#[cfg(test)]
mod convolutions;
#[cfg(test)]
mod elementwise;
#[cfg(test)]
mod indexed;
#[cfg(test)]
mod layers;
#[cfg(test)]
mod moves;
#[cfg(test)]
mod narrow;
#[cfg(test)]
mod products;
#[cfg(test)]
mod quantized;
#[cfg(test)]
mod recurrent;
#[cfg(test)]
mod reductions;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod sequences;
#[cfg(test)]
mod shapes;
#[cfg(test)]
mod signals;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::run_op;
    use crate::reference::Case;
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

    fn tables() -> Vec<&'static [Case]> {
        vec![
            casts::CASES,
            convolutions::CASES,
            elementwise::CASES,
            indexed::CASES,
            layers::CASES,
            products::CASES,
            quantized::CASES,
            recurrent::CASES,
            reductions::CASES,
            sequences::CASES,
            shapes::CASES,
            signals::CASES,
        ]
    }

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
            tables().into_iter().flatten().map(|(name, _)| *name).collect();
        for name in &names {
            let refused = run_op(name, &[], &[]).is_err_and(|error| error.code() == "op");
            assert!(tested.contains(name) != refused, "{name}: tested or refused, not both");
        }
        assert!(tested.is_subset(&names), "{:?}", tested.difference(&names));
    }

    fn run(cases: &[Case]) {
        for (name, case) in cases {
            println!("{name}");
            case();
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
