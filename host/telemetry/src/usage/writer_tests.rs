//! Who writes which records, and how many at once.

use super::record::sample;
use super::simulated_disk::SimulatedDisk;
use super::{Durability, Meter, MeterStats, UsageConfig, UsageError};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Records that are left at once.
const MANY: usize = 64;

fn meter(disk: &SimulatedDisk, config: &UsageConfig) -> Meter {
    Meter::on(Arc::new(disk.clone()), config).unwrap()
}

fn of(durability: Durability) -> UsageConfig {
    UsageConfig { durability, ..UsageConfig::default() }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Leaves records one after the other, each once the one before is written.
fn leave(meter: &Meter, count: usize) {
    for _ in 0..count {
        block(meter.reserve().unwrap().commit(sample("r"))).unwrap();
    }
}

/// Leaves many records without waiting for any.
fn leave_many(meter: &Meter) -> Vec<impl Future<Output = Result<(), UsageError>> + use<>> {
    (0..MANY).map(|_| meter.reserve().unwrap().commit(sample("r"))).collect()
}

/// Records, those of them that waited for the thread, and writes.
fn counts(meter: &Meter) -> (u64, u64, u64) {
    let MeterStats { records, handed_over, writes, .. } = meter.stats();
    (records, handed_over, writes)
}

#[test]
fn callers_write_their_records_themselves_but_for_the_first_of_a_segment() {
    let disk = SimulatedDisk::default();
    let one_segment = meter(&disk, &of(Durability::Os));
    leave(&one_segment, 100);
    assert_eq!(counts(&one_segment), (100, 1, 100));

    let disk = SimulatedDisk::default();
    let config = UsageConfig { segment_bytes_max: 350, ..of(Durability::Os) };
    let many_segments = meter(&disk, &config);
    leave(&many_segments, 9);
    let segments = disk.names().iter().filter(|name| name.ends_with(".journal")).count();
    assert!((3..9).contains(&segments), "{segments}");
    assert_eq!(counts(&many_segments), (9, segments as u64, 9));
}

#[test]
fn whoever_finds_another_caller_writing_leaves_the_record_to_it() {
    // The thread, which looks after the journal now and then, may come between once.
    assert!((0..3).any(|_| one_caller_writes_what_others_leave()));
}

/// Whether a caller wrote all that was left while it wrote, and did so before it went on.
fn one_caller_writes_what_others_leave() -> bool {
    let disk = SimulatedDisk::default();
    let meter = Arc::new(meter(&disk, &of(Durability::Os)));
    leave(&meter, 1);
    let (before, held) = (disk.begun(), disk.hold());
    let first = std::thread::spawn({
        let meter = meter.clone();
        move || leave(&meter, 1)
    });
    while disk.begun() == before {
        std::thread::yield_now();
    }
    // None of these waits for the disk, or for a thread.
    let many = leave_many(&meter);
    drop(held);
    first.join().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    let mut all = true;
    for written in many {
        all &= matches!(pin!(written).poll(&mut context), Poll::Ready(Ok(())));
    }
    all && counts(&meter) == (2 + MANY as u64, 1, 3)
}

#[test]
fn what_has_to_be_on_the_device_is_the_threads_and_many_share_a_write() {
    let disk = SimulatedDisk::default();
    let meter = meter(&disk, &of(Durability::Disk));
    leave(&meter, 10);
    assert_eq!(counts(&meter), (10, 10, 10));
    let held = disk.hold();
    let many = leave_many(&meter);
    drop(held);
    for written in many {
        block(written).unwrap();
    }
    let (records, handed_over, writes) = counts(&meter);
    assert_eq!((records, handed_over), (10 + MANY as u64, 10 + MANY as u64));
    assert!(writes <= 12, "{writes} writes: what the thread took up first, and the rest");
}

#[test]
fn a_slow_disk_is_the_threads_until_it_is_quick_again() {
    let disk = SimulatedDisk::default();
    let meter = meter(&disk, &of(Durability::Os));
    leave(&meter, 2);
    assert_eq!(counts(&meter).1, 1);
    disk.set_delay(Duration::from_millis(2));
    leave(&meter, 5);
    assert_eq!(counts(&meter).1, 5, "the first of them found out");
    disk.set_delay(Duration::from_micros(1999));
    leave(&meter, 5);
    assert_eq!(counts(&meter).1, 6, "the first of them found out");
}

#[test]
fn a_record_is_refused_when_the_meter_is_gone() {
    let disk = SimulatedDisk::default();
    let meter = meter(&disk, &of(Durability::Os));
    leave(&meter, 2);
    let late = meter.reserve().unwrap();
    drop(meter);
    let before = disk.bytes(&disk.names()[1]);
    assert!(matches!(block(late.commit(sample("late"))), Err(UsageError::Failing { .. })));
    assert_eq!(disk.bytes(&disk.names()[1]), before);
}
