//! `docs/reference/onnx-operators.md`: which node tests pass, operator by operator.

use crate::{Outcome, Report, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Head of the page.
const HEAD: &str = "\
# ONNX operators

Written by `cargo xtask onnx-nodes --write-docs` from the node tests of the `onnx` package (`onnx.backend.test`), each
signed, published and asked through the engine. A test counts where all its inputs and outputs are tensors. Integers,
booleans and strings must be equal; floats as close as the test says (relative 1e-3, absolute 1e-7). An operator with a
function body also has the tests of that body, which count for it.

";

/// The page for a whole run.
pub fn operators_page(report: &Report) -> String {
    let mut text = HEAD.to_owned();
    let totals = report.totals();
    for line in totals.lines() {
        let _ = writeln!(text, "- {line}");
    }
    text.push_str("\n| operator | opsets of its tests | passed |\n|---|---|---|\n");
    for (op, outcomes) in report.by_op() {
        let opsets: BTreeSet<u32> = outcomes.iter().map(|outcome| outcome.opset).collect();
        let opsets: Vec<String> = opsets.iter().map(u32::to_string).collect();
        let _ = writeln!(text, "| {op} | {} | {} |", opsets.join(", "), passed(&outcomes));
    }
    text.push_str("\n## Tests that fail\n\n");
    let mut by_reason: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for outcome in &report.outcomes {
        if let Verdict::Failed(reason) = &outcome.verdict {
            by_reason.entry((&outcome.op, reason)).or_default().push(&outcome.name);
        }
    }
    if by_reason.is_empty() {
        text.push_str("None.\n");
    }
    for ((op, reason), names) in by_reason {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "- {op}: {}: {}", names.join(", "), plain(reason));
    }
    text
}

/// Names of the tests that the page says fail.
pub fn documented_failures(page: &str) -> BTreeSet<&str> {
    let (_, failures) = page.split_once("## Tests that fail").unwrap_or_default();
    let quoted = failures.split('`').skip(1).step_by(2);
    quoted.filter(|word| word.starts_with("test_")).collect()
}

fn passed(outcomes: &[&Outcome]) -> String {
    let count = |wanted: fn(&Verdict) -> bool| {
        outcomes.iter().filter(|outcome| wanted(&outcome.verdict)).count()
    };
    let others = count(|verdict| *verdict == Verdict::NotTensors);
    let total = outcomes.len() - others;
    let own = format!("{} of {total}", count(|verdict| *verdict == Verdict::Passed));
    if others == 0 { own } else { format!("{own}, {others} not tensor-valued") }
}

/// The reason without what Markdown or this page would read as its own.
fn plain(reason: &str) -> String {
    reason.replace('`', "'").replace('|', "/").replace("](", "] (")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_page_names_every_failure_and_only_those() {
        let outcome = |name: &str, verdict| Outcome {
            name: name.to_owned(),
            op: "X".to_owned(),
            opset: 9,
            verdict,
            time: Duration::ZERO,
            call: None,
        };
        let report = Report {
            outcomes: vec![
                outcome("test_a", Verdict::Passed),
                outcome("test_b", Verdict::failed("expected `x`, got `test_c`")),
                outcome("test_d", Verdict::failed("expected `x`, got `test_c`")),
                outcome("test_e", Verdict::NotTensors),
            ],
        };
        let page = operators_page(&report);
        assert!(page.contains("| X | 9 | 1 of 3, 1 not tensor-valued |"), "{page}");
        assert_eq!(documented_failures(&page), BTreeSet::from(["test_b", "test_d"]));
    }
}
