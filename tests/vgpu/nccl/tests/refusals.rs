//! What NCCL's documentation forbids, each by its code; what it leaves undefined, too.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod ranks;

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use aimass_vgpu::{Checks, Settings};
use cudarc::driver::DevicePtr;
use cudarc::driver::sys::{CUresult, CUstreamCaptureMode};
use cudarc::nccl::{Id, sys};
use ranks::{Ranks, devices, group, last_error, number};
use sys::{ncclDataType_t as Kind, ncclRedOp_t as Op};

const OK: i32 = 0;
const CUDA: i32 = 1;
const ARGUMENT: i32 = 4;
const USAGE: i32 = 5;
const REMOTE: i32 = 6;
const TIMEOUT: i32 = 8;

/// Calls a function of NCCL; the result's number.
macro_rules! nccl {
    ($function:ident($($argument:expr),*)) => {
        // SAFETY: what is wrong with the arguments is refused, which is what the tests are about.
        number(unsafe { sys::$function($($argument),*) })
    };
}

fn quick() -> Settings {
    Settings { wait_ms: 30, checks: Checks::Memory, ..Settings::default() }
}

/// Two ranks with four numbers and room for eight each.
struct Pair {
    ranks: Ranks,
    buffers: Vec<[*mut c_void; 2]>,
}

impl Pair {
    fn new() -> Self {
        let ranks = Ranks::new(&quick(), 2);
        let buffers = (0..2).map(|rank| {
            let (send, mut receive) =
                (ranks.upload(rank, &[1.0f32; 4]), ranks.zeros::<f32>(rank, 8));
            let buffers = ranks.pointers(rank, &send, &mut receive);
            ranks.streams[rank].synchronize().unwrap();
            // The driver is replaced before anything else could free them.
            std::mem::forget((send, receive));
            buffers
        });
        let buffers = buffers.collect();
        Self { ranks, buffers }
    }

    fn reduce(&self, rank: usize, count: usize, kind: Kind, op: Op) -> i32 {
        let [send, receive] = self.buffers[rank];
        let (comm, stream) = (self.ranks.communicators[rank], self.ranks.stream(rank));
        nccl!(ncclAllReduce(send, receive, count, kind, op, comm, stream))
    }

    fn broadcast(&self, rank: usize, root: i32) -> i32 {
        let [send, receive] = self.buffers[rank];
        let (comm, stream) = (self.ranks.communicators[rank], self.ranks.stream(rank));
        nccl!(ncclBroadcast(send, receive, 2, Kind::ncclFloat32, root, comm, stream))
    }

    fn send(&self, rank: usize, count: usize) -> i32 {
        let (comm, stream) = (self.ranks.communicators[rank], self.ranks.stream(rank));
        let peer = 1 - rank as i32;
        nccl!(ncclSend(self.buffers[rank][0], count, Kind::ncclFloat32, peer, comm, stream))
    }

    fn receive(&self, rank: usize, count: usize) -> i32 {
        let (comm, stream) = (self.ranks.communicators[rank], self.ranks.stream(rank));
        let peer = 1 - rank as i32;
        nccl!(ncclRecv(self.buffers[rank][1], count, Kind::ncclFloat32, peer, comm, stream))
    }

    /// The failure that a rank's communicator is in.
    fn error(&self, rank: usize) -> i32 {
        let mut error = sys::ncclResult_t::ncclSuccess;
        assert_eq!(
            nccl!(ncclCommGetAsyncError(self.ranks.communicators[rank], &raw mut error)),
            OK
        );
        number(error)
    }

    /// Waits for a rank; what went wrong, and what was found.
    fn wait(&self, rank: usize) -> (Option<CUresult>, String) {
        let failure = self.ranks.streams[rank].synchronize().err();
        (failure.map(|error| error.0), self.ranks.vgpu.findings().join("\n"))
    }
}

const F32: Kind = Kind::ncclFloat32;

#[test]
fn ranks_that_ask_for_different_things_are_refused() {
    let check = |what: &str, first: &dyn Fn(&Pair) -> i32, second: &dyn Fn(&Pair) -> i32| {
        let pair = Pair::new();
        let done = group(|| {
            assert_eq!([first(&pair), second(&pair)], [OK, OK], "{what}");
        });
        assert_eq!(done, USAGE, "{what}");
        assert!(last_error().contains("rank 1 asks for"), "{what}: {}", last_error());
        // Nothing was queued, and the communicators have failed.
        assert_eq!(pair.wait(0), (None, String::new()), "{what}");
        assert_eq!([pair.error(0), pair.error(1)].iter().max(), Some(&REMOTE), "{what}");
        assert_ne!(first(&pair), OK, "{what}");
    };
    let sum = |rank: usize| move |pair: &Pair| pair.reduce(rank, 4, F32, Op::ncclSum);
    check("counts", &sum(0), &|pair| pair.reduce(1, 3, F32, Op::ncclSum));
    check("types", &sum(0), &|pair| pair.reduce(1, 4, Kind::ncclInt32, Op::ncclSum));
    check("operators", &sum(0), &|pair| pair.reduce(1, 4, F32, Op::ncclMax));
    check("operations", &sum(0), &|pair| pair.broadcast(1, 0));
    check("roots", &|pair| pair.broadcast(0, 0), &|pair| pair.broadcast(1, 1));
    check("messages", &|pair| pair.send(0, 4), &|pair| pair.receive(1, 3));
}

#[test]
fn a_rank_that_waits_for_one_that_asks_for_something_else_fails() {
    let pair = Pair::new();
    assert_eq!(pair.reduce(0, 4, F32, Op::ncclSum), OK);
    let [own, room] = pair.buffers[1].map(|address| address as usize);
    let (comm, stream) = (pair.ranks.communicators[1] as usize, pair.ranks.stream(1) as usize);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (own, room) = (own as *const c_void, room as *mut c_void);
            let (comm, stream) = (comm as sys::ncclComm_t, stream as sys::cudaStream_t);
            assert_eq!(nccl!(ncclAllGather(own, room, 4, F32, comm, stream)), USAGE);
        });
    });
    assert_eq!((pair.error(0), pair.error(1)), (REMOTE, USAGE));
    let (failure, found) = pair.wait(0);
    assert_eq!(failure, Some(CUresult::CUDA_ERROR_LAUNCH_FAILED));
    assert!(found.contains("collective 1: rank 1 asks for"), "{found}");
}

#[test]
fn a_rank_that_never_comes_is_reported() {
    let pair = Pair::new();
    assert_eq!(pair.reduce(0, 4, F32, Op::ncclSum), OK);
    let (failure, found) = pair.wait(0);
    assert_eq!(failure, Some(CUresult::CUDA_ERROR_LAUNCH_FAILED));
    assert!(found.contains("collective 1 of 2: nothing was called for ranks 1"), "{found}");
    // The other rank's work does not wait for this one.
    assert_eq!(pair.wait(1).0, None);
}

#[test]
fn a_communicator_waits_for_its_ranks_as_long_as_the_settings_say() {
    let (_vgpu, streams) = devices(&quick(), 2);
    streams[0].context().bind_to_thread().unwrap();
    let id = sys::ncclUniqueId { internal: *Id::new().unwrap().internal() };
    let mut comm = null_mut();
    assert_eq!(nccl!(ncclCommInitRank(&raw mut comm, 3, id, 1)), TIMEOUT);
    assert_eq!((comm, last_error().as_str()), (null_mut(), "ranks 0, 2 of 3 never came"));
}

#[test]
fn one_thread_drives_several_ranks_by_groups_alone() {
    let pair = Pair::new();
    assert_eq!(pair.reduce(0, 4, F32, Op::ncclSum), OK);
    assert_eq!(pair.reduce(1, 4, F32, Op::ncclSum), USAGE);
    assert!(last_error().contains("without a group"), "{}", last_error());
}

#[test]
fn communicators_in_different_orders_wait_for_each_other() {
    let pair = Pair::new();
    let mut others = [null_mut(); 2];
    assert_eq!(nccl!(ncclCommInitAll(others.as_mut_ptr(), 2, null())), OK);
    let sum = |rank: usize, comm| {
        let [send, receive] = pair.buffers[rank];
        nccl!(ncclAllReduce(send, receive, 4, F32, Op::ncclSum, comm, pair.ranks.stream(rank)))
    };
    let all = |which: [&[sys::ncclComm_t]; 2]| {
        group(|| assert_eq!([sum(0, which[0][0]), sum(1, which[1][1])], [OK, OK]))
    };
    let own = &pair.ranks.communicators;
    assert_eq!(all([own, own]), OK);
    assert_eq!(pair.wait(0), (None, String::new()));
    // Rank 0 comes to the first communicator's sum first, rank 1 to the other's: threads do that.
    let order = [(0, own[0]), (1, others[1]), (0, others[0]), (1, own[1])];
    for (rank, comm) in order {
        let comm = comm as usize;
        let [send, receive] = pair.buffers[rank].map(|address| address as usize);
        let stream = pair.ranks.stream(rank) as usize;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (send, receive) = (send as *const c_void, receive as *mut c_void);
                let (comm, stream) = (comm as sys::ncclComm_t, stream as sys::cudaStream_t);
                let op = Op::ncclSum;
                assert_eq!(nccl!(ncclAllReduce(send, receive, 4, F32, op, comm, stream)), OK);
            });
        });
    }
    let (failure, found) = pair.wait(1);
    assert_eq!(failure, Some(CUresult::CUDA_ERROR_LAUNCH_FAILED));
    assert!(found.contains("the streams of ranks 1 have not come to it"), "{found}");
    assert!(found.contains("the streams of ranks 0 have not come to it"), "{found}");
}

/// A call of each rank by a thread of its own.
fn by_threads(pair: &Pair, calls: [(usize, bool); 2]) {
    for (rank, sends) in calls {
        let [own, room] = pair.buffers[rank].map(|address| address as usize);
        let (comm, stream) =
            (pair.ranks.communicators[rank] as usize, pair.ranks.stream(rank) as usize);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (comm, stream) = (comm as sys::ncclComm_t, stream as sys::cudaStream_t);
                let peer = 1 - rank as i32;
                let done = match sends {
                    true => nccl!(ncclSend(own as *const c_void, 4, F32, peer, comm, stream)),
                    false => nccl!(ncclRecv(room as *mut c_void, 4, F32, peer, comm, stream)),
                };
                assert_eq!(done, OK);
            });
        });
    }
}

#[test]
fn messages_to_each_other_need_a_group() {
    let pair = Pair::new();
    by_threads(&pair, [(0, true), (1, false)]);
    assert_eq!((pair.wait(0), pair.wait(1)), ((None, String::new()), (None, String::new())));
    // Both send before they receive.
    by_threads(&pair, [(0, true), (1, true)]);
    by_threads(&pair, [(0, false), (1, false)]);
    let (failure, found) = pair.wait(0);
    assert_eq!(failure, Some(CUresult::CUDA_ERROR_LAUNCH_FAILED));
    assert!(found.contains("message 1 from rank 1 to rank 0 of 2"), "{found}");
    drop(pair);
    // In a group both progress.
    let pair = Pair::new();
    let done = group(|| {
        for rank in 0..2 {
            assert_eq!([pair.send(rank, 4), pair.receive(rank, 4)], [OK, OK]);
        }
    });
    assert_eq!((done, pair.wait(0)), (OK, (None, String::new())));
}

#[test]
fn arguments_that_are_none_are_refused_and_fail_the_group() {
    let pair = Pair::new();
    let ranks = &pair.ranks;
    let [send, receive] = pair.buffers[0];
    let (comm, stream) = (ranks.communicators[0], ranks.stream(0));
    let sum = Op::ncclSum;
    let check = |what: &str, expected: i32, call: &dyn Fn() -> i32| {
        assert_eq!(call(), expected, "{what}: {}", last_error());
        let done = group(|| {
            assert_eq!(call(), expected, "{what}");
        });
        assert_eq!(done, expected, "{what}");
    };
    let reduce = |send, receive, count, kind, op| {
        move || nccl!(ncclAllReduce(send, receive, count, kind, op, comm, stream))
    };
    let host = [0f32; 4];
    let host = host.as_ptr().cast_mut().cast();
    let beyond = |address: *mut c_void, bytes: usize| address.wrapping_byte_add(bytes);
    check("operator", ARGUMENT, &reduce(send, receive, 4, F32, Op::ncclNumOps));
    check("type", ARGUMENT, &reduce(send, receive, 4, Kind::ncclFloat8e4m3, sum));
    check("null", ARGUMENT, &reduce(null_mut(), receive, 4, F32, sum));
    check("host memory", ARGUMENT, &reduce(host, receive, 4, F32, sum));
    check("another device's memory", ARGUMENT, &reduce(pair.buffers[1][0], receive, 4, F32, sum));
    check("alignment", ARGUMENT, &reduce(beyond(send, 2), receive, 3, F32, sum));
    check("overlap", ARGUMENT, &reduce(receive, beyond(receive, 4), 4, F32, sum));
    check("count", ARGUMENT, &reduce(send, receive, usize::MAX / 2, F32, sum));
    check("root", ARGUMENT, &|| pair.broadcast(0, 2));
    check("peer", ARGUMENT, &|| nccl!(ncclSend(send, 4, F32, -1, comm, stream)));
    check("null communicator", ARGUMENT, &|| {
        nccl!(ncclAllReduce(send, receive, 4, F32, sum, null_mut(), stream))
    });
    let mut rank = 0;
    check("null result", ARGUMENT, &|| nccl!(ncclCommUserRank(comm, null_mut())));
    assert_eq!(nccl!(ncclCommUserRank(comm, &raw mut rank)), OK);
    // None of it was queued or counted.
    let done = group(|| {
        for rank in 0..2 {
            assert_eq!(pair.reduce(rank, 4, F32, sum), OK);
        }
    });
    assert_eq!((done, pair.wait(0)), (OK, (None, String::new())));
}

#[test]
fn streams_are_those_of_the_rank() {
    let pair = Pair::new();
    let ranks = &pair.ranks;
    let [send, receive] = pair.buffers[0];
    let (comm, sum) = (ranks.communicators[0], Op::ncclSum);
    let other = ranks.stream(1);
    assert_eq!(nccl!(ncclAllReduce(send, receive, 4, F32, sum, comm, other)), CUDA);
    assert_eq!((pair.error(0), pair.error(1)), (CUDA, REMOTE));
}

#[test]
fn a_stream_that_captures_refuses_operations() {
    let pair = Pair::new();
    let stream = &pair.ranks.streams[0];
    stream.context().bind_to_thread().unwrap();
    let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    stream.begin_capture(mode).unwrap();
    assert_eq!(pair.reduce(0, 4, F32, Op::ncclSum), CUDA);
    let ended = stream.end_capture(
        cudarc::driver::sys::CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH,
    );
    assert_eq!(ended.err().unwrap().0, CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}

#[test]
fn a_group_uses_one_stream_of_a_rank() {
    let sum = Op::ncclSum;
    let pair = Pair::new();
    let second = pair.ranks.streams[0].context().new_stream().unwrap();
    let comm = pair.ranks.communicators[0];
    let [send, receive] = pair.buffers[0];
    let done = group(|| {
        assert_eq!(pair.reduce(0, 4, F32, sum), OK);
        let stream = second.cu_stream().cast();
        assert_eq!(nccl!(ncclAllReduce(send, receive, 4, F32, sum, comm, stream)), OK);
    });
    assert_eq!(done, USAGE);
}

#[test]
fn memory_is_watched_while_an_operation_runs() {
    let both = |pair: &Pair, count: usize| {
        let sums = |rank| assert_eq!(pair.reduce(rank, count, F32, Op::ncclSum), OK);
        assert_eq!(group(|| (0..2).for_each(sums)), OK);
        pair.wait(0)
    };
    let pair = Pair::new();
    let (failure, found) = both(&pair, 5);
    assert_eq!(failure, Some(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS));
    assert!(found.contains("past the end of the 16 bytes"), "{found}");
    drop(pair);

    let mut pair = Pair::new();
    let stream = &pair.ranks.streams[0];
    // SAFETY: that nothing was written is what the test is about.
    let unwritten = unsafe { stream.alloc::<f32>(4) }.unwrap();
    pair.buffers[0][0] = unwritten.device_ptr(stream).0 as *mut c_void;
    let (failure, found) = both(&pair, 4);
    assert_eq!(failure, Some(CUresult::CUDA_ERROR_LAUNCH_FAILED));
    assert!(found.contains("not all written"), "{found}");
}

#[test]
fn communicators_end_once_and_not_inside_of_their_groups() {
    let pair = Pair::new();
    let [first, second] = [pair.ranks.communicators[0], pair.ranks.communicators[1]];
    assert_eq!(nccl!(ncclGroupEnd()), USAGE);
    let done = group(|| {
        assert_eq!(pair.reduce(0, 4, F32, Op::ncclSum), OK);
        assert_eq!(nccl!(ncclCommDestroy(first)), USAGE);
    });
    assert_eq!(done, USAGE);
    assert_eq!(nccl!(ncclCommFinalize(first)), OK);
    assert_eq!(nccl!(ncclCommFinalize(first)), USAGE);
    assert_eq!(pair.reduce(0, 4, F32, Op::ncclSum), USAGE);
    assert_eq!(nccl!(ncclCommDestroy(first)), OK);
    assert_eq!(nccl!(ncclCommDestroy(first)), ARGUMENT);
    assert_eq!(pair.reduce(0, 4, F32, Op::ncclSum), ARGUMENT);
    assert_eq!(nccl!(ncclCommAbort(second)), OK);
    assert_eq!(nccl!(ncclCommAbort(second)), ARGUMENT);
}

#[test]
fn what_is_aborted_writes_nothing_and_the_others_are_told() {
    let pair = Pair::new();
    assert_eq!(pair.reduce(0, 4, F32, Op::ncclSum), OK);
    assert_eq!(nccl!(ncclCommAbort(pair.ranks.communicators[0])), OK);
    // Its stream is free again; the other rank finds the failure before it waits.
    assert_eq!(pair.wait(0), (None, String::new()));
    assert_eq!(pair.error(1), REMOTE);
    assert_eq!(pair.reduce(1, 4, F32, Op::ncclSum), REMOTE);
    let mut left = [9f32; 8];
    let receive = pair.buffers[0][1] as u64;
    pair.ranks.streams[0].context().bind_to_thread().unwrap();
    // SAFETY: the buffer holds eight numbers.
    unsafe { cudarc::driver::result::memcpy_dtoh_sync(&mut left, receive) }.unwrap();
    assert_eq!(left, [0.0; 8]);
}

#[test]
fn ranks_fit_together_or_there_is_no_communicator() {
    let (_vgpu, streams) = devices(&quick(), 2);
    let fresh = || sys::ncclUniqueId { internal: *Id::new().unwrap().internal() };
    let join = |device: usize, ranks: i32, id, rank: i32| {
        streams[device].context().bind_to_thread().unwrap();
        let mut comm = null_mut();
        nccl!(ncclCommInitRank(&raw mut comm, ranks, id, rank))
    };
    assert_eq!(join(0, 0, fresh(), 0), ARGUMENT);
    assert_eq!(join(0, 2, fresh(), 2), ARGUMENT);
    assert_eq!(join(0, 1, sys::ncclUniqueId { internal: [7; 128] }, 0), ARGUMENT);
    assert_eq!(join(0, 1, fresh(), 0), OK);
    let both = |ranks: [i32; 2], each: [i32; 2], devices: [usize; 2]| {
        let id = fresh();
        let mut comms = [null_mut(); 2];
        group(|| {
            for (at, comm) in comms.iter_mut().enumerate() {
                streams[devices[at]].context().bind_to_thread().unwrap();
                assert_eq!(nccl!(ncclCommInitRank(comm, ranks[at], id, each[at])), OK);
            }
        })
    };
    assert_eq!(both([2, 2], [0, 1], [0, 1]), OK);
    assert_eq!(both([2, 2], [1, 0], [0, 1]), OK);
    assert_eq!(both([2, 3], [0, 1], [0, 1]), USAGE);
    assert_eq!(both([2, 2], [1, 1], [0, 1]), USAGE);
    assert_eq!(both([2, 2], [0, 1], [1, 1]), USAGE);
    let mut comms = [null_mut(); 3];
    let mut all =
        |count: i32, list: &[i32]| nccl!(ncclCommInitAll(comms.as_mut_ptr(), count, list.as_ptr()));
    assert_eq!(all(0, &[]), ARGUMENT);
    assert_eq!(all(2, &[0, 2]), ARGUMENT);
    assert_eq!(all(2, &[1, 1]), USAGE);
    assert_eq!(all(2, &[1, 0]), OK);
    assert_eq!(group(|| assert_eq!(all(2, &[0, 1]), USAGE)), USAGE);
}
