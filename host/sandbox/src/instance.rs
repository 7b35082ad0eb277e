//! One instance for one call: made fresh from the plugin's image, metered, and dropped.
//!
//! A guest runs on a fiber. It yields to other tasks at each tick of the epoch, sleeps while its plan
//! calls are computed, and is stopped at its deadline. Nothing of it survives the call.

use crate::composition::Outside;
use crate::error::Cause;
use crate::metrics::Metrics;
use crate::package::PackageInfo;
use crate::sandbox::Sandbox;
use crate::state::{Account, CallContext, CallState, LimitHit, MemoryLimit};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::component::{ComponentNamedList, InstancePre, Lift, Lower, ResourceTable};
use wasmtime::{Store, Trap, UpdateDeadline, WasmBacktrace};

use crate::epoch::Ticking;
use crate::worlds::exports::Export;

/// Handles beyond those of the table that wasmtime may count: borrows of one call.
const BORROWS_MAX: usize = 256;
/// Frames of a backtrace in the log.
const FRAMES_MAX: usize = 32;

/// Right to have one live instance.
pub(crate) struct Permit {
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Permit {
    pub(crate) fn new(permit: OwnedSemaphorePermit, metrics: Arc<Metrics>) -> Permit {
        Metrics::add(&metrics.instances_live, 1);
        Permit { metrics, _permit: permit }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.metrics.instances_live.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A live instance. Its store goes before its permit: the order of the fields.
pub(crate) struct Instance {
    pub(crate) store: Store<CallState>,
    pub(crate) instance: wasmtime::component::Instance,
    _ticking: Ticking,
    _permit: Permit,
}

/// What one call of this plugin starts with.
pub(crate) fn state(
    sandbox: &Sandbox,
    package: &Arc<PackageInfo>,
    context: CallContext,
) -> CallState {
    let limits = &package.limits;
    let mut table = ResourceTable::new();
    table.set_max_capacity(limits.handles_max);
    CallState {
        table,
        package: package.clone(),
        context,
        outside: Outside::default(),
        dispatcher: sandbox.dispatcher.clone(),
        decoders: sandbox.decoders.clone(),
        metrics: sandbox.metrics.clone(),
        memory: MemoryLimit { bytes_max: limits.memory_bytes_max, bytes: 0, denied: false },
        host_bytes: Account::new(limits.host_bytes_max),
        host_calls: 0,
        log_bytes: 0,
        graphs: 0,
        files_seen: false,
        rejected: None,
    }
}

/// A store for one call of this plugin, with every limit set.
pub(crate) fn store(
    sandbox: &Sandbox,
    package: &Arc<PackageInfo>,
    context: CallContext,
) -> Store<CallState> {
    let limits = &package.limits;
    let state = state(sandbox, package, context);
    let mut store = Store::new(&sandbox.engine.wasmtime, state);
    store.limiter(|state| &mut state.memory);
    if sandbox.metering() {
        store.set_fuel(u64::MAX).expect("the engine counts fuel when it meters");
    }
    store.set_hostcall_fuel(limits.host_copy_bytes_max);
    store.set_max_component_handles(limits.handles_max + BORROWS_MAX);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|cx| {
        if Instant::now() >= cx.data().context.deadline {
            return Err(LimitHit::Deadline.into());
        }
        Ok(UpdateDeadline::Yield(1))
    });
    store
}

impl Instance {
    /// Instructions that were executed since the store was made; `None` if the sandbox does not meter.
    pub(crate) fn instructions(&self) -> Option<u64> {
        self.store.get_fuel().ok().map(|left| u64::MAX - left)
    }

    /// A fresh instance of the plugin's image.
    ///
    /// # Errors
    /// The cause and a backtrace, if it cannot be made or its start function fails.
    pub(crate) async fn fresh(
        sandbox: &Sandbox,
        package: &Arc<PackageInfo>,
        pre: &InstancePre<CallState>,
        (context, permit): (CallContext, Permit),
    ) -> Result<Instance, Failure> {
        let ticking = sandbox.ticker.enter();
        let mut store = store(sandbox, package, context);
        let made = pre.instantiate_async(&mut store).await;
        let instance = made.map_err(|error| failure(&error, store.data()))?;
        Ok(Instance { store, instance, _ticking: ticking, _permit: permit })
    }

    /// Calls an export.
    ///
    /// # Safety
    /// As [`Export::of`].
    ///
    /// # Errors
    /// wasmtime's, for a trap, or an answer that breaks the component model.
    #[expect(unsafe_code, reason = "types are compared once a component, not once a call")]
    pub(crate) async unsafe fn call<A, R>(
        &mut self,
        export: &Export<A, R>,
        arguments: A,
    ) -> wasmtime::Result<R>
    where
        A: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift + 'static,
    {
        // SAFETY: promised by the caller.
        let function = unsafe { export.of(&mut self.store, &self.instance) }?;
        function.call_async(&mut self.store, arguments).await
    }
}

/// Why a call failed, and where in the guest.
pub(crate) type Failure = (Cause, Option<Arc<String>>);

/// Why a call failed, told from wasmtime's error and from the limits that the call ran into.
pub(crate) fn failure(error: &wasmtime::Error, state: &CallState) -> Failure {
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(|trace| Arc::new(frames(trace)));
    (cause(error, state), backtrace)
}

fn cause(error: &wasmtime::Error, state: &CallState) -> Cause {
    let limits = &state.package.limits;
    let handles = Cause::Handles { limit: limits.handles_max as u64 };
    if let Some(hit) = error.downcast_ref::<LimitHit>() {
        return match hit {
            LimitHit::Deadline => Cause::Deadline,
            LimitHit::Handles => handles,
            LimitHit::HostCalls => Cause::HostCalls { limit: limits.host_calls_max },
        };
    }
    if state.memory.denied {
        return Cause::Memory { limit_bytes: limits.memory_bytes_max as u64 };
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return match trap {
            Trap::Interrupt => Cause::Deadline,
            trap => Cause::Trap { message: trap.to_string() },
        };
    }
    // wasmtime has no public types for these two, only their words; tests hold them.
    let message = error.root_cause().to_string();
    if message.contains("fuel allocated for hostcalls") {
        return Cause::HostCopy { limit_bytes: limits.host_copy_bytes_max as u64 };
    }
    if message.contains("store handle limit exceeded") {
        return handles;
    }
    Cause::Trap { message }
}

fn frames(trace: &WasmBacktrace) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for frame in trace.frames().iter().take(FRAMES_MAX) {
        let name = frame.func_name().unwrap_or("?");
        let _ = writeln!(text, "{name} +{:#x}", frame.func_offset().unwrap_or(0));
    }
    text
}
