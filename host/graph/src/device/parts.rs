//! Batches that do not fit the device's memory whole: they run there in parts of their rows.

use super::program::Program;
use super::run::Placed;
use crate::plan::Plan;
use crate::rows::RowRule;
use aimass_tensor::Tensor;

impl Plan {
    /// Runs a program of this plan. A batch that is too large for the device's memory is halved until its
    /// parts fit; the CPU takes it only if a single row does not, if rows are not independent, or if
    /// there would be more than [`GpuOptions::parts_max`](super::GpuOptions::parts_max) parts.
    pub(crate) fn run_on_device(
        &self,
        program: &Program,
        inputs: &[Tensor],
        states: Option<&mut Vec<Tensor>>,
    ) -> Placed {
        match program.run(inputs, states) {
            Placed::TooLarge(error) => {
                let outputs = self.joins().then(|| self.in_parts(program, inputs)).flatten();
                match outputs {
                    Some(outputs) => {
                        program.gpu().ran_in_parts();
                        Placed::Done(outputs)
                    }
                    None => {
                        program.gpu().fell_back(&error);
                        Placed::Elsewhere
                    }
                }
            }
            other @ (Placed::Done(_) | Placed::Refused(_) | Placed::Elsewhere) => other,
        }
    }

    /// The outputs of a batch whose parts all ran on the device. What goes wrong in a part is found again
    /// by whoever runs the whole, with the right row.
    fn in_parts(&self, program: &Program, inputs: &[Tensor]) -> Option<Vec<Tensor>> {
        let rule = RowRule::of(self.signature());
        let parts_max = program.gpu().options().parts_max;
        // The parts that follow, the next one last.
        let mut waiting: Vec<Vec<Tensor>> = rule.halves(inputs)?.into_iter().rev().collect();
        let mut done = Vec::new();
        while let Some(part) = waiting.pop() {
            if waiting.len() + done.len() >= parts_max {
                return None;
            }
            match program.run(&part, None) {
                Placed::Done(outputs) => done.push(outputs),
                Placed::TooLarge(_) => waiting.extend(rule.halves(&part)?.into_iter().rev()),
                Placed::Refused(_) | Placed::Elsewhere => return None,
            }
        }
        Some(rule.join_outputs(&done))
    }
}
