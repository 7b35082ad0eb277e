//! What NVIDIA's documentation says each call refuses, call by call.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod device;

use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};

use aimass_vgpu::{Settings, Vgpu, load};
use cudarc::driver::sys::{self, CUresult};
use device::{BASIC, WRONG};

use CUresult::{
    CUDA_ERROR_CAPTURED_EVENT as CAPTURED_EVENT, CUDA_ERROR_ILLEGAL_STATE as ILLEGAL_STATE,
    CUDA_ERROR_INVALID_CONTEXT as INVALID_CONTEXT, CUDA_ERROR_INVALID_DEVICE as INVALID_DEVICE,
    CUDA_ERROR_INVALID_HANDLE as INVALID_HANDLE, CUDA_ERROR_INVALID_IMAGE as INVALID_IMAGE,
    CUDA_ERROR_INVALID_PTX as INVALID_PTX, CUDA_ERROR_INVALID_VALUE as INVALID_VALUE,
    CUDA_ERROR_NO_BINARY_FOR_GPU as NO_BINARY, CUDA_ERROR_NO_DEVICE as NO_DEVICE,
    CUDA_ERROR_NOT_FOUND as NOT_FOUND, CUDA_ERROR_NOT_INITIALIZED as NOT_INITIALIZED,
    CUDA_ERROR_NOT_READY as NOT_READY, CUDA_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
    CUDA_ERROR_OUT_OF_MEMORY as OUT_OF_MEMORY,
    CUDA_ERROR_STREAM_CAPTURE_IMPLICIT as CAPTURE_IMPLICIT,
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED as CAPTURE_INVALIDATED,
    CUDA_ERROR_STREAM_CAPTURE_ISOLATION as CAPTURE_ISOLATION,
    CUDA_ERROR_STREAM_CAPTURE_UNJOINED as CAPTURE_UNJOINED,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED as CAPTURE_UNSUPPORTED,
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION as UNSUPPORTED_PTX, CUDA_SUCCESS as SUCCESS,
};

const CUBIN: &[u8] = include_bytes!("kernels/basic.sm_80.cubin");
const THREAD_LOCAL: sys::CUstreamCaptureMode =
    sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
const RELAXED: sys::CUstreamCaptureMode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;

/// Calls a driver function that writes one value.
macro_rules! out {
    ($function:ident($($argument:expr),*)) => {{
        let mut value = MaybeUninit::zeroed();
        // SAFETY: the first argument is a place for the value; the others are the test's.
        let result = unsafe { sys::$function(value.as_mut_ptr(), $($argument),*) };
        // SAFETY: handles, numbers and pointers may be all zeros.
        (result, unsafe { value.assume_init() })
    }};
}

/// Like `out`, for functions whose last argument is the place.
macro_rules! out_last {
    ($function:ident($argument:expr)) => {{
        let mut value = MaybeUninit::zeroed();
        // SAFETY: the last argument is a place for the value; the other is the test's.
        let result = unsafe { sys::$function($argument, value.as_mut_ptr()) };
        // SAFETY: handles and pointers may be all zeros.
        (result, unsafe { value.assume_init() })
    }};
}

/// Calls a driver function.
macro_rules! cu {
    ($function:ident($($argument:expr),*)) => {
        // SAFETY: pointers among the arguments are null or those of values that live.
        unsafe { sys::$function($($argument),*) }
    };
}

/// A fresh driver with a current context.
fn start(settings: &Settings) -> Vgpu {
    let vgpu = load(settings).unwrap();
    assert_eq!(cu!(cuInit(0)), SUCCESS);
    let (result, context) = out!(cuDevicePrimaryCtxRetain(0));
    assert_eq!(result, SUCCESS);
    assert_eq!(cu!(cuCtxSetCurrent(context)), SUCCESS);
    vgpu
}

fn plain() -> Vgpu {
    start(&Settings::default())
}

fn memory(bytes: usize) -> sys::CUdeviceptr {
    let (result, address) = out!(cuMemAlloc_v2(bytes));
    assert_eq!(result, SUCCESS);
    address
}

fn stream(flags: u32) -> sys::CUstream {
    let (result, stream) = out!(cuStreamCreate(flags));
    assert_eq!(result, SUCCESS);
    stream
}

fn function(name: &CStr) -> sys::CUfunction {
    let text = std::ffi::CString::new(BASIC).unwrap();
    let (result, module) = out!(cuModuleLoadData(text.as_ptr().cast()));
    assert_eq!(result, SUCCESS);
    let (result, function) = out!(cuModuleGetFunction(module, name.as_ptr()));
    assert_eq!(result, SUCCESS);
    function
}

fn launch(
    function: sys::CUfunction,
    grid: u32,
    block: u32,
    shared: u32,
    on: sys::CUstream,
) -> CUresult {
    let (y, value, n) = (memory(4096), 1.0f32, 0u32);
    let mut arguments: [*mut c_void; 3] = [
        (&raw const y).cast_mut().cast(),
        (&raw const value).cast_mut().cast(),
        (&raw const n).cast_mut().cast(),
    ];
    cu!(cuLaunchKernel(
        function,
        grid,
        1,
        1,
        block,
        1,
        1,
        shared,
        on,
        arguments.as_mut_ptr(),
        null_mut()
    ))
}

#[test]
fn nothing_works_before_the_driver_is_initialized() {
    let _vgpu = load(&Settings::default()).unwrap();
    assert_eq!(out!(cuDeviceGet(0)).0, NOT_INITIALIZED);
    assert_eq!(out!(cuMemAlloc_v2(4)).0, NOT_INITIALIZED);
    assert_eq!(cu!(cuInit(1)), INVALID_VALUE);
    assert_eq!(cu!(cuInit(0)), SUCCESS);
    assert_eq!(out!(cuMemAlloc_v2(4)).0, INVALID_CONTEXT);
}

#[test]
fn devices_are_those_that_exist() {
    let _vgpu = plain();
    assert_eq!(out!(cuDeviceGetCount()), (SUCCESS, 1));
    assert_eq!(out!(cuDeviceGet(1)).0, INVALID_DEVICE);
    assert_eq!(out!(cuDeviceGet(-1)).0, INVALID_DEVICE);
    assert_eq!(out!(cuDeviceTotalMem_v2(0)), (SUCCESS, 1 << 30));
    assert_eq!(out!(cuDeviceTotalMem_v2(3)).0, INVALID_DEVICE);
    let major = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
    assert_eq!(out!(cuDeviceGetAttribute(major, 0)), (SUCCESS, 8));
    assert_eq!(out!(cuDeviceGetAttribute(major, 7)).0, INVALID_DEVICE);
    assert_eq!(cu!(cuDeviceGet(null_mut(), 0)), INVALID_VALUE);
    let mut name = [1; 8];
    assert_eq!(cu!(cuDeviceGetName(name.as_mut_ptr(), 8, 0)), SUCCESS);
    assert_eq!(name[7], 0);
    drop(_vgpu);
    let _none = load(&Settings { devices: 0, ..Settings::default() }).unwrap();
    assert_eq!(cu!(cuInit(0)), NO_DEVICE);
}

#[test]
fn contexts_end_when_the_last_reference_is_released() {
    let _vgpu = plain();
    let (_, context) = out!(cuCtxGetCurrent());
    assert!(!context.is_null());
    assert_eq!(cu!(cuCtxSetCurrent(0x1234 as sys::CUcontext)), INVALID_CONTEXT);
    assert_eq!(cu!(cuCtxPushCurrent_v2(context)), SUCCESS);
    assert_eq!(out!(cuCtxPopCurrent_v2()), (SUCCESS, context));
    let address = memory(16);
    assert_eq!(cu!(cuDevicePrimaryCtxRelease_v2(0)), SUCCESS);
    assert_eq!(cu!(cuMemFree_v2(address)), INVALID_CONTEXT);
    assert_eq!(cu!(cuDevicePrimaryCtxRelease_v2(0)), INVALID_CONTEXT);
    assert_eq!(cu!(cuCtxSetCurrent(context)), INVALID_CONTEXT);
}

#[test]
fn memory_is_bounded_and_freed_once() {
    let _vgpu = start(&Settings { mem_mb: 1, ..Settings::default() });
    assert_eq!(out!(cuMemAlloc_v2(0)).0, INVALID_VALUE);
    assert_eq!(cu!(cuMemAlloc_v2(null_mut(), 4)), INVALID_VALUE);
    assert_eq!(out!(cuMemAlloc_v2(2 << 20)).0, OUT_OF_MEMORY);
    let address = memory(1 << 19);
    assert_eq!(address % 256, 0);
    let (mut free, mut total) = (0, 0);
    assert_eq!(cu!(cuMemGetInfo_v2(&raw mut free, &raw mut total)), SUCCESS);
    assert_eq!((free, total), (1 << 19, 1 << 20));
    assert_eq!(cu!(cuMemFree_v2(address + 512)), INVALID_VALUE);
    assert_eq!(cu!(cuMemFree_v2(address)), SUCCESS);
    assert_eq!(cu!(cuMemFree_v2(address)), INVALID_VALUE);
}

#[test]
fn stream_ordered_memory_needs_pools() {
    let vgpu = plain();
    let (result, address) = out!(cuMemAllocAsync(64, null_mut()));
    assert_eq!(result, SUCCESS);
    assert_eq!(cu!(cuMemFreeAsync(address, null_mut())), SUCCESS);
    assert_eq!(cu!(cuMemFreeAsync(address, null_mut())), INVALID_VALUE);
    assert_eq!(cu!(cuCtxSynchronize()), SUCCESS);
    let (result, pool) = out!(cuDeviceGetDefaultMemPool(0));
    assert_eq!(result, SUCCESS);
    let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    let mut bytes = 99u64;
    let place = (&raw mut bytes).cast();
    assert_eq!(cu!(cuMemPoolSetAttribute(pool, threshold, place)), SUCCESS);
    assert_eq!(cu!(cuMemPoolSetAttribute(pool, threshold, null_mut())), INVALID_VALUE);
    assert_eq!(cu!(cuMemPoolSetAttribute(null_mut(), threshold, place)), INVALID_VALUE);
    drop(vgpu);
    let _none = start(&Settings { pools: false, ..Settings::default() });
    assert_eq!(out!(cuMemAllocAsync(64, null_mut())).0, NOT_SUPPORTED);
    assert_eq!(out!(cuDeviceGetDefaultMemPool(0)).0, NOT_SUPPORTED);
}

#[test]
fn copies_and_fills_stay_inside_an_allocation() {
    let _vgpu = plain();
    let (a, b) = (memory(64), memory(64));
    let mut host = [7u8; 64];
    let pointer: *mut c_void = host.as_mut_ptr().cast();
    assert_eq!(cu!(cuMemcpyHtoD_v2(a, pointer, 64)), SUCCESS);
    assert_eq!(cu!(cuMemcpyHtoD_v2(a + 1, pointer, 64)), INVALID_VALUE);
    assert_eq!(cu!(cuMemcpyHtoD_v2(a, null(), 4)), INVALID_VALUE);
    assert_eq!(cu!(cuMemcpyHtoD_v2(0x10, pointer, 4)), INVALID_VALUE);
    assert_eq!(cu!(cuMemcpyDtoD_v2(b, a, 64)), SUCCESS);
    assert_eq!(cu!(cuMemcpyDtoD_v2(b + 32, a, 64)), INVALID_VALUE);
    assert_eq!(cu!(cuMemsetD8_v2(b, 1, 8)), SUCCESS);
    assert_eq!(cu!(cuMemsetD8_v2(b, 1, 65)), INVALID_VALUE);
    assert_eq!(cu!(cuMemsetD32_v2(b + 8, 0x0203_0405, 1)), SUCCESS);
    assert_eq!(cu!(cuMemsetD32_v2(b + 2, 0, 1)), INVALID_VALUE);
    assert_eq!(cu!(cuMemcpyDtoH_v2(pointer, b, 64)), SUCCESS);
    assert_eq!((host[..8].to_vec(), &host[8..13]), (vec![1; 8], &[5, 4, 3, 2, 7][..]));
    assert_eq!(cu!(cuMemcpyDtoH_v2(null_mut(), b, 4)), INVALID_VALUE);
}

#[test]
fn pinned_memory_is_read_when_the_copy_runs_and_pageable_memory_at_the_call() {
    let _vgpu = plain();
    let on = stream(1);
    let (result, pinned) = out!(cuMemHostAlloc(4, 0));
    assert_eq!(result, SUCCESS);
    let pinned: *mut u32 = pinned.cast();
    let mut pageable = 1u32;
    let (a, b) = (memory(4), memory(4));
    // SAFETY: the buffer was just allocated.
    unsafe { pinned.write(1) };
    assert_eq!(cu!(cuMemcpyHtoDAsync_v2(a, pinned.cast(), 4, on)), SUCCESS);
    assert_eq!(cu!(cuMemcpyHtoDAsync_v2(b, (&raw const pageable).cast(), 4, on)), SUCCESS);
    // SAFETY: the buffer is still allocated.
    unsafe { pinned.write(2) };
    pageable += 1;
    let mut got = [0u32; 2];
    for (to, from) in got.iter_mut().zip([a, b]) {
        assert_eq!(cu!(cuMemcpyDtoHAsync_v2((&raw mut *to).cast(), from, 4, on)), SUCCESS);
    }
    assert_eq!((got, pageable), ([2, 1], 2));
    assert_eq!(cu!(cuMemFreeHost((&raw mut got).cast())), INVALID_VALUE);
    assert_eq!(cu!(cuMemFreeHost(pinned.cast())), SUCCESS);
    assert_eq!(cu!(cuMemFreeHost(pinned.cast())), INVALID_VALUE);
    assert_eq!(out!(cuMemHostAlloc(0, 0)).0, INVALID_VALUE);
    assert_eq!(out!(cuMemHostAlloc(4, 64)).0, INVALID_VALUE);
}

#[test]
fn streams_and_events_are_checked_and_deferred() {
    let _vgpu = plain();
    assert_eq!(out!(cuStreamCreate(2)).0, INVALID_VALUE);
    let on = stream(1);
    assert_eq!(out!(cuEventCreate(64)).0, INVALID_VALUE);
    let (result, event) = out!(cuEventCreate(0));
    assert_eq!(result, SUCCESS);
    let (_, silent) = out!(cuEventCreate(2));
    assert_eq!(cu!(cuEventQuery(event)), SUCCESS, "an event that was never recorded is complete");
    assert_eq!(cu!(cuEventRecord(event, on)), SUCCESS);
    assert_eq!(cu!(cuEventQuery(event)), NOT_READY);
    assert_eq!(cu!(cuStreamQuery(on)), NOT_READY);
    assert_eq!(out!(cuEventElapsedTime_v2(event, event)).0, NOT_READY);
    assert_eq!(cu!(cuEventSynchronize(event)), SUCCESS);
    assert_eq!(cu!(cuStreamQuery(on)), SUCCESS);
    assert_eq!(out!(cuEventElapsedTime_v2(event, event)), (SUCCESS, 0.0));
    assert_eq!(cu!(cuEventRecord(silent, on)), SUCCESS);
    assert_eq!(out!(cuEventElapsedTime_v2(event, silent)).0, INVALID_HANDLE);
    assert_eq!(cu!(cuStreamWaitEvent(on, event, 4)), INVALID_VALUE);
    assert_eq!(cu!(cuStreamWaitEvent(on, null_mut(), 0)), INVALID_HANDLE);
    assert_eq!(cu!(cuStreamDestroy_v2(on)), SUCCESS);
    assert_eq!(cu!(cuStreamSynchronize(on)), INVALID_HANDLE);
    assert_eq!(cu!(cuEventDestroy_v2(event)), SUCCESS);
    assert_eq!(cu!(cuEventDestroy_v2(event)), INVALID_HANDLE);
}

#[test]
fn the_legacy_stream_orders_itself_with_blocking_streams_alone() {
    let _vgpu = plain();
    let (blocking, free) = (stream(0), stream(1));
    let a = memory(4);
    assert_eq!(cu!(cuMemsetD8Async(a, 1, 4, blocking)), SUCCESS);
    assert_eq!(cu!(cuMemsetD8Async(a, 2, 4, free)), SUCCESS);
    assert_eq!(cu!(cuMemsetD8Async(a, 3, 4, null_mut())), SUCCESS);
    assert_eq!(cu!(cuStreamSynchronize(null_mut())), SUCCESS);
    assert_eq!(cu!(cuStreamQuery(blocking)), SUCCESS);
}

#[test]
fn images_are_chosen_as_the_driver_does() {
    let check = |sm: u32, image: &[u8], expected: CUresult| {
        let _vgpu = start(&Settings { sm, ..Settings::default() });
        assert_eq!(out!(cuModuleLoadData(image.as_ptr().cast())).0, expected, "sm {sm}");
    };
    check(80, CUBIN, SUCCESS);
    check(86, CUBIN, SUCCESS);
    check(75, CUBIN, NO_BINARY);
    check(90, CUBIN, NO_BINARY);
    check(120, CUBIN, NO_BINARY);
    let text = [BASIC.as_bytes(), b"\0"].concat();
    check(75, &text, SUCCESS);
    check(120, &text, SUCCESS);
    check(70, &text, NO_BINARY);
    check(80, b"\x50\xed\x55\xba\x01\x00\x10\x00\0\0\0\0", INVALID_IMAGE);
    check(80, b"no ptx at all\0", INVALID_IMAGE);
    let _old = start(&Settings { driver: 12000, ..Settings::default() });
    assert_eq!(out!(cuModuleLoadData(text.as_ptr().cast())).0, UNSUPPORTED_PTX);
    assert_eq!(out!(cuModuleLoadData(null())).0, INVALID_VALUE);
}

#[test]
fn the_compilers_log_says_what_is_wrong() {
    let _vgpu = plain();
    let bad = std::ffi::CString::new(WRONG.replacen("add.f32", "wonder.f32", 1)).unwrap();
    let mut log = [0u8; 300];
    let mut options = [
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER,
        sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
    ];
    let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), 300 as *mut c_void];
    let image = bad.as_ptr().cast();
    let (result, _) = out!(cuModuleLoadDataEx(image, 2, options.as_mut_ptr(), values.as_mut_ptr()));
    assert_eq!(result, INVALID_PTX);
    let log = String::from_utf8_lossy(&log).into_owned();
    assert!(log.contains("unknown instruction `wonder.f32`"), "{log}");
}

#[test]
fn launches_are_checked_before_they_run() {
    let vgpu = plain();
    let fill = function(c"fill_f32");
    let check = |grid, block, shared, expected| {
        assert_eq!(
            launch(fill, grid, block, shared, null_mut()),
            expected,
            "{grid} {block} {shared}"
        );
    };
    check(1, 128, 0, SUCCESS);
    check(1, 129, 0, INVALID_VALUE);
    check(0, 128, 0, INVALID_VALUE);
    check(1, 0, 0, INVALID_VALUE);
    check(1, 128, 48 << 10, SUCCESS);
    check(1, 128, (48 << 10) + 1, INVALID_VALUE);
    let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert_eq!(cu!(cuFuncSetAttribute(fill, most, 164 << 10)), INVALID_VALUE);
    assert_eq!(cu!(cuFuncSetAttribute(fill, most, 163 << 10)), SUCCESS);
    check(1, 128, 163 << 10, SUCCESS);
    assert_eq!(launch(null_mut(), 1, 32, 0, null_mut()), INVALID_HANDLE);
    let none = cu!(cuLaunchKernel(fill, 1, 1, 1, 1, 1, 1, 0, null_mut(), null_mut(), null_mut()));
    assert_eq!(none, INVALID_VALUE);
    let gelu = function(c"gelu_f32");
    assert_eq!(launch(gelu, 1, 1025, 0, null_mut()), INVALID_VALUE);
    assert_eq!(
        cu!(cuLaunchCooperativeKernel(fill, 1, 1, 1, 32, 1, 1, 0, null_mut(), null_mut())),
        NOT_SUPPORTED
    );
    let (result, blocks) = out!(cuOccupancyMaxActiveBlocksPerMultiprocessor(fill, 128, 0));
    assert_eq!((result, blocks), (SUCCESS, 16));
    assert_eq!(cu!(cuCtxSynchronize()), SUCCESS);
    drop(vgpu);
}

#[test]
fn modules_know_their_entries_alone() {
    let _vgpu = plain();
    let text = std::ffi::CString::new(BASIC).unwrap();
    let (_, module) = out!(cuModuleLoadData(text.as_ptr().cast()));
    assert_eq!(out!(cuModuleGetFunction(module, c"nothing".as_ptr())).0, NOT_FOUND);
    assert_eq!(out!(cuModuleGetFunction(module, null())).0, INVALID_VALUE);
    let (result, entry) = out!(cuModuleGetFunction(module, c"fill_f32".as_ptr()));
    assert_eq!(result, SUCCESS);
    let (mut address, mut bytes) = (0, 0);
    let table = c"table".as_ptr();
    assert_eq!(cu!(cuModuleGetGlobal_v2(&raw mut address, &raw mut bytes, module, table)), SUCCESS);
    let mut content = [0f32; 4];
    assert_eq!(cu!(cuMemcpyDtoH_v2(content.as_mut_ptr().cast(), address, bytes)), SUCCESS);
    assert_eq!(content, [1.0, 2.0, 4.0, 8.0]);
    assert_eq!(cu!(cuModuleUnload(module)), SUCCESS);
    assert_eq!(cu!(cuModuleUnload(module)), INVALID_HANDLE);
    assert_eq!(launch(entry, 1, 32, 0, null_mut()), INVALID_HANDLE);
}

#[test]
fn captures_refuse_what_would_break_them() {
    let _vgpu = plain();
    let on = stream(1);
    let a = memory(64);
    let begin = |mode| assert_eq!(cu!(cuStreamBeginCapture_v2(on, mode)), SUCCESS);
    let ends = |expected| assert_eq!(out_last!(cuStreamEndCapture(on)).0, expected);
    assert_eq!(cu!(cuStreamBeginCapture_v2(null_mut(), THREAD_LOCAL)), CAPTURE_UNSUPPORTED);
    ends(ILLEGAL_STATE);
    begin(THREAD_LOCAL);
    assert_eq!(cu!(cuStreamBeginCapture_v2(on, THREAD_LOCAL)), ILLEGAL_STATE);
    assert_eq!(cu!(cuStreamSynchronize(on)), CAPTURE_UNSUPPORTED);
    assert_eq!(cu!(cuMemsetD8Async(a, 1, 64, on)), CAPTURE_INVALIDATED);
    ends(CAPTURE_INVALIDATED);
    begin(THREAD_LOCAL);
    assert_eq!(out!(cuMemAlloc_v2(4)).0, CAPTURE_UNSUPPORTED);
    ends(CAPTURE_INVALIDATED);
    begin(RELAXED);
    assert_eq!(out!(cuMemAlloc_v2(4)).0, SUCCESS);
    ends(SUCCESS);
    let (_, event) = out!(cuEventCreate(0));
    assert_eq!(cu!(cuEventRecord(event, null_mut())), SUCCESS);
    begin(THREAD_LOCAL);
    assert_eq!(cu!(cuStreamWaitEvent(on, event, 0)), CAPTURE_ISOLATION);
    ends(CAPTURE_INVALIDATED);
    begin(THREAD_LOCAL);
    assert_eq!(cu!(cuEventRecord(event, on)), SUCCESS);
    assert_eq!(cu!(cuEventSynchronize(event)), CAPTURED_EVENT);
    let other = stream(1);
    assert_eq!(cu!(cuStreamWaitEvent(other, event, 0)), SUCCESS);
    assert_eq!(cu!(cuMemsetD8Async(a, 1, 64, other)), SUCCESS);
    ends(CAPTURE_UNJOINED);
    let blocking = stream(0);
    assert_eq!(cu!(cuStreamBeginCapture_v2(blocking, THREAD_LOCAL)), SUCCESS);
    assert_eq!(cu!(cuMemsetD8Async(a, 1, 64, null_mut())), CAPTURE_IMPLICIT);
    assert_eq!(out_last!(cuStreamEndCapture(blocking)).0, CAPTURE_INVALIDATED);
}

#[test]
fn a_graph_runs_when_it_is_launched_and_after_what_it_depends_on() {
    for seed in 0..8 {
        let _vgpu = start(&Settings { seed, ..Settings::default() });
        let (on, side) = (stream(1), stream(1));
        let (a, b) = (memory(4), memory(4));
        let (_, fork) = out!(cuEventCreate(2));
        let (_, join) = out!(cuEventCreate(2));
        assert_eq!(cu!(cuMemsetD8_v2(b, 0, 4)), SUCCESS);
        assert_eq!(cu!(cuStreamBeginCapture_v2(on, THREAD_LOCAL)), SUCCESS);
        assert_eq!(cu!(cuMemsetD8Async(a, 5, 4, on)), SUCCESS);
        assert_eq!(cu!(cuEventRecord(fork, on)), SUCCESS);
        assert_eq!(cu!(cuStreamWaitEvent(side, fork, 0)), SUCCESS);
        assert_eq!(cu!(cuMemcpyDtoDAsync_v2(b, a, 4, side)), SUCCESS);
        assert_eq!(cu!(cuEventRecord(join, side)), SUCCESS);
        assert_eq!(cu!(cuStreamWaitEvent(on, join, 0)), SUCCESS);
        assert_eq!(cu!(cuMemsetD8Async(a, 6, 4, on)), SUCCESS);
        let (result, graph) = out_last!(cuStreamEndCapture(on));
        assert_eq!(result, SUCCESS);
        let (result, executable) = out!(cuGraphInstantiateWithFlags(graph, 0));
        assert_eq!(result, SUCCESS);
        assert_eq!(cu!(cuGraphDestroy(graph)), SUCCESS);
        assert_eq!(cu!(cuGraphDestroy(graph)), INVALID_VALUE);
        let read = |from| {
            let mut value = 0u32;
            assert_eq!(cu!(cuMemcpyDtoH_v2((&raw mut value).cast(), from, 4)), SUCCESS);
            value
        };
        assert_eq!(read(b), 0, "a capture runs nothing");
        assert_eq!(cu!(cuGraphLaunch(executable, on)), SUCCESS);
        assert_eq!(cu!(cuStreamSynchronize(on)), SUCCESS);
        assert_eq!((read(a), read(b)), (0x0606_0606, 0x0505_0505));
        assert_eq!(cu!(cuGraphExecDestroy(executable)), SUCCESS);
        assert_eq!(cu!(cuGraphLaunch(executable, on)), INVALID_VALUE);
    }
}

#[test]
fn results_have_names_and_texts() {
    let _vgpu = plain();
    let (result, text) = out_last!(cuGetErrorName(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS));
    assert_eq!(result, SUCCESS);
    // SAFETY: the driver gives a text that stays.
    assert_eq!(unsafe { CStr::from_ptr(text) }, c"CUDA_ERROR_ILLEGAL_ADDRESS");
    let (result, text) = out_last!(cuGetErrorString(SUCCESS));
    assert_eq!(result, SUCCESS);
    // SAFETY: as above.
    assert_eq!(unsafe { CStr::from_ptr(text) }, c"no error");
}
