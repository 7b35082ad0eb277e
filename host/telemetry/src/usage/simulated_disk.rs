//! A disk in memory that stops in the middle of any operation, forgets what was not synced, or is full.

use super::disk::{Appending, Disk};
use super::meter::lock;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Zero of the time of all disks.
static ZERO: LazyLock<Instant> = LazyLock::new(Instant::now);

#[derive(Clone, Default)]
pub(crate) struct SimulatedDisk {
    state: Arc<Mutex<State>>,
    /// Operations and looks at the time, also those that wait.
    begun: Arc<AtomicUsize>,
}

#[derive(Clone, Default)]
pub(crate) struct State {
    files: BTreeMap<String, SimulatedFile>,
    operations: usize,
    /// The operation that is the last, and how many of its bytes are written.
    crash: Option<(usize, usize)>,
    crashed: bool,
    /// Bytes that all files may have.
    room: Option<usize>,
    /// What each operation takes, and all took so far.
    delay: Duration,
    time: Duration,
    /// Fails every cut, as a disk that is beyond help.
    pub(crate) no_cut: bool,
}

#[derive(Clone, Default)]
struct SimulatedFile {
    bytes: Vec<u8>,
    synced: usize,
}

/// What the disk lost when the machine went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// The process ended; the system wrote everything.
    Nothing,
    /// Everything that was not synced.
    Unsynced,
    /// The content of what was not synced, but not its length.
    Zeros,
}

impl SimulatedDisk {
    /// Stops at this operation, after `bytes` of it.
    pub(crate) fn crash_at(&self, operation: usize, bytes: usize) {
        lock(&self.state).crash = Some((operation, bytes));
    }

    pub(crate) fn crashed(&self) -> bool {
        lock(&self.state).crashed
    }

    pub(crate) fn set_room(&self, bytes: Option<usize>) {
        lock(&self.state).room = bytes;
    }

    pub(crate) fn refuse_cuts(&self, refuse: bool) {
        lock(&self.state).no_cut = refuse;
    }

    /// Makes each operation take so long, in the disk's own time.
    pub(crate) fn set_delay(&self, delay: Duration) {
        lock(&self.state).delay = delay;
    }

    /// Keeps every operation waiting until it is dropped.
    pub(crate) fn hold(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Operations and looks at the time so far, also those that wait.
    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.state).files.keys().cloned().collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        lock(&self.state).files[name].bytes.clone()
    }

    pub(crate) fn set_bytes(&self, name: &str, bytes: Vec<u8>) {
        let file = SimulatedFile { synced: bytes.len(), bytes };
        lock(&self.state).files.insert(name.to_owned(), file);
    }

    /// The disk as it is after the machine is up again.
    pub(crate) fn reboot(&self, loss: Loss) -> SimulatedDisk {
        let mut files = lock(&self.state).files.clone();
        for file in files.values_mut() {
            match loss {
                Loss::Nothing => {}
                Loss::Unsynced => file.bytes.truncate(file.synced),
                Loss::Zeros => file.bytes[file.synced..].fill(0),
            }
            file.synced = file.bytes.len();
        }
        let state = State { files, ..State::default() };
        SimulatedDisk { state: Arc::new(Mutex::new(state)), begun: Arc::default() }
    }

    /// Runs one operation with the number of bytes that it may write of `len`.
    fn operate<T>(
        &self,
        len: usize,
        work: impl FnOnce(&mut State, usize) -> io::Result<T>,
    ) -> io::Result<T> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let mut state = lock(&self.state);
        if state.crashed {
            return Err(io::Error::other("the machine is down"));
        }
        let delay = state.delay;
        state.time += delay;
        let operation = state.operations;
        state.operations += 1;
        let torn = state.crash.filter(|(at, _)| *at == operation);
        let used: usize = state.files.values().map(|file| file.bytes.len()).sum();
        let room = state.room.map_or(len, |room| room.saturating_sub(used).min(len));
        let written = torn.map_or(room, |(_, bytes)| bytes.min(len));
        let result = work(&mut state, written);
        if torn.is_some() {
            state.crashed = true;
            return Err(io::Error::other("the machine went down"));
        }
        if written < len {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        result
    }
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let state = lock(&self.state);
        let size =
            |(name, file): (&String, &SimulatedFile)| (name.clone(), file.bytes.len() as u64);
        Ok(state.files.iter().map(size).collect())
    }

    fn read(&self, name: &str, offset: u64, max: usize) -> io::Result<Vec<u8>> {
        let state = lock(&self.state);
        let file = state.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let start = (offset as usize).min(file.bytes.len());
        let end = (start + max).min(file.bytes.len());
        Ok(file.bytes[start..end].to_vec())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Appending>> {
        self.operate(1, |state, written| {
            if state.files.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            if written > 0 {
                state.files.insert(name.to_owned(), SimulatedFile::default());
            }
            Ok(())
        })?;
        Ok(Box::new(Open { disk: self.clone(), name: name.to_owned() }))
    }

    fn truncate(&self, name: &str, len: u64) -> io::Result<()> {
        self.operate(1, |state, written| {
            let file = state.files.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
            if written > 0 {
                file.bytes.truncate(len as usize);
                file.synced = file.bytes.len();
            }
            Ok(())
        })
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.operate(1, |state, written| {
            if written > 0 {
                let file = SimulatedFile { bytes: bytes.to_vec(), synced: bytes.len() };
                state.files.insert(name.to_owned(), file);
            }
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate(1, |state, written| {
            if written > 0 {
                state.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
            }
            Ok(())
        })
    }

    fn now(&self) -> Instant {
        self.begun.fetch_add(1, Ordering::Relaxed);
        *ZERO + lock(&self.state).time
    }
}

struct Open {
    disk: SimulatedDisk,
    name: String,
}

impl Appending for Open {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.operate(bytes.len(), |state, written| {
            let file = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
            file.bytes.extend_from_slice(&bytes[..written]);
            Ok(())
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.operate(1, |state, written| {
            let file = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
            if written > 0 {
                file.synced = file.bytes.len();
            }
            Ok(())
        })
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.disk.operate(0, |state, _| {
            if state.no_cut {
                return Err(io::Error::other("no"));
            }
            let file = state.files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?;
            file.bytes.truncate(len as usize);
            file.synced = file.synced.min(file.bytes.len());
            Ok(())
        })
    }
}
