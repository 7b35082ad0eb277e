//! Virtual devices with a communicator of each, as the tests of this folder use them.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test uses a part")]

use std::ffi::c_void;
use std::sync::Arc;

use aimass_vgpu::{Settings, Vgpu, load, load_nccl};
use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, DevicePtr, DevicePtrMut, DeviceRepr, ValidAsZeroBits,
};
use cudarc::nccl::{NcclType, result, sys};

/// Refers to the library, so that it is built with the tests.
use aimass_vgpu_nccl as _;

/// A fresh driver with `devices` devices, and a stream of each.
pub fn devices(settings: &Settings, devices: u32) -> (Vgpu, Vec<Arc<CudaStream>>) {
    let vgpu = load(&Settings { devices, ..settings.clone() }).unwrap();
    load_nccl().unwrap();
    let stream = |device| CudaContext::new(device as usize).unwrap().new_stream().unwrap();
    (vgpu, (0..devices).map(stream).collect())
}

/// A stream of each device, a communicator of each, and the driver.
pub struct Ranks {
    pub communicators: Vec<sys::ncclComm_t>,
    pub streams: Vec<Arc<CudaStream>>,
    pub vgpu: Vgpu,
}

impl Ranks {
    /// Communicators of `ranks` devices that one thread drives.
    pub fn new(settings: &Settings, ranks: u32) -> Self {
        let (vgpu, streams) = devices(settings, ranks);
        let mut communicators = vec![std::ptr::null_mut(); ranks as usize];
        let list: Vec<i32> = (0..ranks as i32).collect();
        let (out, count) = (communicators.as_mut_ptr(), ranks as i32);
        // SAFETY: there is room for as many handles as devices are listed.
        unsafe { result::comm_init_all(out, count, list.as_ptr()) }.unwrap();
        Self { communicators, streams, vgpu }
    }

    /// `values` on the device of `rank`.
    pub fn upload<T: DeviceRepr>(&self, rank: usize, values: &[T]) -> CudaSlice<T> {
        self.streams[rank].clone_htod(values).unwrap()
    }

    /// Zeros on the device of `rank`.
    pub fn zeros<T: DeviceRepr + ValidAsZeroBits>(&self, rank: usize, n: usize) -> CudaSlice<T> {
        self.streams[rank].alloc_zeros(n).unwrap()
    }

    /// Addresses for a call of `rank`.
    pub fn pointers<T>(
        &self,
        rank: usize,
        send: &CudaSlice<T>,
        receive: &mut CudaSlice<T>,
    ) -> [*mut c_void; 2] {
        let stream = &self.streams[rank];
        let send = send.device_ptr(stream).0;
        [send as *mut c_void, receive.device_ptr_mut(stream).0 as *mut c_void]
    }

    /// The stream of `rank`, as NCCL takes it.
    pub fn stream(&self, rank: usize) -> sys::cudaStream_t {
        self.streams[rank].cu_stream().cast()
    }

    /// A sum of all ranks for `rank`; the result's number.
    pub fn sum(&self, rank: usize, [send, receive]: [*mut c_void; 2], count: usize) -> i32 {
        let (communicator, stream) = (self.communicators[rank], self.stream(rank));
        let (kind, op) = (f32::as_nccl_type(), sys::ncclRedOp_t::ncclSum);
        // SAFETY: what is wrong with the arguments is what the tests are about.
        number(unsafe { sys::ncclAllReduce(send, receive, count, kind, op, communicator, stream) })
    }
}

/// The number of a result, which may be one that `cudarc` does not know.
pub fn number(result: sys::ncclResult_t) -> i32 {
    result as i32
}

/// Runs `calls` as a group; the number of the group's result.
pub fn group(calls: impl FnOnce()) -> i32 {
    // SAFETY: both take no arguments.
    assert_eq!(number(unsafe { sys::ncclGroupStart() }), 0);
    calls();
    // SAFETY: as above.
    number(unsafe { sys::ncclGroupEnd() })
}

/// What the library says about the last failure.
pub fn last_error() -> String {
    // SAFETY: the library gives a string that stays.
    unsafe { std::ffi::CStr::from_ptr(sys::ncclGetLastError(std::ptr::null_mut())) }
        .to_str()
        .unwrap()
        .to_owned()
}
