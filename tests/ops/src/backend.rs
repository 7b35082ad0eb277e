//! Where ops run: on the CPU, or on the device of a [`Scope`].

use aimass_graph::{Attribute, Gpu, RunError};
use aimass_tensor::Tensor;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What ran where.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Ops that the device ran.
    pub(crate) device_runs: usize,
    /// Forms that have no kernel there: an op with the dtypes of its inputs.
    pub(crate) on_cpu: BTreeSet<String>,
}

struct OnDevice {
    gpu: Arc<Gpu>,
    places: Places,
}

thread_local! {
    /// None for the CPU.
    static CURRENT: RefCell<Option<OnDevice>> = const { RefCell::new(None) };
}

/// While it lives, [`run_op`] uses a device for calls of this thread.
#[must_use]
pub(crate) struct Scope {
    outer: Option<OnDevice>,
}

impl Scope {
    /// Of a device; none for the CPU.
    pub(crate) fn of(gpu: Option<&Arc<Gpu>>) -> Scope {
        let inner = gpu.map(|gpu| OnDevice { gpu: gpu.clone(), places: Places::default() });
        Scope { outer: CURRENT.replace(inner) }
    }

    /// Ends it, and tells what ran where.
    pub(crate) fn end(self) -> Places {
        CURRENT.with_borrow_mut(Option::take).map(|inner| inner.places).unwrap_or_default()
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        CURRENT.set(self.outer.take());
    }
}

/// Whether ops of this thread run on a device.
pub(crate) fn is_device() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// As [`aimass_graph::run_op`], on the device of the scope.
///
/// # Panics
/// If the device failed and the CPU did its work.
pub(crate) fn run_op(
    name: &str,
    inputs: &[Tensor],
    attributes: &[(String, Attribute)],
) -> Result<Vec<Tensor>, RunError> {
    let device = CURRENT.with_borrow(|current| current.as_ref().map(|inner| inner.gpu.clone()));
    let Some(gpu) = device else { return aimass_graph::run_op(name, inputs, attributes) };
    let before = gpu.state().fallbacks;
    let (outputs, on_device) = aimass_graph::run_op_on(&gpu, name, inputs, attributes)?;
    let state = gpu.state();
    // Other threads may use the device: what fails for them may be counted, and is a failure all the same.
    if state.fallbacks != before {
        panic!("{name} {inputs:?} {attributes:?}: {}", state.last_error.unwrap_or_default());
    }
    CURRENT.with_borrow_mut(|current| {
        let places = current.as_mut().map(|inner| &mut inner.places);
        match places {
            Some(places) if on_device => places.device_runs += 1,
            Some(places) => _ = places.on_cpu.insert(form(name, inputs)),
            None => {}
        }
    });
    Ok(outputs)
}

/// `add(f64, f64)`.
fn form(name: &str, inputs: &[Tensor]) -> String {
    let dtypes: Vec<String> = inputs.iter().map(|input| input.dtype().to_string()).collect();
    format!("{name}({})", dtypes.join(", "))
}
