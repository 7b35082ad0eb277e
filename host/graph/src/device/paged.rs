//! Attention to keys and values in the pages of a cache (arXiv:2309.06180 §4.3), read where they lie.
//!
//! A plan gathers pages by a table: `gather(cache [pages, page, width], table [sequences, each], axis 0)`
//! as `[sequences, each page, width]`. Where a sequence has one query, and keys and values one table, the
//! kernel goes by the table itself, and a gather that nothing else reads is not launched.

use super::constants::ConstantError;
use super::gpu::Gpu;
use super::lower::{CachePages, float_form, in_pages};
use super::program::DeviceStep;
use crate::compile::{Draft, Inst};
use crate::graph::ValueId;
use crate::op::{Gather, Op};
use crate::{AttentionOptions, Dim};
use aimass_cuda::Form;
use aimass_cuda::attention::HEAD_MAX;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Most elements of a cache: those of a value on a device.
const ELEMENTS_MAX: u64 = (1 << 31) - 1;

/// Has attention read pages where they lie. `steps` are those of the draft's instructions, one each;
/// gathers without readers become none.
///
/// # Errors
/// [`ConstantError`] if what a lowering needs cannot be brought to the device.
pub(super) fn paged(
    gpu: &Gpu,
    draft: &Draft,
    steps: Vec<DeviceStep>,
) -> Result<Vec<Option<DeviceStep>>, ConstantError> {
    let on_device: Vec<bool> =
        steps.iter().map(|step| matches!(step, DeviceStep::Launch { .. })).collect();
    let finder = Finder { draft, makers: draft.makers(), on_device };
    let mut steps: Vec<Option<DeviceStep>> = steps.into_iter().map(Some).collect();
    let mut gathers = BTreeSet::new();
    for (index, inst) in draft.insts.iter().enumerate() {
        let Some(found) = finder.find(index) else { continue };
        let Found { form, options, cache, inputs, gathers: own } = found;
        steps[index] = Some(DeviceStep::Launch {
            name: "attention(paged)".into(),
            lowered: in_pages(gpu.device(), form, options, cache)?,
            inputs,
            outputs: inst.outputs().to_vec(),
            fault: None,
        });
        gathers.extend(own);
    }
    let read: HashSet<ValueId> = steps
        .iter()
        .flatten()
        .flat_map(inputs)
        .chain(&draft.results)
        .map(|&value| draft.base(value))
        .collect();
    for gather in gathers {
        if !draft.insts[gather].outputs().iter().any(|out| read.contains(out)) {
            steps[gather] = None;
        }
    }
    Ok(steps)
}

fn inputs(step: &DeviceStep) -> &[ValueId] {
    match step {
        DeviceStep::Launch { inputs, .. } => inputs,
        DeviceStep::Host(op) => &op.inputs,
        DeviceStep::Upload(_) | DeviceStep::Download(_) => &[],
    }
}

/// Attention that can read pages.
struct Found {
    form: Form,
    options: AttentionOptions,
    cache: CachePages,
    /// The query, both caches, the table, and a mask if there is one.
    inputs: Vec<ValueId>,
    /// Instructions that gather the pages.
    gathers: [usize; 2],
}

/// Rows of a cache, page by page, as a table says.
struct Gathered {
    gather: usize,
    cache: ValueId,
    table: ValueId,
    pages: CachePages,
}

struct Finder<'a> {
    draft: &'a Draft,
    makers: HashMap<ValueId, usize>,
    /// By instruction.
    on_device: Vec<bool>,
}

impl Finder<'_> {
    fn find(&self, index: usize) -> Option<Found> {
        let Inst::Op { op: Op::Attention(op), inputs, .. } = &self.draft.insts[index] else {
            return None;
        };
        let (options, [q, k, v, mask @ ..]) = (op.options, &inputs[..]) else { return None };
        let spec = self.draft.spec(*q);
        let [_, Dim::Fixed(1), Dim::Fixed(width)] = spec.dims[..] else { return None };
        let decodes = width / u64::from(options.heads) <= HEAD_MAX.into();
        let (keys, values) = (self.gathered(*k)?, self.gathered(*v)?);
        let same = keys.pages == values.pages && self.is_same(keys.table, values.table);
        let mut inputs = vec![*q, keys.cache, values.cache, keys.table];
        inputs.extend(mask);
        let found = Found {
            form: float_form(spec.dtype)?,
            options,
            cache: keys.pages,
            inputs,
            gathers: [keys.gather, values.gather],
        };
        (self.on_device[index] && decodes && same).then_some(found)
    }

    /// Whether two values are the same bytes of the same dtype.
    fn is_same(&self, one: ValueId, other: ValueId) -> bool {
        let dtype = |value: ValueId| self.draft.spec(value).dtype;
        self.draft.root(one) == self.draft.root(other) && dtype(one) == dtype(other)
    }

    /// What a value of `[sequences, keys, width]` gathers, if it consists of whole pages.
    fn gathered(&self, value: ValueId) -> Option<Gathered> {
        let root = self.draft.root(value);
        let gather = *self.makers.get(&root)?;
        let Inst::Op { op: Op::Gather(Gather { axis: 0 }), inputs, .. } = &self.draft.insts[gather]
        else {
            return None;
        };
        let &[cache, table] = &inputs[..] else { return None };
        let (own, rows) = (self.draft.spec(cache), self.draft.spec(value));
        let [sequences, _, Dim::Fixed(width)] = &rows.dims[..] else { return None };
        // A row of the table is then one sequence's, so that its keys are whole pages.
        let by_sequence = [table, self.draft.root(table)].iter().any(
            |&table| matches!(&self.draft.spec(table).dims[..], [first, _] if first == sequences),
        );
        let (first, rest) = own.dims.split_first()?;
        let pages = first.fixed()?;
        let elements = rest.iter().try_fold(1u64, |all, dim| all.checked_mul(dim.fixed()?))?;
        let all = pages.checked_mul(elements).filter(|all| (1..=ELEMENTS_MAX).contains(all));
        let whole = all.is_some() && elements.is_multiple_of(*width);
        if !whole || !by_sequence || own.dtype != rows.dtype || !self.on_device[gather] {
            return None;
        }
        let keys = elements.checked_div(*width)?;
        let pages = CachePages { pages: u32::try_from(pages).ok()?, keys: keys.try_into().ok()? };
        Some(Gathered { gather, cache, table, pages })
    }
}
