//! What happens in the streams: each rank brings what it gives, waits for its partners, and takes what
//! is its own.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use crate::arithmetic::reduce;
use crate::driver::{Access, Callback, Gate};
use crate::operation::{Kind, Operation, Terms};
use crate::status::Failure;

/// Driver result of a meeting that fails: `CUDA_ERROR_LAUNCH_FAILED`.
const LAUNCH_FAILED: c_int = 719;

/// An operation of several ranks, or a message between two.
#[derive(Debug)]
pub(crate) struct Meeting {
    terms: Terms,
    /// What it is called in reports.
    name: String,
    /// Ranks; for a message, sender and receiver.
    members: Vec<usize>,
    /// Thread and group of the call of each member.
    called: Vec<Option<(ThreadId, u64)>>,
    /// Whether the work of each member is in its stream.
    queued: Vec<bool>,
    /// What each member gives, once its stream has come here.
    arrived: Vec<Option<Vec<u8>>>,
    failed: Option<String>,
}

impl Meeting {
    /// A meeting that nobody has been called to yet.
    pub(crate) fn new(terms: Terms, name: String, members: Vec<usize>) -> Self {
        let places = members.len();
        Self {
            terms,
            name,
            members,
            called: vec![None; places],
            queued: vec![false; places],
            arrived: vec![None; places],
            failed: None,
        }
    }

    /// Notes the call of the member at `place`.
    ///
    /// # Errors
    /// Invalid usage: its terms are others than those of who came first, or its thread called for
    /// another member outside of this group. The meeting has failed then.
    pub(crate) fn call(&mut self, place: usize, terms: Terms, group: u64) -> Result<(), Failure> {
        let thread = std::thread::current().id();
        let rank = self.members[place];
        if let Some(failed) = &self.failed {
            return Err(Failure::usage(format!("{} has failed: {failed}", self.name)));
        }
        if terms != self.terms {
            return Err(
                self.fail(format!("rank {rank} asks for {terms:?}, others for {:?}", self.terms))
            );
        }
        let alone = |call: &(ThreadId, u64)| call.0 == thread && call.1 != group;
        if self.called.iter().flatten().any(alone) {
            return Err(
                self.fail(format!("one thread calls for rank {rank} and others without a group"))
            );
        }
        self.called[place] = Some((thread, group));
        Ok(())
    }

    /// Notes that the work of the member at `place` is in its stream.
    pub(crate) fn queue(&mut self, place: usize) {
        self.queued[place] = true;
    }

    /// Whether the work of every member is in its stream, or was.
    fn is_queued(&self) -> bool {
        self.queued.iter().zip(&self.arrived).all(|(queued, arrived)| *queued || arrived.is_some())
    }

    /// Whether `rank` is one of its members.
    pub(crate) fn includes(&self, rank: usize) -> bool {
        self.members.contains(&rank)
    }

    /// Whether every member has been called.
    pub(crate) fn is_complete(&self) -> bool {
        self.called.iter().all(Option::is_some)
    }

    /// Lets every member fail.
    pub(crate) fn fail(&mut self, why: String) -> Failure {
        let why = self.failed.get_or_insert(why);
        Failure::usage(format!("{}: {why}", self.name))
    }

    /// What it waits for, or why it failed.
    fn describe(&self) -> String {
        if let Some(failed) = &self.failed {
            return format!("{}: {failed}", self.name);
        }
        let absent = |of: &dyn Fn(usize) -> bool| {
            let places = (0..self.members.len()).filter(|place| of(*place));
            places.map(|place| self.members[place].to_string()).collect::<Vec<_>>().join(", ")
        };
        let uncalled = absent(&|place| self.called[place].is_none());
        let waited = absent(&|place| self.arrived[place].is_none());
        let of = self.members.len();
        match uncalled.as_str() {
            "" => {
                format!("{} of {of}: the streams of ranks {waited} have not come to it", self.name)
            }
            ranks => format!("{} of {of}: nothing was called for ranks {ranks}", self.name),
        }
    }

    /// What the member at `place` takes, once all have arrived.
    fn taken(&self, place: usize, operation: &Operation) -> Vec<u8> {
        let given: Vec<&[u8]> =
            self.arrived.iter().map(|own| own.as_deref().unwrap_or(&[])).collect();
        let part = (operation.count * operation.element.bytes()) as usize;
        match operation.kind {
            Kind::AllReduce(reduction) | Kind::Reduce { reduction, .. } => {
                reduce(operation.element, reduction, &given)
            }
            Kind::AllGather => given.concat(),
            Kind::ReduceScatter(reduction) => {
                let parts: Vec<&[u8]> =
                    given.iter().map(|all| &all[place * part..(place + 1) * part]).collect();
                reduce(operation.element, reduction, &parts)
            }
            Kind::Broadcast { root } => given[root].to_vec(),
            Kind::Send { .. } | Kind::Receive { .. } => given[0].to_vec(),
        }
    }
}

/// A meeting, as its members hold it.
pub(crate) type Shared = Arc<Mutex<Meeting>>;

/// The meeting, locked.
pub(crate) fn locked(meeting: &Shared) -> MutexGuard<'_, Meeting> {
    meeting.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One operation of a ticket.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) meeting: Shared,
    pub(crate) place: usize,
    pub(crate) operation: Operation,
    /// Addresses that are read, and written.
    pub(crate) reads: std::ops::Range<u64>,
    pub(crate) writes: std::ops::Range<u64>,
}

/// What a rank does at one place of its stream: the operations of a group, which progress together.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    pub(crate) parts: Vec<Part>,
    /// Set when the rank's communicator is aborted.
    pub(crate) aborted: Arc<AtomicBool>,
}

impl Ticket {
    fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Brings what this rank gives.
    fn arrive(&self, access: &Access) -> Result<(), c_int> {
        if self.is_aborted() {
            return Ok(());
        }
        for part in &self.parts {
            let bytes = (part.reads.end - part.reads.start) as usize;
            let given =
                if bytes == 0 { Vec::new() } else { access.read(part.reads.start, bytes)? };
            locked(&part.meeting).arrived[part.place] = Some(given);
        }
        Ok(())
    }

    /// 0 if all is there or nothing will come, 1 if queued work is missing, 2 if calls are.
    fn state(&self) -> c_int {
        if self.is_aborted() {
            return 0;
        }
        let mut state = 0;
        for part in &self.parts {
            let meeting = locked(&part.meeting);
            if meeting.failed.is_some() {
                return 0;
            }
            if !meeting.is_queued() {
                state = 2;
            } else if meeting.arrived.iter().any(Option::is_none) {
                state = state.max(1);
            }
        }
        state
    }

    /// Takes what is this rank's.
    fn leave(&self, access: &Access) -> Result<(), c_int> {
        if self.is_aborted() {
            return Ok(());
        }
        if self.parts.iter().any(|part| locked(&part.meeting).failed.is_some()) {
            return Err(LAUNCH_FAILED);
        }
        for part in self.parts.iter().filter(|part| !part.writes.is_empty()) {
            let taken = locked(&part.meeting).taken(part.place, &part.operation);
            access.write(part.writes.start, &taken)?;
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let open = |part: &&Part| {
            let meeting = locked(&part.meeting);
            meeting.failed.is_some() || meeting.arrived.iter().any(Option::is_none)
        };
        let texts = self.parts.iter().filter(open).map(|part| locked(&part.meeting).describe());
        texts.collect::<Vec<_>>().join("; ")
    }

    /// What the driver queues.
    pub(crate) fn works(self) -> (Callback, Gate) {
        let data = |ticket: Ticket| Box::into_raw(Box::new(ticket)).cast::<c_void>();
        let first = Callback { run: arrive, drop: free, data: data(self.clone()) };
        let callback = Callback { run: leave, drop: free, data: data(self) };
        (first, Gate { state, describe, callback })
    }
}

/// The ticket behind `data`.
///
/// # Safety
/// `data` came from [`Ticket::works`] and was not freed.
unsafe fn ticket<'a>(data: *mut c_void) -> &'a Ticket {
    // SAFETY: the caller says so.
    unsafe { &*data.cast::<Ticket>() }
}

extern "C" fn arrive(data: *mut c_void, access: *const Access) -> c_int {
    // SAFETY: the driver passes the callback's own data, and memory that is valid for the call.
    let (ticket, access) = unsafe { (ticket(data), &*access) };
    ticket.arrive(access).err().unwrap_or(0)
}

extern "C" fn leave(data: *mut c_void, access: *const Access) -> c_int {
    // SAFETY: as in `arrive`.
    let (ticket, access) = unsafe { (ticket(data), &*access) };
    ticket.leave(access).err().unwrap_or(0)
}

extern "C" fn state(data: *mut c_void) -> c_int {
    // SAFETY: the driver passes the gate's own data.
    unsafe { ticket(data) }.state()
}

extern "C" fn describe(data: *mut c_void, to: *mut u8, bytes: usize) -> usize {
    // SAFETY: the driver passes the gate's own data.
    let text = unsafe { ticket(data) }.describe();
    let copied = text.len().min(bytes);
    // SAFETY: the driver says that so many bytes can be written, and they are no part of the text.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), to, copied) };
    copied
}

extern "C" fn free(data: *mut c_void) {
    // SAFETY: `data` came from `Box::into_raw` of a ticket, and this is its only end.
    drop(unsafe { Box::from_raw(data.cast::<Ticket>()) });
}
