//! Elementwise launches that follow each other, as one kernel that is made when the program is.
//!
//! A group ends in one op, whose output has the extents of every value inside; what is inside is read
//! by the group alone. Values that the device's compiler or its limits do not let in are read from
//! memory, as before. What cannot be made is launched op by op.

use super::call::Lowered;
use super::gpu::Gpu;
use super::lower::function;
use super::program::DeviceStep;
use crate::compile::{Draft, Inst};
use crate::graph::ValueId;
use aimass_cuda::Slice;
use aimass_cuda::fused::{Expression, FusedKernel, INPUTS_MAX, Operand, STEPS_MAX};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Puts one launch in the place of each group of elementwise ones. `steps` are those of the draft's
/// instructions, one each, or none where others do its work.
pub(super) fn fused(
    gpu: &Gpu,
    draft: &Draft,
    mut steps: Vec<Option<DeviceStep>>,
) -> Vec<DeviceStep> {
    if !gpu.fuses() {
        return steps.into_iter().flatten().collect();
    }
    let fusable = |index: usize| {
        let on_device = matches!(steps[index], Some(DeviceStep::Launch { .. }));
        on_device && inside(draft, &draft.insts[index])
    };
    let fusable: Vec<bool> = (0..draft.insts.len()).map(fusable).collect();
    let mut kernels: Vec<(Expression, Arc<FusedKernel>)> = Vec::new();
    let mut tried = 0;
    for group in Groups::new(draft, fusable).all() {
        let Some(expression) = group.expression(draft) else { continue };
        let known = kernels.iter().find(|(own, _)| *own == expression);
        let kernel = match known.map(|(_, kernel)| kernel.clone()) {
            Some(kernel) => kernel,
            None if tried == gpu.options().fused_kernels_max => continue,
            None => {
                tried += 1;
                match FusedKernel::new(gpu.device(), &expression) {
                    Ok(kernel) => {
                        kernels.push((expression, kernel.clone()));
                        kernel
                    }
                    Err(error) => {
                        gpu.fusion_refused(&error);
                        continue;
                    }
                }
            }
        };
        gpu.fused(group.members.len());
        let names: Vec<&str> =
            group.members.iter().map(|&member| name(&draft.insts[member])).collect();
        let name = format!("fused({})", names.join(" ")).into();
        let lowered = Lowered::new(move |call| {
            let inputs: Vec<(Slice<'_>, &[usize])> =
                call.inputs.iter().map(|input| (input.slice, &input.shape[..])).collect();
            let output = &call.outputs[0];
            kernel.launch(call.queue, &inputs, (output.slice, &output.shape))
        });
        let (inputs, outputs) = (group.inputs, draft.insts[group.root].outputs().to_vec());
        for &member in &group.members {
            steps[member] = None;
        }
        steps[group.root] =
            Some(DeviceStep::Launch { name, lowered, inputs, outputs, fault: None });
    }
    steps.into_iter().flatten().collect()
}

fn name(inst: &Inst) -> &'static str {
    match inst {
        Inst::Op { op, .. } => op.rule().name(),
        Inst::Linear(_) | Inst::Image(_) => "layer",
    }
}

/// Whether a kernel made at run time can compute the instruction.
fn inside(draft: &Draft, inst: &Inst) -> bool {
    match inst {
        Inst::Op { op, inputs, .. } => {
            let first = inputs.first().map(|&input| draft.spec(input).dtype);
            first.is_some_and(|dtype| function(op, dtype).is_some())
        }
        Inst::Linear(_) | Inst::Image(_) => false,
    }
}

/// Instructions that become one kernel.
struct Group {
    root: usize,
    /// In order, the root last.
    members: Vec<usize>,
    /// Values from outside, in order.
    inputs: Vec<ValueId>,
}

/// How groups are found.
struct Groups<'a> {
    draft: &'a Draft,
    /// Instructions that a group may take.
    free: Vec<bool>,
    makers: HashMap<ValueId, usize>,
    /// Instructions that read each value; none in place of one that reads it otherwise than as it is.
    readers: HashMap<ValueId, Option<Vec<usize>>>,
}

impl<'a> Groups<'a> {
    fn new(draft: &'a Draft, free: Vec<bool>) -> Groups<'a> {
        let mut readers: HashMap<ValueId, Option<Vec<usize>>> = HashMap::new();
        for (index, inst) in draft.insts.iter().enumerate() {
            for value in inst.inputs() {
                let base = draft.base(value);
                let known = readers.entry(base).or_insert_with(|| Some(Vec::new()));
                match known {
                    Some(all) if base == value => all.push(index),
                    Some(_) | None => *known = None,
                }
            }
        }
        for &result in &draft.results {
            readers.insert(draft.base(result), None);
        }
        Groups { draft, free, makers: draft.makers(), readers }
    }

    /// Every group of two or more, the last first; no two share an instruction.
    fn all(mut self) -> Vec<Group> {
        let mut groups = Vec::new();
        for root in (0..self.draft.insts.len()).rev() {
            if self.free[root] {
                let group = self.group(root);
                if group.members.len() > 1 {
                    group.members.iter().for_each(|&member| self.free[member] = false);
                    groups.push(group);
                }
            }
        }
        groups
    }

    /// The largest group that ends here, taken from the last to the first: when an instruction is looked
    /// at, it is known of all that read it whether they are inside.
    fn group(&self, root: usize) -> Group {
        let mut members = BTreeSet::from([root]);
        let mut inputs: Vec<ValueId> = distinct(self.draft.insts[root].inputs());
        let mut candidates = self.candidates(&inputs);
        while let Some(index) = candidates.pop_last() {
            let inst = &self.draft.insts[index];
            let &[out] = inst.outputs() else { continue };
            if members.len() == STEPS_MAX || !self.is_inner(root, out, &members) {
                continue;
            }
            let kept = inputs.iter().copied().filter(|&value| value != out);
            let wanted = distinct(kept.chain(inst.inputs()).collect());
            if wanted.len() <= INPUTS_MAX {
                inputs = wanted;
                members.insert(index);
                candidates.extend(self.candidates(&inst.inputs()));
            }
        }
        Group { root, members: members.into_iter().collect(), inputs }
    }

    fn candidates(&self, values: &[ValueId]) -> BTreeSet<usize> {
        let maker = |value: &ValueId| self.makers.get(value).copied();
        values.iter().filter_map(maker).filter(|&index| self.free[index]).collect()
    }

    /// Whether a value need not be in memory once these instructions are one kernel.
    fn is_inner(&self, root: usize, value: ValueId, members: &BTreeSet<usize>) -> bool {
        let [out] = self.draft.insts[root].outputs() else { return false };
        let alone = match self.readers.get(&value) {
            Some(Some(readers)) => readers.iter().all(|reader| members.contains(reader)),
            Some(None) | None => false,
        };
        alone && self.draft.spec(value).dims == self.draft.spec(*out).dims
    }
}

fn distinct(values: Vec<ValueId>) -> Vec<ValueId> {
    let mut seen = HashSet::new();
    values.into_iter().filter(|&value| seen.insert(value)).collect()
}

impl Group {
    /// What the kernel computes; none if an op or a dtype has no place in one.
    fn expression(&self, draft: &Draft) -> Option<Expression> {
        let mut expression = Expression::default();
        let mut known: HashMap<ValueId, Operand> = HashMap::new();
        for &input in &self.inputs {
            known.insert(input, expression.input(draft.spec(input).dtype)?);
        }
        for &member in &self.members {
            let Inst::Op { op, inputs, outputs } = &draft.insts[member] else { return None };
            let function = function(op, draft.spec(inputs[0]).dtype)?;
            let operands: Vec<Operand> =
                inputs.iter().map(|input| known.get(input).copied()).collect::<Option<_>>()?;
            known.insert(outputs[0], expression.push(function, &operands)?);
        }
        Some(expression)
    }
}
