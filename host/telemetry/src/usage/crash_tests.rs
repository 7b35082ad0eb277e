//! The promises of the journal under crashes at every operation, a full disk, and damaged files.

use super::disk::Disk;
use super::journal::{Kept, Position, read, scan};
use super::record::sample;
use super::simulated_disk::{Loss, SimulatedDisk};
use super::{Durability, Meter, UsageConfig, UsageError, UsageQuery};
use std::collections::HashSet;
use std::sync::Arc;

fn config(durability: Durability) -> UsageConfig {
    // Three records fill a segment.
    UsageConfig { durability, segment_bytes_max: 350, ..UsageConfig::default() }
}

fn meter(disk: &SimulatedDisk, config: &UsageConfig) -> Result<Meter, UsageError> {
    Meter::on(Arc::new(disk.clone()), config)
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Leaves one record and waits for it.
fn leave(meter: &Meter, request: &str) -> Result<(), UsageError> {
    block(meter.reserve()?.commit(sample(request)))
}

/// Everything that the journal holds.
fn kept(disk: &SimulatedDisk) -> Vec<Kept> {
    let segments: Vec<_> = scan(disk).unwrap().into();
    read(disk, &segments, Position::default(), usize::MAX).unwrap().0
}

fn answered(meter: &Meter) -> u64 {
    meter.query(&UsageQuery::default()).iter().map(|row| row.totals.answered).sum()
}

/// Leaves records until the disk is down; returns those that were acknowledged, and all.
fn work(disk: &SimulatedDisk, config: &UsageConfig, name: &str) -> (Vec<String>, Vec<String>) {
    let (mut good, mut all) = (Vec::new(), Vec::new());
    let Ok(meter) = meter(disk, config) else { return (good, all) };
    for index in 0..8 {
        let request = format!("{name}-{index}");
        all.push(request.clone());
        if leave(&meter, &request).is_ok() {
            good.push(request);
        } else if disk.crashed() {
            break;
        }
    }
    (good, all)
}

/// Crashes at every operation of two lives, with every loss; `check` gets the disk after it, and what
/// was acknowledged and tried.
fn at_every_crash(
    config: &UsageConfig,
    losses: &[Loss],
    check: impl Fn(&SimulatedDisk, &[String], &[String]),
) {
    let mut crashes = 0;
    for bytes in [0, 1, 9, 60, usize::MAX] {
        for operation in 0.. {
            let before = SimulatedDisk::default();
            let (mut good, mut all) = work(&before, config, "first");
            let disk = before.reboot(Loss::Nothing);
            disk.crash_at(operation, bytes);
            let (more_good, more_all) = work(&disk, config, "second");
            good.extend(more_good);
            all.extend(more_all);
            if !disk.crashed() {
                break;
            }
            crashes += 1;
            for &loss in losses {
                check(&disk.reboot(loss), &good, &all);
            }
        }
    }
    assert!(crashes > 50, "only {crashes} crashes");
}

fn requests(kept: &[Kept]) -> Vec<String> {
    kept.iter().map(|one| one.record.request.to_string()).collect()
}

#[test]
fn what_was_acknowledged_is_there_once_after_a_crash_at_every_operation() {
    let check = |config: &UsageConfig, losses: &[Loss]| {
        at_every_crash(config, losses, |disk, good, all| {
            let meter = meter(disk, config).unwrap();
            leave(&meter, "after").unwrap();
            let kept = kept(disk);
            let found = requests(&kept);
            let unique: HashSet<&String> = found.iter().collect();
            assert_eq!(unique.len(), found.len(), "twice: {found:?}");
            let ids: HashSet<String> = kept.iter().map(Kept::id).collect();
            assert_eq!(ids.len(), found.len());
            assert!(good.iter().all(|one| unique.contains(one)), "{good:?} in {found:?}");
            assert!(found.iter().all(|one| all.contains(one) || one == "after"), "{found:?}");
            assert_eq!(found.last().map(String::as_str), Some("after"));
            assert_eq!(answered(&meter), found.len() as u64);
        });
    };
    check(&config(Durability::Os), &[Loss::Nothing]);
    check(&config(Durability::Disk), &[Loss::Nothing, Loss::Unsynced, Loss::Zeros]);
}

#[test]
fn sums_stay_right_when_segments_are_removed_and_the_machine_crashes() {
    let config = UsageConfig { retention_bytes_max: 0, ..config(Durability::Disk) };
    at_every_crash(&config, &[Loss::Nothing, Loss::Unsynced], |disk, good, all| {
        let meter = meter(disk, &config).unwrap();
        let (sum, least, most) = (answered(&meter), good.len() as u64, all.len() as u64);
        assert!((least..=most).contains(&sum), "{least} <= {sum} <= {most}");
        assert!(sum <= least + 1, "only the record at hand may be there unasked: {sum}, {least}");
    });
}

#[test]
fn a_full_disk_refuses_calls_before_they_run_and_heals() {
    for refuse_cuts in [false, true] {
        let disk = SimulatedDisk::default();
        let meter = meter(&disk, &config(Durability::Os)).unwrap();
        leave(&meter, "a").unwrap();
        disk.set_room(Some(disk.bytes(&disk.names()[0]).len() + 20));
        disk.refuse_cuts(refuse_cuts);
        assert!(matches!(leave(&meter, "b"), Err(UsageError::Failing { .. })));
        let reason = meter.failing().unwrap();
        assert!(reason.contains("usage records cannot be written"), "{reason}");
        assert!(matches!(meter.reserve(), Err(UsageError::Failing { .. })));
        assert_eq!((meter.stats().lost, meter.stats().refused), (1, 1));
        disk.set_room(None);
        // The writer tries by itself; nobody has to come first.
        while meter.failing().is_some() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        leave(&meter, "c").unwrap();
        assert_eq!(requests(&kept(&disk)), ["a", "c"]);
        drop(meter);
        let again = meter_again(&disk);
        assert_eq!(answered(&again), 2);
    }
}

fn meter_again(disk: &SimulatedDisk) -> Meter {
    meter(&disk.reboot(Loss::Nothing), &config(Durability::Os)).unwrap()
}

#[test]
fn there_are_as_many_slots_as_the_queue_is_long() {
    let disk = SimulatedDisk::default();
    let config = UsageConfig { queue_len_max: 2, ..config(Durability::Os) };
    let meter = meter(&disk, &config).unwrap();
    let first = meter.reserve().unwrap();
    let _second = meter.reserve().unwrap();
    assert!(matches!(meter.reserve(), Err(UsageError::Full { max: 2 })));
    block(first.commit(sample("a"))).unwrap();
    // The slot comes back when the writer is done with the record, just behind the answer.
    while meter.stats().slots > 1 {
        std::thread::yield_now();
    }
    assert!(meter.reserve().is_ok());
}

#[test]
fn a_caller_that_goes_away_leaves_its_record() {
    let disk = SimulatedDisk::default();
    let meter = meter(&disk, &config(Durability::Os)).unwrap();
    drop(meter.reserve().unwrap().commit(sample("gone")));
    drop(meter);
    assert_eq!(requests(&kept(&disk)), ["gone"]);
}

#[test]
fn a_journal_at_its_limit_refuses_until_it_is_exported() {
    let disk = SimulatedDisk::default();
    let config = UsageConfig {
        retention_bytes_max: 0,
        journal_bytes_max: 3 * 4096,
        // Nobody listens there.
        export_url: Some("http://127.0.0.1:9/".to_owned()),
        ..config(Durability::Os)
    };
    let meter = meter(&disk, &config).unwrap();
    let mut written = 0;
    let refused = loop {
        match leave(&meter, "x") {
            Ok(()) => written += 1,
            Err(error) => break error.to_string(),
        }
        assert!(written < 20, "the limit does not hold");
    };
    assert!(refused.contains("journal_bytes_max"), "{refused}");
    assert_eq!(kept(&disk).len(), written, "nothing that was not exported is removed");
    assert_eq!(meter.stats().export_lag, written as u64);
}

#[test]
fn damage_costs_the_rest_of_one_segment_and_no_more() {
    let disk = SimulatedDisk::default();
    {
        let meter = meter(&disk, &config(Durability::Os)).unwrap();
        (0..8).for_each(|index| leave(&meter, &index.to_string()).unwrap());
    }
    let first = disk.names()[1].clone();
    let mut bytes = disk.bytes(&first);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    disk.set_bytes(&first, bytes);
    let found = requests(&kept(&disk));
    assert!(found.len() < 8 && found.ends_with(&["6".to_owned(), "7".to_owned()]), "{found:?}");
    // A file of zeros, a stray file and a header alone are no segments, and their names stay free.
    disk.set_bytes("usage-00000000000000ff.journal", vec![0; 100]);
    disk.set_bytes("usage-0000000000000100.journal", vec![0; 5]);
    disk.set_bytes("usage-nonsense.journal", vec![0; 100]);
    let again = meter(&disk, &config(Durability::Os)).unwrap();
    leave(&again, "after").unwrap();
    assert_eq!(requests(&kept(&disk)).last().unwrap(), "after");
    assert!(disk.list().unwrap().iter().any(|(name, _)| name == "usage-00000000000000ff.journal"));
}

#[test]
fn a_damaged_index_is_made_again() {
    let disk = SimulatedDisk::default();
    {
        let meter = meter(&disk, &config(Durability::Os)).unwrap();
        (0..8).for_each(|index| leave(&meter, &index.to_string()).unwrap());
    }
    disk.set_bytes("totals.json", b"{".to_vec());
    assert_eq!(answered(&meter_again(&disk)), 8);
}
