//! The engine: how wasmtime is configured, and how many instances this machine can hold.
//!
//! Features are an allow-list: what is not named here is off, so that a new wasmtime cannot widen
//! what a plugin may contain.

use crate::limits::MEMORY_BYTES_MAX;
use sha2::{Digest, Sha256};
use wasmparser::WasmFeatures;
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

/// Instances that are never exceeded, however many maps the kernel allows.
const INSTANCES_DEFAULT_MAX: u32 = 1_000;
/// Memory maps left to everything else in the process.
const MAPS_RESERVED: u64 = 10_000;
/// Maps that one instance takes: four of its copy-on-write memory, two of its fiber's stack.
const MAPS_PER_INSTANCE: u64 = 6;
/// What the kernel allows if it does not say.
const MAX_MAP_COUNT_DEFAULT: u64 = 65_530;
/// Elements of one table.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 10_000;
/// Core instances of one component in the pool: modules, adapters, and those that making an image adds. A
/// Python plugin, which links shared libraries, has 40. An instance takes no slot of its own, only a count.
const CORE_INSTANCES_MAX: u32 = 64;

/// The wasmtime engine with its settings' hash, which is a part of every cache key.
pub(crate) struct SandboxEngine {
    pub(crate) wasmtime: Engine,
    pub(crate) settings: [u8; 32],
}

/// Instances that may be live at once: as asked, but never more than the kernel's memory maps hold.
///
/// At that bound an allocation fails and the whole process aborts, so it must not be reached.
pub(crate) fn instances_max(asked: Option<u32>, max_map_count: u64) -> u32 {
    let held = max_map_count.saturating_sub(MAPS_RESERVED) / MAPS_PER_INSTANCE;
    let held = u32::try_from(held).unwrap_or(u32::MAX).max(16);
    asked.unwrap_or(INSTANCES_DEFAULT_MAX).clamp(1, held)
}

/// What this machine gives the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Instances that may be live at once, unless configured.
    pub instances_max: u32,
    /// `vm.max_map_count`, which bounds them.
    pub max_map_count: u64,
    /// Whether the kernel tells which pages an instance wrote (`PAGEMAP_SCAN`).
    pub pagemap_scan: bool,
}

impl Machine {
    /// Asks the kernel.
    pub fn look() -> Machine {
        let max_map_count = max_map_count();
        Machine {
            instances_max: instances_max(None, max_map_count),
            max_map_count,
            pagemap_scan: PoolingAllocationConfig::is_pagemap_scan_available(),
        }
    }
}

/// `vm.max_map_count` of this kernel.
pub(crate) fn max_map_count() -> u64 {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(MAX_MAP_COUNT_DEFAULT)
}

/// Makes the engine for this many live instances; `metering` counts what guests execute.
///
/// # Errors
/// wasmtime's, if the machine cannot reserve the address space.
pub(crate) fn engine(instances: u32, metering: bool) -> wasmtime::Result<SandboxEngine> {
    made(InstanceAllocationStrategy::Pooling(pool(instances)), metering, true)
}

/// As [`engine`], in a worker process: its instances start from a copy of their image, since the files that
/// copy-on-write needs are not among what the jail lets it make.
///
/// # Errors
/// As [`engine`].
pub(crate) fn worker_engine(instances: u32) -> wasmtime::Result<SandboxEngine> {
    made(InstanceAllocationStrategy::Pooling(pool(instances)), false, false)
}

/// Makes an engine that compiles for [`engine`] and holds no instance itself.
///
/// # Errors
/// wasmtime's.
pub(crate) fn compiling_engine(metering: bool) -> wasmtime::Result<SandboxEngine> {
    made(InstanceAllocationStrategy::OnDemand, metering, true)
}

fn made(
    allocation: InstanceAllocationStrategy,
    metering: bool,
    copy_on_write: bool,
) -> wasmtime::Result<SandboxEngine> {
    let mut config = Config::new();
    config
        .strategy(Strategy::Cranelift)
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(metering)
        .memory_reservation(MEMORY_BYTES_MAX as u64)
        .memory_may_move(false)
        .memory_init_cow(copy_on_write)
        .memory_guard_size(32 << 20)
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .native_unwind_info(false)
        .gc_support(false)
        .allocation_strategy(allocation);
    config.wasm_features(FEATURES.complement(), false).wasm_features(FEATURES, true);
    let wasmtime = Engine::new(&config)?;
    let settings = settings_hash(&wasmtime);
    Ok(SandboxEngine { wasmtime, settings })
}

/// WebAssembly features that a plugin may use; everything else is off.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::COMPONENT_MODEL);

/// One slot for each instance, with room for the tables and modules that a component may bring.
fn pool(instances: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_MAX))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(1)
        .max_tables_per_component(4)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_unused_warm_slots(instances.min(INSTANCES_DEFAULT_MAX))
        .decommit_batch_size(64)
        .pagemap_scan(Enabled::Auto);
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        pool.linear_memory_keep_resident(1 << 20).table_keep_resident(64 << 10);
    }
    pool
}

/// Hash of everything that decides whether a compiled component fits this engine: settings, target,
/// features and the version of wasmtime.
fn settings_hash(engine: &Engine) -> [u8; 32] {
    struct Collect(Sha256);
    impl std::hash::Hasher for Collect {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut collect = Collect(Sha256::new());
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut collect);
    collect.0.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_instances_never_exceed_what_the_kernels_maps_hold() {
        assert_eq!(instances_max(None, 65_530), 1_000);
        assert_eq!(instances_max(Some(50_000), 65_530), 9_255);
        assert_eq!(instances_max(Some(4), 65_530), 4);
        assert_eq!(instances_max(Some(0), 65_530), 1);
        assert_eq!(instances_max(None, 0), 16);
    }

    #[test]
    fn two_engines_with_the_same_settings_share_compiled_components() {
        let (one, two) = (engine(2, false).unwrap(), engine(3, false).unwrap());
        assert_eq!(one.settings, two.settings);
        assert_eq!(one.settings, compiling_engine(false).unwrap().settings);
        let metering = engine(2, true).unwrap();
        assert_eq!(metering.settings, compiling_engine(true).unwrap().settings);
        assert_ne!(one.settings, metering.settings, "metered code is other code");
    }
}
