//! Communicators: how ranks find each other by an identifier, what they share, and how they end.

use std::collections::HashMap;
use std::ffi::c_int;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::driver;
use crate::meeting::{Meeting, Shared, locked};
use crate::operation::{Kind, Operation};
use crate::status::{Failure, Status};

/// `ncclUniqueId`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct UniqueId {
    internal: [u8; 128],
}

/// Marks an identifier that came from this library.
const MARK: [u8; 8] = *b"vgpuNCCL";

impl UniqueId {
    /// An identifier that no other call gave.
    pub(crate) fn fresh() -> Self {
        let mut internal = [0; 128];
        internal[..8].copy_from_slice(&MARK);
        internal[8..16].copy_from_slice(&next().to_le_bytes());
        Self { internal }
    }

    fn number(&self) -> Result<u64, Failure> {
        let (mark, rest) = self.internal.split_at(8);
        let number: [u8; 8] = rest[..8].try_into().unwrap_or_default();
        let is_ours = mark == MARK && rest[8..].iter().all(|byte| *byte == 0);
        match is_ours {
            true => Ok(u64::from_le_bytes(number)),
            false => Err(Failure::argument("the identifier is not one of ncclGetUniqueId")),
        }
    }
}

/// What the ranks of one communicator share.
#[derive(Debug)]
struct Clique {
    ranks: usize,
    /// Meetings that not all members were called to yet.
    meetings: HashMap<Key, Shared>,
    /// Collective operations that each rank has called.
    collectives: Vec<u64>,
    /// Messages that were sent, and received, from one rank to another.
    messages: HashMap<(usize, usize, bool), u64>,
    /// Why nothing more can be done: the failure and the rank that it is of.
    error: Option<(usize, Failure)>,
}

/// What members of a meeting find it by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Collective(u64),
    Message { from: usize, to: usize, number: u64 },
}

/// One rank's end (`ncclComm_t`).
#[derive(Clone, Debug)]
pub(crate) struct Communicator {
    clique: Arc<Mutex<Clique>>,
    pub(crate) rank: usize,
    pub(crate) ranks: usize,
    pub(crate) device: c_int,
    pub(crate) aborted: Arc<AtomicBool>,
    finalized: bool,
}

/// Ranks on their way to a communicator.
#[derive(Debug, Default)]
struct Assembly {
    ranks: usize,
    devices: Vec<Option<c_int>>,
    clique: Option<Arc<Mutex<Clique>>>,
    failed: Option<Failure>,
}

/// A call of `ncclCommInitRank`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) id: UniqueId,
    pub(crate) ranks: c_int,
    pub(crate) rank: c_int,
    pub(crate) device: c_int,
}

static COMMUNICATORS: Mutex<Option<HashMap<u64, Communicator>>> = Mutex::new(None);
static ASSEMBLIES: Mutex<Option<HashMap<u64, Arc<Mutex<Assembly>>>>> = Mutex::new(None);
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A number that was not given before.
pub(crate) fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The communicator of a handle.
///
/// # Errors
/// Invalid argument: null, destroyed, or never made.
pub(crate) fn find(handle: u64) -> Result<Communicator, Failure> {
    let all = lock(&COMMUNICATORS);
    let found = all.as_ref().and_then(|all| all.get(&handle)).cloned();
    found.ok_or_else(|| Failure::argument(format!("{handle:#x} is no communicator")))
}

/// Ends a handle; nothing of it is known afterwards.
///
/// # Errors
/// As [`find`].
pub(crate) fn remove(handle: u64) -> Result<Communicator, Failure> {
    let removed = lock(&COMMUNICATORS).as_mut().and_then(|all| all.remove(&handle));
    removed.ok_or_else(|| Failure::argument(format!("{handle:#x} is no communicator")))
}

/// Refuses operations from now on; what is queued still runs.
///
/// # Errors
/// As [`find`]; invalid usage if that was done before.
pub(crate) fn finalize(handle: u64) -> Result<(), Failure> {
    let mut all = lock(&COMMUNICATORS);
    let found = all.as_mut().and_then(|all| all.get_mut(&handle));
    let own = found.ok_or_else(|| Failure::argument(format!("{handle:#x} is no communicator")))?;
    if own.finalized {
        return Err(Failure::usage("the communicator was finalized before"));
    }
    own.finalized = true;
    Ok(())
}

/// Enters all `entries`, which one thread asks for at once, and waits for the other ranks. Gives a
/// handle for each.
///
/// # Errors
/// Invalid arguments; ranks that do not fit together; ranks that do not come in time.
pub(crate) fn assemble(entries: &[Entry]) -> Result<Vec<u64>, Failure> {
    let limit = driver::wait()?;
    let seated: Result<Vec<_>, _> = entries.iter().map(seat).collect();
    let start = Instant::now();
    let mut handles = Vec::new();
    for (entry, (assembly, rank)) in entries.iter().zip(seated?) {
        let clique = loop {
            let mut own = lock(&assembly);
            if let Some(failed) = &own.failed {
                return Err(failed.clone());
            }
            if let Some(clique) = &own.clique {
                break clique.clone();
            }
            if start.elapsed() >= limit {
                let absent = (0..own.ranks).filter(|rank| own.devices[*rank].is_none());
                let absent: Vec<String> = absent.map(|rank| rank.to_string()).collect();
                let text = format!("ranks {} of {} never came", absent.join(", "), own.ranks);
                return Err(own.failed.insert(Failure::new(Status::Timeout, text)).clone());
            }
            drop(own);
            std::thread::sleep(std::time::Duration::from_millis(1));
        };
        let ranks = lock(&clique).ranks;
        let aborted = Arc::new(AtomicBool::new(false));
        let device = entry.device;
        let own = Communicator { clique, rank, ranks, device, aborted, finalized: false };
        let handle = next() << 12 | 0x7a00_0000_0000;
        lock(&COMMUNICATORS).get_or_insert_with(HashMap::new).insert(handle, own);
        handles.push(handle);
    }
    Ok(handles)
}

/// Takes the place of one rank; the last one makes what they share.
fn seat(entry: &Entry) -> Result<(Arc<Mutex<Assembly>>, usize), Failure> {
    let ranks = usize::try_from(entry.ranks).ok().filter(|ranks| *ranks > 0);
    let ranks = ranks.ok_or_else(|| Failure::argument(format!("{} ranks", entry.ranks)))?;
    let rank = crate::operation::rank(entry.rank, ranks, "rank")?;
    let number = entry.id.number()?;
    let assembly = {
        let mut all = lock(&ASSEMBLIES);
        let all = all.get_or_insert_with(HashMap::new);
        let devices = vec![None; ranks];
        let fresh = || Arc::new(Mutex::new(Assembly { ranks, devices, ..Assembly::default() }));
        all.entry(number).or_insert_with(fresh).clone()
    };
    let mut own = lock(&assembly);
    if let Some(failed) = &own.failed {
        return Err(failed.clone());
    }
    let problem = if own.ranks != ranks {
        Some(format!("rank {rank} says that there are {ranks} ranks, others {}", own.ranks))
    } else if own.devices[rank].is_some() {
        Some(format!("rank {rank} comes twice"))
    } else if own.devices.contains(&Some(entry.device)) {
        Some(format!("rank {rank} uses device {}, which another rank has", entry.device))
    } else {
        None
    };
    if let Some(problem) = problem {
        return Err(own.failed.insert(Failure::usage(problem)).clone());
    }
    own.devices[rank] = Some(entry.device);
    if own.devices.iter().all(Option::is_some) {
        own.clique = Some(Arc::new(Mutex::new(Clique {
            ranks,
            meetings: HashMap::new(),
            collectives: vec![0; ranks],
            messages: HashMap::new(),
            error: None,
        })));
    }
    drop(own);
    Ok((assembly, rank))
}

impl Communicator {
    /// The failure that the communicator is in: this rank's own, or that of another one.
    pub(crate) fn error(&self) -> Option<Status> {
        let (rank, failure) = lock(&self.clique).error.clone()?;
        Some(if rank == self.rank { failure.status } else { Status::RemoteError })
    }

    /// Puts all ranks into a failure, the first one.
    pub(crate) fn fail(&self, failure: &Failure) {
        lock(&self.clique).error.get_or_insert((self.rank, failure.clone()));
    }

    /// Refuses operations on a communicator that has ended or failed.
    ///
    /// # Errors
    /// Invalid usage, or the failure.
    pub(crate) fn usable(&self) -> Result<(), Failure> {
        if self.finalized {
            return Err(Failure::usage("the communicator was finalized"));
        }
        match self.error() {
            Some(status) => Err(Failure::new(status, "the communicator has failed before")),
            None => Ok(()),
        }
    }

    /// Drops what this rank has queued and not done, and lets the others know if they may wait for it.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Relaxed);
        let meetings: Vec<Shared> = lock(&self.clique).meetings.values().cloned().collect();
        if meetings.iter().any(|meeting| locked(meeting).includes(self.rank)) {
            self.fail(&Failure::new(Status::RemoteError, format!("rank {} aborted", self.rank)));
        }
    }

    /// The meeting that this rank's next such call is for, and the rank's place there; called for it.
    ///
    /// # Errors
    /// As [`Meeting::call`], with the meeting, which has failed.
    pub(crate) fn join(
        &self,
        operation: &Operation,
        group: u64,
    ) -> Result<(Shared, usize), Failure> {
        let mut clique = lock(&self.clique);
        let terms = operation.terms(self.rank);
        let (key, place, members, name) = clique.place(self.rank, operation);
        let fresh = || Arc::new(Mutex::new(Meeting::new(terms, name, members)));
        let meeting = clique.meetings.entry(key).or_insert_with(fresh).clone();
        let mut own = locked(&meeting);
        own.call(place, terms, group)?;
        if own.is_complete() {
            clique.meetings.remove(&key);
        }
        drop(own);
        Ok((meeting, place))
    }
}

impl Clique {
    /// Counts a call of `rank`: what its meeting is found by, the rank's place there, members, name.
    fn place(&mut self, rank: usize, operation: &Operation) -> (Key, usize, Vec<usize>, String) {
        let (from, to, receives) = match operation.kind {
            Kind::Send { peer } => (rank, peer, false),
            Kind::Receive { peer } => (peer, rank, true),
            Kind::AllReduce(_)
            | Kind::AllGather
            | Kind::ReduceScatter(_)
            | Kind::Broadcast { .. }
            | Kind::Reduce { .. } => {
                self.collectives[rank] += 1;
                let number = self.collectives[rank];
                let members = (0..self.ranks).collect();
                return (Key::Collective(number), rank, members, format!("collective {number}"));
            }
        };
        let number = self.messages.entry((from, to, receives)).or_insert(0);
        *number += 1;
        let number = *number;
        let name = format!("message {number} from rank {from} to rank {to}");
        (Key::Message { from, to, number }, usize::from(receives), vec![from, to], name)
    }
}
