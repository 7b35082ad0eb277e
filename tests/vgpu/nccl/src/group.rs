//! Groups of calls: what a thread asks for between start and end is one launch for each rank.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_int;

use crate::communicator::{self, Communicator, Entry, assemble, find, next};
use crate::driver;
use crate::meeting::{Part, Ticket, locked};
use crate::operation::Operation;
use crate::status::Failure;

/// An operation that was asked for.
#[derive(Clone, Copy, Debug)]
struct Call {
    communicator: u64,
    stream: u64,
    operation: Operation,
}

/// A communicator that was asked for, and where its handle goes.
#[derive(Clone, Copy, Debug)]
struct Opening {
    entry: Entry,
    out: *mut u64,
}

/// What a thread has asked for since its group began.
#[derive(Debug, Default)]
struct Group {
    depth: u32,
    calls: Vec<Call>,
    openings: Vec<Opening>,
    /// The first call that was refused; it fails the group.
    failure: Option<Failure>,
}

thread_local! {
    static GROUP: RefCell<Group> = RefCell::new(Group::default());
}

/// Begins a group, or a group in a group.
pub(crate) fn start() {
    GROUP.with_borrow_mut(|group| group.depth += 1);
}

/// Ends a group: does what was asked for, if it is the outermost one.
///
/// # Errors
/// Invalid usage without a group; what a call of the group failed with, or fails with now.
pub(crate) fn end() -> Result<(), Failure> {
    let done = GROUP.with_borrow_mut(|group| match group.depth {
        0 => Err(Failure::usage("ncclGroupEnd without ncclGroupStart")),
        1 => Ok(Some(std::mem::take(group))),
        _ => {
            group.depth -= 1;
            Ok(None)
        }
    });
    done?.map_or(Ok(()), Group::launch)
}

/// Whether the thread is between start and end.
pub(crate) fn is_open() -> bool {
    GROUP.with_borrow(|group| group.depth > 0)
}

/// Whether the thread's group holds operations of a communicator.
pub(crate) fn uses(communicator: u64) -> bool {
    GROUP.with_borrow(|group| group.calls.iter().any(|call| call.communicator == communicator))
}

/// Notes that a call of the thread's group was refused.
pub(crate) fn refused(failure: &Failure) {
    GROUP.with_borrow_mut(|group| {
        if group.depth > 0 {
            group.failure.get_or_insert_with(|| failure.clone());
        }
    });
}

/// Makes a communicator for the handle behind `out`, now or at the group's end.
///
/// # Errors
/// As [`assemble`], outside of groups.
pub(crate) fn open(entry: Entry, out: *mut u64) -> Result<(), Failure> {
    let opening = Opening { entry, out };
    if is_open() {
        GROUP.with_borrow_mut(|group| group.openings.push(opening));
        return Ok(());
    }
    Group { openings: vec![opening], ..Group::default() }.launch()
}

/// Queues an operation, now or at the group's end.
///
/// # Errors
/// What can be told of the call alone; outside of groups also what its partners make of it.
pub(crate) fn call(communicator: u64, stream: u64, operation: Operation) -> Result<(), Failure> {
    let own = find(communicator)?;
    own.usable()?;
    for range in operation.check(own.rank, own.ranks)? {
        if range.is_empty() {
            continue;
        }
        let device = driver::device_of(range.start)?;
        if device != Some(own.device) {
            let found = device.map_or("no device".to_owned(), |device| format!("device {device}"));
            return Err(Failure::argument(format!(
                "{:#x} is memory of {found}; rank {} runs on device {}",
                range.start, own.rank, own.device
            )));
        }
    }
    let call = Call { communicator, stream, operation };
    if is_open() {
        GROUP.with_borrow_mut(|group| group.calls.push(call));
        return Ok(());
    }
    Group { calls: vec![call], ..Group::default() }.launch()
}

/// What one rank does for a group.
struct Launch {
    own: Communicator,
    device: c_int,
    stream: u64,
    parts: Vec<Part>,
}

impl Group {
    fn launch(self) -> Result<(), Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        if !self.openings.is_empty() {
            if !self.calls.is_empty() {
                return Err(Failure::usage("a group with new communicators and with operations"));
            }
            return self.open();
        }
        let mut launches = BTreeMap::new();
        let met = self.meet(&mut launches);
        let queued = met.and_then(|()| queue(&launches));
        if let Err(failure) = &queued {
            for launch in launches.values() {
                launch.own.fail(failure);
                for part in &launch.parts {
                    locked(&part.meeting).fail(failure.text.clone());
                }
            }
        }
        queued
    }

    fn open(&self) -> Result<(), Failure> {
        let entries: Vec<Entry> = self.openings.iter().map(|opening| opening.entry).collect();
        for (opening, handle) in self.openings.iter().zip(assemble(&entries)?) {
            // SAFETY: the interface's contract is that a pointer that is not null, which was
            // checked, can be written until the group ends.
            unsafe { opening.out.write(handle) };
        }
        Ok(())
    }

    /// Calls every rank of the group to its meetings.
    fn meet(&self, launches: &mut BTreeMap<u64, Launch>) -> Result<(), Failure> {
        let group = next();
        for call in &self.calls {
            let own = find(call.communicator)?;
            let [reads, writes] = call.operation.check(own.rank, own.ranks)?;
            let (device, stream) = (own.device, call.stream);
            let launch = launches.entry(call.communicator).or_insert_with(|| Launch {
                own: own.clone(),
                device,
                stream,
                parts: Vec::new(),
            });
            if launch.stream != stream {
                return Err(Failure::usage("a group with several streams of one rank"));
            }
            let (meeting, place) = own.join(&call.operation, group)?;
            let operation = call.operation;
            launch.parts.push(Part { meeting, place, operation, reads, writes });
        }
        Ok(())
    }
}

fn queue(launches: &BTreeMap<u64, Launch>) -> Result<(), Failure> {
    for launch in launches.values() {
        let aborted = launch.own.aborted.clone();
        let (first, then) = Ticket { parts: launch.parts.clone(), aborted }.works();
        driver::enqueue(launch.device, launch.stream, first, then)?;
        for part in &launch.parts {
            locked(&part.meeting).queue(part.place);
        }
    }
    Ok(())
}

/// Makes communicators for all `devices` at once.
///
/// # Errors
/// As [`assemble`]; invalid usage inside of groups.
pub(crate) fn open_all(devices: &[c_int]) -> Result<Vec<u64>, Failure> {
    if is_open() {
        return Err(Failure::usage("ncclCommInitAll inside of a group"));
    }
    let id = communicator::UniqueId::fresh();
    let ranks = devices.len() as c_int;
    let entry =
        |(rank, device): (usize, &c_int)| Entry { id, ranks, rank: rank as c_int, device: *device };
    assemble(&devices.iter().enumerate().map(entry).collect::<Vec<_>>())
}
