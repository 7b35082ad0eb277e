//! Collective operations and messages through the unmodified `cudarc`, against plain arithmetic.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod ranks;

use aimass_vgpu::{Checks, Settings};
use cudarc::driver::{CudaContext, DevicePtrMut, DeviceRepr, ValidAsZeroBits};
use cudarc::nccl::{Comm, Id, NcclType, ReduceOp, group_end, group_start, result, sys};
use half::{bf16, f16};
use ranks::{Ranks, devices, group, number};

/// A type of elements, and how precisely it holds numbers.
trait Element: NcclType + DeviceRepr + ValidAsZeroBits + Copy + PartialEq + std::fmt::Debug {
    const INTEGER: bool;
    const PRECISION: f64;
    fn of(value: f64) -> Self;
    fn number(self) -> f64;
}

macro_rules! elements {
    ($($ty:ty, $integer:literal, $precision:expr, $of:expr, $number:expr;)*) => {$(
        impl Element for $ty {
            const INTEGER: bool = $integer;
            const PRECISION: f64 = $precision;
            fn of(value: f64) -> Self {
                $of(value)
            }
            fn number(self) -> f64 {
                $number(self)
            }
        }
    )*};
}

elements! {
    f32, false, 1.2e-7, |x| x as f32, f64::from;
    f16, false, 9.8e-4, f16::from_f64, f16::to_f64;
    bf16, false, 7.9e-3, bf16::from_f64, bf16::to_f64;
    i32, true, 0.0, |x| x as i32, f64::from;
    i64, true, 0.0, |x| x as i64, |x| x as f64;
}

const OPS: [ReduceOp; 5] =
    [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min, ReduceOp::Avg];
const COUNT: usize = 6;

/// Small whole numbers: what every type holds, and their sums and products.
fn given(rank: usize, place: usize) -> f64 {
    ((rank * 31 + place * 17 + rank * place) % 7) as f64 - 3.0
}

fn combined<T: Element>(op: &ReduceOp, ranks: usize, place: usize) -> f64 {
    let each = (0..ranks).map(|rank| given(rank, place));
    match op {
        ReduceOp::Sum => each.sum(),
        ReduceOp::Prod => each.product(),
        ReduceOp::Max => each.fold(f64::MIN, f64::max),
        ReduceOp::Min => each.fold(f64::MAX, f64::min),
        ReduceOp::Avg if T::INTEGER => (each.sum::<f64>() / ranks as f64).trunc(),
        ReduceOp::Avg => each.sum::<f64>() / ranks as f64,
    }
}

fn check<T: Element>(what: &str, found: &[T], expected: impl Fn(usize) -> f64) {
    for (place, found) in found.iter().enumerate() {
        let expected = expected(place);
        // Parts of an average are rounded each, and their sums.
        let bound = 8.0 * T::PRECISION * expected.abs().max(3.0);
        let near = (found.number() - expected).abs() <= bound;
        assert!(near, "{what} [{place}]: expected {expected}, got {found:?}");
    }
}

/// Every collective operation, on `ranks` devices that this thread drives.
fn collectives<T: Element>(ranks: usize, seed: u64) {
    let settings = Settings { seed, checks: Checks::Memory, ..Settings::default() };
    let (vgpu, streams) = devices(&settings, ranks as u32);
    let comms = Comm::from_devices(streams.clone()).unwrap();
    let all =
        |rank: usize, n: usize| -> Vec<T> { (0..n).map(|at| T::of(given(rank, at))).collect() };
    for op in &OPS {
        let sent: Vec<_> = streams
            .iter()
            .enumerate()
            .map(|(r, s)| s.clone_htod(&all(r, COUNT)).unwrap())
            .collect();
        let wide: Vec<_> = streams
            .iter()
            .enumerate()
            .map(|(r, s)| s.clone_htod(&all(r, COUNT * ranks)).unwrap())
            .collect();
        // SAFETY: what is read of these was written by an operation, or the shadow memory tells.
        let fresh = |n: usize| streams.iter().map(move |s| unsafe { s.alloc::<T>(n) }.unwrap());
        let [mut sums, mut scattered, mut told, mut joined] =
            [COUNT, COUNT, COUNT, COUNT].map(|n| fresh(n).collect::<Vec<_>>());
        let mut gathered: Vec<_> = fresh(COUNT * ranks).collect();
        let root = ranks - 1;
        group_start().unwrap();
        for (rank, comm) in comms.iter().enumerate() {
            comm.all_reduce(&sent[rank], &mut sums[rank], op).unwrap();
            comm.reduce_scatter(&wide[rank], &mut scattered[rank], op).unwrap();
            comm.all_gather(&sent[rank], &mut gathered[rank]).unwrap();
            comm.broadcast((rank == root).then_some(&sent[rank]), &mut told[rank], root as i32)
                .unwrap();
            let out = (rank == root).then_some(&mut joined[rank]);
            comm.reduce(&sent[rank], out, op, root as i32).unwrap();
        }
        group_end().unwrap();
        for (rank, stream) in streams.iter().enumerate() {
            let read = |slice| stream.clone_dtoh(slice).unwrap();
            check("all-reduce", &read(&sums[rank]), |at| combined::<T>(op, ranks, at));
            check("reduce-scatter", &read(&scattered[rank]), |at| {
                combined::<T>(op, ranks, rank * COUNT + at)
            });
            check("all-gather", &read(&gathered[rank]), |at| given(at / COUNT, at % COUNT));
            check("broadcast", &read(&told[rank]), |at| given(root, at));
            if rank == root {
                check("reduce", &read(&joined[rank]), |at| combined::<T>(op, ranks, at));
            }
        }
    }
    assert_eq!(vgpu.findings(), Vec::<String>::new());
}

#[test]
fn every_collective_of_every_type_is_plain_arithmetic() {
    for ranks in 1..=4 {
        for seed in [0, 7] {
            collectives::<f32>(ranks, seed);
            collectives::<f16>(ranks, seed);
            collectives::<bf16>(ranks, seed);
            collectives::<i32>(ranks, seed);
            collectives::<i64>(ranks, seed);
        }
    }
}

/// What the thread of one rank does: sums, then a ring of messages, without waiting in between.
fn rank_of_a_thread(rank: usize, ranks: usize, id: Id) -> (Vec<f32>, Vec<f32>) {
    let stream = CudaContext::new(rank).unwrap().new_stream().unwrap();
    let comm = Comm::from_rank(stream.clone(), rank, ranks, id).unwrap();
    let mut sums = stream.clone_htod(&[rank as f32 + 1.0; 4]).unwrap();
    comm.all_reduce_in_place(&mut sums, &ReduceOp::Sum).unwrap();
    comm.all_reduce_in_place(&mut sums, &ReduceOp::Max).unwrap();
    let own = stream.clone_htod(&[rank as f32; 3]).unwrap();
    let mut before = stream.alloc_zeros::<f32>(3).unwrap();
    group_start().unwrap();
    comm.send(&own, ((rank + 1) % ranks) as i32).unwrap();
    comm.recv(&mut before, ((rank + ranks - 1) % ranks) as i32).unwrap();
    group_end().unwrap();
    (stream.clone_dtoh(&sums).unwrap(), stream.clone_dtoh(&before).unwrap())
}

#[test]
fn threads_that_drive_a_rank_each_wait_for_each_other() {
    for seed in 0..4 {
        for ranks in 1..=4usize {
            let settings = Settings { seed, checks: Checks::Memory, ..Settings::default() };
            let (vgpu, _streams) = devices(&settings, ranks as u32);
            let id = Id::new().unwrap();
            let found: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..ranks)
                    .map(|rank| scope.spawn(move || rank_of_a_thread(rank, ranks, id)))
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().unwrap_or_else(|_| panic!("{:?}", vgpu.findings())))
                    .collect()
            });
            for (rank, (sums, before)) in found.iter().enumerate() {
                let expected = (ranks * (ranks + 1) / 2) as f32;
                assert_eq!(*sums, [expected; 4], "{ranks} ranks");
                assert_eq!(*before, [((rank + ranks - 1) % ranks) as f32; 3], "{ranks} ranks");
            }
            assert_eq!(vgpu.findings(), Vec::<String>::new());
        }
    }
}

#[test]
fn operations_come_in_the_order_of_their_streams() {
    for seed in 0..8 {
        let ranks = Ranks::new(&Settings { seed, ..Settings::default() }, 2);
        let mut own: Vec<_> =
            (0..2).map(|rank| ranks.upload(rank, &[1.0f32 + rank as f32])).collect();
        // 1 and 2; then 3 each, 6 each; a copy in between makes rank 0's 10, so that it ends with 16.
        for round in 0..3 {
            if round == 2 {
                ranks.streams[0].memcpy_htod(&[10.0f32], &mut own[0]).unwrap();
            }
            let done = group(|| {
                for (rank, own) in own.iter_mut().enumerate() {
                    let address = own.device_ptr_mut(&ranks.streams[rank]).0 as *mut _;
                    assert_eq!(ranks.sum(rank, [address, address], 1), 0);
                }
            });
            assert_eq!(done, 0);
        }
        for (own, stream) in own.iter().zip(&ranks.streams) {
            assert_eq!(stream.clone_dtoh(own).unwrap(), [16.0]);
        }
    }
}

#[test]
fn ranks_gather_and_scatter_in_place() {
    let ranks = Ranks::new(&Settings { checks: Checks::Memory, ..Settings::default() }, 3);
    let mut all: Vec<_> = (0..3)
        .map(|rank| {
            ranks.upload(rank, &[0, 1, 2].map(|at| if at == rank { 5 + at as i32 } else { 0 }))
        })
        .collect();
    let kind = sys::ncclDataType_t::ncclInt32;
    let pairs: Vec<_> = all
        .iter_mut()
        .enumerate()
        .map(|(rank, own)| {
            let start = own.device_ptr_mut(&ranks.streams[rank]).0;
            (start, start + 4 * rank as u64)
        })
        .collect();
    let each = |scatter: bool| {
        for (rank, (start, part)) in pairs.iter().enumerate() {
            let (comm, stream) = (ranks.communicators[rank], ranks.stream(rank));
            let (start, part) = (*start as *mut _, *part as *mut _);
            // SAFETY: the buffers hold an element of each rank.
            let done = unsafe {
                if scatter {
                    let op = sys::ncclRedOp_t::ncclSum;
                    sys::ncclReduceScatter(start, part, 1, kind, op, comm, stream)
                } else {
                    sys::ncclAllGather(part, start, 1, kind, comm, stream)
                }
            };
            assert_eq!(number(done), 0);
        }
    };
    assert_eq!(group(|| each(false)), 0);
    for (own, stream) in all.iter().zip(&ranks.streams) {
        assert_eq!(stream.clone_dtoh(own).unwrap(), [5, 6, 7]);
    }
    assert_eq!(group(|| each(true)), 0);
    for (rank, own) in all.iter().enumerate() {
        let mut expected = [5, 6, 7];
        expected[rank] *= 3;
        assert_eq!(ranks.streams[rank].clone_dtoh(own).unwrap(), expected);
    }
}

#[test]
fn a_rank_may_send_to_itself_in_a_group() {
    let ranks = Ranks::new(&Settings { checks: Checks::Memory, ..Settings::default() }, 1);
    let (own, mut copy) = (ranks.upload(0, &[3i64, -4]), ranks.zeros::<i64>(0, 2));
    let [from, to] = ranks.pointers(0, &own, &mut copy);
    let (kind, comm, stream) = (i64::as_nccl_type(), ranks.communicators[0], ranks.stream(0));
    let done = group(|| {
        // SAFETY: both buffers hold two elements.
        unsafe {
            result::send(from, 2, kind, 0, comm, stream).unwrap();
            result::recv(to, 2, kind, 0, comm, stream).unwrap();
        }
    });
    assert_eq!(done, 0);
    assert_eq!(ranks.streams[0].clone_dtoh(&copy).unwrap(), [3, -4]);
}

#[test]
fn a_communicator_knows_its_place() {
    let ranks = Ranks::new(&Settings::default(), 3);
    for (rank, comm) in ranks.communicators.iter().enumerate() {
        // SAFETY: the communicator is open.
        unsafe {
            assert_eq!(result::comm_count(*comm).unwrap(), 3);
            assert_eq!(result::comm_user_rank(*comm).unwrap(), rank as i32);
            assert_eq!(result::comm_cu_device(*comm).unwrap(), rank as i32);
            result::comm_finalize(*comm).unwrap();
            result::comm_destroy(*comm).unwrap();
        }
    }
    assert_eq!(result::get_nccl_version().unwrap(), 23_007);
    // SAFETY: the library gives a string that stays.
    let text = unsafe {
        std::ffi::CStr::from_ptr(sys::ncclGetErrorString(sys::ncclResult_t::ncclInvalidUsage))
    };
    assert!(text.to_str().unwrap().contains("invalid usage"));
}
