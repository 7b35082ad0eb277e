//! The functions that programs call.

use std::ffi::{c_char, c_int};

use crate::communicator::{self, Entry, UniqueId, find};
use crate::driver;
use crate::group;
use crate::operation::{self, Element, Kind, Operation, Reduction};
use crate::status::{self, Failure};

/// NCCL 2.30.7.
const VERSION: c_int = 23_007;

fn write<T>(out: *mut T, value: T) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::argument("a pointer for a result is null"));
    }
    // SAFETY: the interface's contract is that a pointer that is not null can be written.
    unsafe { out.write(value) };
    Ok(())
}

/// The number of a result; a failure is remembered, and fails the thread's group.
fn result(outcome: Result<(), Failure>) -> c_int {
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            status::remember(&failure.text);
            group::refused(&failure);
            failure.status.number()
        }
    }
}

/// Refuses to end a communicator that the thread's open group uses.
fn unused(handle: u64) -> Result<(), Failure> {
    match group::uses(handle) {
        true => Err(Failure::usage("the communicator ends inside of a group that uses it")),
        false => Ok(()),
    }
}

/// What collective operations and messages have in common.
struct Request {
    send: u64,
    receive: u64,
    count: usize,
    datatype: c_int,
    communicator: u64,
    stream: u64,
}

impl Request {
    /// Queues it; `kind` gets the number of ranks.
    fn call(self, kind: impl FnOnce(usize) -> Result<Kind, Failure>) -> Result<(), Failure> {
        let kind = kind(find(self.communicator)?.ranks)?;
        let element = Element::numbered(self.datatype)?;
        let Self { send, receive, count, communicator, stream, .. } = self;
        let operation = Operation { kind, count: count as u64, element, send, receive };
        group::call(communicator, stream, operation)
    }
}

/// Defines functions that give an `ncclResult_t`.
macro_rules! nccl {
    ($(fn $name:ident($($argument:ident: $ty:ty),* $(,)?) $body:block)*) => {
        $(
            // SAFETY: the name is NCCL's, and no other item of this library has it.
            #[unsafe(no_mangle)]
            extern "C" fn $name($($argument: $ty),*) -> c_int {
                let body = || -> Result<(), Failure> { $body };
                result(body())
            }
        )*
    };
}

// SAFETY: the name is NCCL's, and no other item of this library has it.
#[unsafe(no_mangle)]
extern "C" fn ncclGetErrorString(number: c_int) -> *const c_char {
    status::describe(number).as_ptr()
}

// SAFETY: the name is NCCL's, and no other item of this library has it.
#[unsafe(no_mangle)]
extern "C" fn ncclGetLastError(_communicator: u64) -> *const c_char {
    status::last()
}

nccl! {
    fn ncclGetVersion(version: *mut c_int) {
        write(version, VERSION)
    }

    fn ncclGetUniqueId(id: *mut UniqueId) {
        write(id, UniqueId::fresh())
    }

    fn ncclCommInitRank(out: *mut u64, ranks: c_int, id: UniqueId, rank: c_int) {
        write(out, 0)?;
        let device = driver::current_device()?;
        group::open(Entry { id, ranks, rank, device }, out)
    }

    fn ncclCommInitAll(out: *mut u64, count: c_int, list: *const c_int) {
        let ranks = usize::try_from(count).ok().filter(|count| *count > 0 && !out.is_null());
        let ranks = ranks.ok_or_else(|| Failure::argument(format!("{count} devices")))?;
        let devices: Vec<c_int> = match list.is_null() {
            true => (0..count).collect(),
            // SAFETY: the interface's contract is that a list that is not null has so many devices.
            false => unsafe { std::slice::from_raw_parts(list, ranks) }.to_vec(),
        };
        let present = driver::devices()?;
        if let Some(absent) = devices.iter().find(|device| !(0..present).contains(*device)) {
            return Err(Failure::argument(format!("device {absent} is none of 0..{present}")));
        }
        for (place, handle) in group::open_all(&devices)?.into_iter().enumerate() {
            // SAFETY: the interface's contract is that there is room for a handle of each device.
            unsafe { out.add(place).write(handle) };
        }
        Ok(())
    }

    fn ncclCommFinalize(handle: u64) {
        unused(handle)?;
        communicator::finalize(handle)
    }

    fn ncclCommDestroy(handle: u64) {
        unused(handle)?;
        communicator::remove(handle).map(|_| ())
    }

    fn ncclCommAbort(handle: u64) {
        unused(handle)?;
        communicator::remove(handle)?.abort();
        Ok(())
    }

    fn ncclCommGetAsyncError(handle: u64, error: *mut c_int) {
        write(error, find(handle)?.error().map_or(0, status::Status::number))
    }

    fn ncclCommCount(handle: u64, count: *mut c_int) {
        write(count, find(handle)?.ranks as c_int)
    }

    fn ncclCommCuDevice(handle: u64, device: *mut c_int) {
        write(device, find(handle)?.device)
    }

    fn ncclCommUserRank(handle: u64, rank: *mut c_int) {
        write(rank, find(handle)?.rank as c_int)
    }

    fn ncclGroupStart() {
        group::start();
        Ok(())
    }

    fn ncclGroupEnd() {
        group::end()
    }

    fn ncclAllReduce(send: u64, receive: u64, count: usize, datatype: c_int, op: c_int, communicator: u64, stream: u64) {
        let kind = |_| Ok(Kind::AllReduce(Reduction::numbered(op)?));
        Request { send, receive, count, datatype, communicator, stream }.call(kind)
    }

    fn ncclReduceScatter(send: u64, receive: u64, count: usize, datatype: c_int, op: c_int, communicator: u64, stream: u64) {
        let kind = |_| Ok(Kind::ReduceScatter(Reduction::numbered(op)?));
        Request { send, receive, count, datatype, communicator, stream }.call(kind)
    }

    fn ncclAllGather(send: u64, receive: u64, count: usize, datatype: c_int, communicator: u64, stream: u64) {
        Request { send, receive, count, datatype, communicator, stream }.call(|_| Ok(Kind::AllGather))
    }

    fn ncclBroadcast(send: u64, receive: u64, count: usize, datatype: c_int, root: c_int, communicator: u64, stream: u64) {
        let kind = |ranks| Ok(Kind::Broadcast { root: operation::rank(root, ranks, "root")? });
        Request { send, receive, count, datatype, communicator, stream }.call(kind)
    }

    fn ncclBcast(buffer: u64, count: usize, datatype: c_int, root: c_int, communicator: u64, stream: u64) {
        let kind = |ranks| Ok(Kind::Broadcast { root: operation::rank(root, ranks, "root")? });
        Request { send: buffer, receive: buffer, count, datatype, communicator, stream }.call(kind)
    }

    fn ncclReduce(send: u64, receive: u64, count: usize, datatype: c_int, op: c_int, root: c_int, communicator: u64, stream: u64) {
        let kind = |ranks| {
            let root = operation::rank(root, ranks, "root")?;
            Ok(Kind::Reduce { reduction: Reduction::numbered(op)?, root })
        };
        Request { send, receive, count, datatype, communicator, stream }.call(kind)
    }

    fn ncclSend(send: u64, count: usize, datatype: c_int, peer: c_int, communicator: u64, stream: u64) {
        let kind = |ranks| Ok(Kind::Send { peer: operation::rank(peer, ranks, "peer")? });
        Request { send, receive: 0, count, datatype, communicator, stream }.call(kind)
    }

    fn ncclRecv(receive: u64, count: usize, datatype: c_int, peer: c_int, communicator: u64, stream: u64) {
        let kind = |ranks| Ok(Kind::Receive { peer: operation::rank(peer, ranks, "peer")? });
        Request { send: 0, receive, count, datatype, communicator, stream }.call(kind)
    }
}
