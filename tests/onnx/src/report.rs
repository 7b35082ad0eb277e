//! What a run came to, for people and for the documentation.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// Characters of a reason that reports keep.
const REASON_CHARS_MAX: usize = 400;
/// The newest opset whose tests count as one group; newer ones are the other.
const OPSET_SPLIT: u32 = 21;

/// What a test came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every output of every case is as expected.
    Passed,
    /// The reason, in one line.
    Failed(String),
    /// It takes or gives values that are no tensors, which the engine does not have; not run.
    NotTensors,
}

/// A test and what it came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Name of the test.
    pub name: String,
    /// Operator under test.
    pub op: String,
    /// Opset of its model.
    pub opset: u32,
    /// What it came to.
    pub verdict: Verdict,
    /// From before it was published until after it was removed.
    pub time: Duration,
    /// Median time of the last case's last call, if it was repeated.
    pub call: Option<Duration>,
}

/// What a run came to.
pub struct Report {
    /// In the order of the tests.
    pub outcomes: Vec<Outcome>,
}

/// Tests that are counted together; those that are not tensor-valued are not in `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Tests that passed.
    pub passed: usize,
    /// Tests whose inputs and outputs are all tensors.
    pub total: usize,
    /// Tests of other values.
    pub not_tensors: usize,
}

impl Verdict {
    /// A failure; the reason becomes one line of bounded length.
    pub fn failed(reason: &str) -> Verdict {
        let line: Vec<&str> = reason.split_whitespace().collect();
        Verdict::Failed(line.join(" ").chars().take(REASON_CHARS_MAX).collect())
    }
}

impl Group {
    /// The group of a test in [`Report::groups`], by the opset of its model.
    pub fn index(opset: u32) -> usize {
        usize::from(opset > OPSET_SPLIT)
    }

    /// Counts a test.
    pub fn add(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Passed => {
                self.passed += 1;
                self.total += 1;
            }
            Verdict::Failed(_) => self.total += 1,
            Verdict::NotTensors => self.not_tensors += 1,
        }
    }

    /// Whether at least `percent` of the tests passed.
    pub fn reaches(&self, percent: usize) -> bool {
        self.passed * 100 >= self.total * percent
    }

    /// `passed X of Y (Z %)`.
    pub fn text(&self) -> String {
        let percent = 100.0 * self.passed as f64 / self.total.max(1) as f64;
        format!("passed {} of {} ({percent:.1} %)", self.passed, self.total)
    }
}

impl Report {
    /// Tests of opset 21 and older, and of newer ones.
    pub fn groups(&self) -> [Group; 2] {
        let mut groups = [Group::default(); 2];
        for outcome in &self.outcomes {
            groups[Group::index(outcome.opset)].add(&outcome.verdict);
        }
        groups
    }

    /// Tests by operator, in alphabetical order.
    pub fn by_op(&self) -> BTreeMap<&str, Vec<&Outcome>> {
        let mut ops: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
        for outcome in &self.outcomes {
            ops.entry(&outcome.op).or_default().push(outcome);
        }
        ops
    }

    /// One line a failure: name, operator, opset, reason.
    pub fn failures(&self) -> String {
        let mut text = String::new();
        for Outcome { name, op, opset, verdict, .. } in &self.outcomes {
            if let Verdict::Failed(reason) = verdict {
                let _ = writeln!(text, "FAILED {name} ({op}, opset {opset}): {reason}");
            }
        }
        text
    }

    /// One line a test that passed or was not run, with its time.
    pub fn others(&self) -> String {
        let mut text = String::new();
        for Outcome { name, op, opset, verdict, time, call } in &self.outcomes {
            let word = match verdict {
                Verdict::Passed => "passed",
                Verdict::NotTensors => "not tensor-valued",
                Verdict::Failed(_) => continue,
            };
            let call = call.map(|call| format!(", a call {call:.1?}")).unwrap_or_default();
            let _ = writeln!(text, "{word} {name} ({op}, opset {opset}), {time:.1?}{call}");
        }
        text
    }

    /// One line an operator, with passed and total.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (op, outcomes) in self.by_op() {
            let mut group = Group::default();
            outcomes.iter().for_each(|outcome| group.add(&outcome.verdict));
            let mark = if group.passed == group.total { "" } else { "  <" };
            let _ = writeln!(text, "{op:<36} {:>4} of {:>4}{mark}", group.passed, group.total);
        }
        text
    }

    /// The sums.
    pub fn totals(&self) -> String {
        let [old, new] = self.groups();
        format!(
            "opset <= {OPSET_SPLIT}: {}; not tensor-valued, not run: {}\n\
             opset {} and above: {}; not tensor-valued, not run: {}\n",
            old.text(),
            old.not_tensors,
            OPSET_SPLIT + 1,
            new.text(),
            new.not_tensors
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(opset: u32, verdict: Verdict) -> Outcome {
        let time = Duration::ZERO;
        Outcome { name: "test_x".to_owned(), op: "X".to_owned(), opset, verdict, time, call: None }
    }

    #[test]
    fn what_is_not_tensor_valued_is_counted_apart() {
        let report = Report {
            outcomes: vec![
                outcome(21, Verdict::Passed),
                outcome(21, Verdict::failed("two\n lines")),
                outcome(1, Verdict::NotTensors),
                outcome(22, Verdict::Passed),
            ],
        };
        let [old, new] = report.groups();
        assert_eq!(old, Group { passed: 1, total: 2, not_tensors: 1 });
        assert_eq!(new, Group { passed: 1, total: 1, not_tensors: 0 });
        assert!(old.reaches(50) && !old.reaches(51) && new.reaches(100));
        assert_eq!(report.failures(), "FAILED test_x (X, opset 21): two lines\n");
        assert!(report.totals().starts_with("opset <= 21: passed 1 of 2 (50.0 %); not"));
    }
}
