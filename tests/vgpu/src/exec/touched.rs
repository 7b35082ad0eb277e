//! Which bytes of global memory a launch touches, and what they held before.

use std::collections::BTreeMap;

/// Bytes by address.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    bytes: BTreeMap<u64, Byte>,
}

#[derive(Clone, Copy, Debug)]
struct Byte {
    before: u8,
    written: bool,
}

/// Bytes that lie side by side, and were all written or all read alone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Of the first.
    pub(crate) address: u64,
    /// Whether the launch wrote them.
    pub(crate) written: bool,
    /// What they held before.
    pub(crate) before: Vec<u8>,
}

impl Touched {
    /// Bytes are about to be touched and hold `content`.
    pub(crate) fn note(&mut self, address: u64, content: &[u8], written: bool) {
        for (at, &before) in (address..).zip(content) {
            self.bytes.entry(at).or_insert(Byte { before, written: false }).written |= written;
        }
    }

    /// What was touched, by address.
    pub(crate) fn into_runs(self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (address, Byte { before, written }) in self.bytes {
            match runs.last_mut() {
                Some(run)
                    if run.written == written
                        && run.address + run.before.len() as u64 == address =>
                {
                    run.before.push(before);
                }
                _ => runs.push(Run { address, written, before: vec![before] }),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_content_stays_and_runs_end_where_bytes_differ() {
        let mut touched = Touched::default();
        touched.note(10, &[1, 2], false);
        touched.note(12, &[3], true);
        touched.note(12, &[9], false);
        touched.note(20, &[7], false);
        touched.note(11, &[8], true);
        let run = |address, written, before: &[u8]| Run { address, written, before: before.into() };
        let expected = [run(10, false, &[1]), run(11, true, &[2, 3]), run(20, false, &[7])];
        assert_eq!(touched.into_runs(), expected);
    }
}
