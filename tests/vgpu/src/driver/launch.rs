//! Functions: attributes, occupancy, launches.

use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_void};
use std::sync::Arc;

use super::device::{Limits, SHARED_PLAIN, limits};
use super::execution::Work;
use super::module::{Function, function, function_mut};
use super::{Code, Driver, Handle, Out, Outcome, driver_api, host};
use crate::ptx::instruction::Kernel;

/// A launch with its arguments, as it was called.
#[derive(Debug)]
pub(super) struct KernelCall {
    pub(super) kernel: Arc<Kernel>,
    pub(super) symbols: Arc<HashMap<String, u64>>,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) dynamic: u32,
    pub(super) params: Vec<u8>,
}

/// Registers of one block; the hardware gives them by warp, 256 at a time, four warps together.
fn block_registers(registers: u32, threads: u32) -> u32 {
    let warps = threads.div_ceil(32).next_multiple_of(4);
    warps * (registers * 32).next_multiple_of(256)
}

/// Registers of a multiprocessor.
const REGISTERS: u32 = 65536;

fn max_threads(function: &Function) -> u32 {
    let entry = &function.entry;
    let by_registers = (1..=32)
        .rev()
        .find(|warps| block_registers(entry.registers.max(1), warps * 32) <= REGISTERS);
    (by_registers.unwrap_or(1) * 32).min(entry.max_threads.unwrap_or(1024))
}

fn max_dynamic(function: &Function) -> u32 {
    let plain = SHARED_PLAIN.saturating_sub(function.entry.shared_bytes);
    function.max_dynamic.unwrap_or(plain)
}

/// Blocks of so many threads and bytes of shared memory that fit a multiprocessor together.
fn occupancy(limits: Limits, function: &Function, threads: u32, dynamic: u32) -> u32 {
    let warps = threads.div_ceil(32);
    let by_threads = limits.threads / (warps * 32);
    let registers = block_registers(function.entry.registers.max(1), threads);
    let shared = function.entry.shared_bytes + dynamic;
    let shared = (shared + limits.reserved).next_multiple_of(128).max(1);
    let by_shared = if shared == 1 { u32::MAX } else { limits.shared / shared };
    limits.blocks.min(by_threads).min(REGISTERS / registers).min(by_shared)
}

fn attribute(function: &Function, number: c_int) -> Option<c_int> {
    let entry = &function.entry;
    Some(match number {
        0 => max_threads(function) as c_int,
        1 => entry.shared_bytes as c_int,
        2 | 7 => 0,
        3 => entry.local_bytes as c_int,
        4 => entry.registers as c_int,
        5 => function.ptx_version as c_int,
        6 => function.binary_version as c_int,
        8 => max_dynamic(function) as c_int,
        9 => -1,
        _ => return None,
    })
}

/// Sizes of a launch.
#[derive(Clone, Copy, Debug)]
struct Shape {
    grid: [u32; 3],
    block: [u32; 3],
    dynamic: u32,
}

/// What the driver refuses before anything runs.
fn check_shape(function: &Function, shape: Shape) -> Outcome {
    let Shape { grid, block, dynamic } = shape;
    let bounds = [(grid, [i32::MAX as u32, 65535, 65535]), (block, [1024, 1024, 64])];
    for (sizes, most) in bounds {
        if sizes.iter().zip(most).any(|(size, most)| *size == 0 || *size > most) {
            return Err(Code::INVALID_VALUE);
        }
    }
    let threads = block.iter().product::<u32>();
    if threads > 1024 || function.entry.max_threads.is_some_and(|most| threads > most) {
        return Err(Code::INVALID_VALUE);
    }
    if dynamic > max_dynamic(function) {
        return Err(Code::INVALID_VALUE);
    }
    if block_registers(function.entry.registers, threads) > REGISTERS {
        return Err(Code::LAUNCH_OUT_OF_RESOURCES);
    }
    Ok(())
}

impl Driver {
    fn launch(
        &mut self,
        (device, stream): (usize, Handle),
        handle: Handle,
        shape: Shape,
        arguments: *const *const u8,
    ) -> Outcome {
        let function = function(self, device, handle)?.clone();
        check_shape(&function, shape)?;
        let key = self.work_stream(device, stream)?;
        let (kernel, symbols) = match function.kernel.clone() {
            Ok(program) => program,
            Err(problem) => {
                self.findings.push(format!("the cubin's entry cannot be executed: {problem}"));
                return Err(Code::NOT_SUPPORTED);
            }
        };
        if kernel.required_threads.is_some_and(|required| required != shape.block) {
            return Err(Code::INVALID_VALUE);
        }
        let params = parameters(&function, &kernel, arguments)?;
        let Shape { grid, block, dynamic } = shape;
        let call = KernelCall { kernel, symbols, grid, block, dynamic, params };
        self.enqueue(key, Work::Kernel(Arc::new(call)))
    }
}

/// The parameter block, copied from the program's arguments.
fn parameters(
    function: &Function,
    kernel: &Kernel,
    arguments: *const *const u8,
) -> Result<Vec<u8>, Code> {
    if kernel.params.is_empty() {
        return Ok(Vec::new());
    }
    if arguments.is_null() || function.entry.params.len() != kernel.params.len() {
        return Err(Code::INVALID_VALUE);
    }
    let pointers = host::read(arguments.cast(), 8 * kernel.params.len());
    let mut block = Vec::new();
    for (param, pointer) in kernel.params.iter().zip(pointers.chunks_exact(8)) {
        let pointer = pointer.try_into().map_or(0, u64::from_le_bytes);
        if pointer == 0 {
            return Err(Code::INVALID_VALUE);
        }
        block.resize(param.offset as usize, 0);
        block.extend(host::read(pointer as *const u8, param.size as usize));
    }
    Ok(block)
}

driver_api! {
    fn cuFuncGetAttribute(value: Out<c_int>, number: c_int, handle: Handle) needs Context |d, device| {
        let function = function(d, device, handle)?;
        value.set(attribute(function, number).ok_or(Code::INVALID_VALUE)?)
    }

    fn cuFuncSetAttribute(handle: Handle, number: c_int, value: c_int) needs Context |d, device| {
        let most = limits(d.settings.sm).opt_in;
        let function = function_mut(d, device, handle)?;
        match number {
            8 => {
                let value = u32::try_from(value).map_err(|_| Code::INVALID_VALUE)?;
                if value.saturating_add(function.entry.shared_bytes) > most {
                    return Err(Code::INVALID_VALUE);
                }
                function.max_dynamic = Some(value);
                Ok(())
            }
            9 if (-1..=100).contains(&value) => Ok(()),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    fn cuFuncSetCacheConfig(handle: Handle, config: c_int) needs Context |d, device| {
        function(d, device, handle)?;
        if (0..=3).contains(&config) { Ok(()) } else { Err(Code::INVALID_VALUE) }
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks: Out<c_int>,
        handle: Handle,
        threads: c_int,
        dynamic: usize,
    ) needs Context |d, device| {
        let function = function(d, device, handle)?;
        let threads = u32::try_from(threads).ok().filter(|threads| (1..=1024).contains(threads));
        let dynamic = u32::try_from(dynamic).map_err(|_| Code::INVALID_VALUE)?;
        let threads = threads.ok_or(Code::INVALID_VALUE)?;
        blocks.set(occupancy(limits(d.settings.sm), function, threads, dynamic) as c_int)
    }

    fn cuLaunchKernel(
        handle: Handle,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        dynamic: c_uint,
        stream: Handle,
        arguments: *const *const u8,
        extra: *const c_void,
    ) needs Context |d, device| {
        if !extra.is_null() {
            // Arguments in one buffer are not supported; both forms at once are an error anyway.
            return Err(if arguments.is_null() { Code::NOT_SUPPORTED } else { Code::INVALID_VALUE });
        }
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        d.launch((device, stream), handle, Shape { grid, block, dynamic }, arguments)
    }

    fn cuLaunchCooperativeKernel(
        handle: Handle,
        _grid_x: c_uint,
        _grid_y: c_uint,
        _grid_z: c_uint,
        _block_x: c_uint,
        _block_y: c_uint,
        _block_z: c_uint,
        _dynamic: c_uint,
        _stream: Handle,
        _arguments: *const *const u8,
    ) needs Context |d, device| {
        function(d, device, handle)?;
        // The device says so in its attribute 95, too.
        Err(Code::NOT_SUPPORTED)
    }
}
