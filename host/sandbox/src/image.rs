//! The initialized image: `init` runs once, and the memory that it leaves becomes the component's.
//!
//! A fresh instance then starts where `init` ended, copy-on-write, without reading a file. `init` runs
//! under the same limits as any call. What it must not leave behind is an open handle: the host's side of
//! it ends here.

use crate::compile::Session;
use crate::error::{Cause, SandboxError};
use crate::instance::{Permit, failure, store};
use crate::metrics::Metrics;
use crate::package::PackageInfo;
use crate::sandbox::Sandbox;
use crate::state::{CallContext, CallState};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Store;
use wasmtime::component::{Component, Instance, Linker};
use wasmtime_wizer::{WasmtimeWizerComponent, Wizer};

/// Time to read the memory of an initialized guest; its functions are not of the guest's making.
const SNAPSHOT_MAX: Duration = Duration::from_secs(60);
const INIT: &str = "init";

/// A component that starts where `init` ended.
pub(crate) struct Image {
    pub(crate) component: Vec<u8>,
    /// Whether `init` listed or opened files, so that other files might make another image.
    pub(crate) files_seen: bool,
}

/// Runs `init` and answers the component whose memory is what `init` left.
///
/// # Errors
/// [`SandboxError::Plugin`] if `init` rejects its configuration or fails; [`SandboxError::Image`] if its
/// state cannot be kept.
pub(crate) async fn make(
    sandbox: &Sandbox,
    package: &Arc<PackageInfo>,
    linker: &Linker<CallState>,
    compiler: &mut Session<'_>,
    (component, permit): (&[u8], Permit),
) -> Result<Image, SandboxError> {
    let refused = |message: String| SandboxError::Image { plugin: package.name.clone(), message };
    let mut wizer = Wizer::new();
    wizer.init_func(INIT).keep_init_func(true);
    let (parsed, instrumented) =
        wizer.instrument_component(component).map_err(|error| refused(format!("{error:#}")))?;
    let compiled = sandbox.initializer(package, compiler, &instrumented).await?;
    let _ticking = sandbox.ticker.enter();
    let _permit = permit;
    let context = CallContext::system(package.limits.init_wall_max);
    let mut store = store(sandbox, package, context);
    let instance = run_init(&mut store, linker, &compiled).await;
    let instance = instance.map_err(|error| failed(package, &error, store.data()))?;
    if let Some(reason) = store.data_mut().rejected.take() {
        return Err(package.error(INIT, Cause::Guest(reason)).into());
    }
    if !store.data().table.is_empty() {
        return Err(refused("init left handles open; drop them all before it returns".into()));
    }
    store.data_mut().context.deadline = Instant::now() + SNAPSHOT_MAX;
    store.set_hostcall_fuel(usize::MAX);
    Metrics::add(&sandbox.metrics.images, 1);
    let files_seen = store.data().files_seen;
    let mut state = WasmtimeWizerComponent { store: &mut store, instance };
    let component = wizer.snapshot_component(&parsed, &mut state).await;
    let component = component.map_err(|error| refused(format!("{error:#}")))?;
    Ok(Image { component, files_seen })
}

async fn run_init(
    store: &mut Store<CallState>,
    linker: &Linker<CallState>,
    compiled: &Component,
) -> wasmtime::Result<Instance> {
    let instance = linker.instantiate_async(&mut *store, compiled).await?;
    let init = instance.get_typed_func::<(), ()>(&mut *store, INIT)?;
    init.call_async(&mut *store, ()).await?;
    Ok(instance)
}

fn failed(package: &PackageInfo, error: &wasmtime::Error, state: &CallState) -> SandboxError {
    let (cause, backtrace) = failure(error, state);
    let mut error = package.error(INIT, cause);
    error.backtrace = backtrace;
    error.into()
}
