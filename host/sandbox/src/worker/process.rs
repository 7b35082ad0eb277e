//! One worker process, as the host sees it: a socket, calls under way, shared memory, and the right to kill.

use super::cgroup::{Cgroup, Cgroups};
use super::channel::{Channel, Header, INLINE_BYTES_MAX, Lookout, Packet, Place, Spin, pair};
use super::child::WORKER_COMMAND;
use super::messages::{CANCEL, FORGET, READY, UNLOAD};
use super::shared_file::{shared_file, write_message};
use super::wire::Writer;
use crate::limits::WorkerConfig;
use crate::lock;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, OnceCell, mpsc};

/// Packets of one call that wait to be taken.
const PACKETS_MAX: usize = 16;
/// Packets that a call takes before it lets other tasks of the thread run and its deadline be seen: a worker that
/// always answers in time to be waited for would else hold the thread. At most that wait each, about a tick of the
/// epoch together.
const PACKETS_PER_YIELD: u32 = 16;
/// Smallest segment.
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Bytes of free segments that a worker keeps for its next calls.
const RETAINED_BYTES_MAX: u64 = 64 << 20;

/// A worker process. It is killed when the value is dropped.
pub(crate) struct Worker {
    channel: Channel,
    child: Mutex<Child>,
    /// Ends after the process: dropping a worker kills it first.
    _group: Option<Cgroup>,
    /// Why it is gone, once it is.
    lost: Mutex<Option<String>>,
    gone: AtomicBool,
    calls: Mutex<HashMap<u64, mpsc::Sender<Packet>>>,
    inbox: Mutex<Inbox>,
    /// Told when a packet is left in the inbox.
    left: Notify,
    next_call: AtomicU64,
    segments: Mutex<Segments>,
    next_segment: AtomicU32,
    /// Plugins that it holds, by their number.
    pub(crate) plugins: Mutex<HashMap<u64, Arc<OnceCell<()>>>>,
    /// Calls and sessions under way.
    pub(crate) users: AtomicUsize,
    used: Mutex<Instant>,
}

/// What a worker is started with.
pub(crate) struct Start {
    pub(crate) program: Option<PathBuf>,
    pub(crate) config: WorkerConfig,
    /// Time until it is ready.
    pub(crate) start_max: Duration,
    /// Groups for workers, if there are any; or why those that must be are not to be had.
    pub(crate) cgroups: Result<Option<Arc<Cgroups>>, String>,
}

/// Who may hand out the next packet: they must stay in their order.
#[derive(Default)]
enum Inbox {
    /// Whoever comes.
    #[default]
    Open,
    /// Nobody before this one is with its call, which has too many unread.
    Left(mpsc::Sender<Packet>, Packet),
    /// Nobody: that is under way.
    Waiting,
}

#[derive(Default)]
struct Segments {
    free: Vec<Segment>,
    /// Bytes of all segments, free or in use.
    bytes: u64,
}

/// Shared memory that belongs to one call at a time.
pub(crate) struct Segment {
    pub(crate) file: OwnedFd,
    number: u32,
    bytes: u64,
    /// Whether the worker has the file.
    sent: bool,
}

/// A call under way: it gets what the worker says about it, and says that it is over.
pub(crate) struct Lane {
    pub(crate) worker: Arc<Worker>,
    number: u64,
    packets: mpsc::Receiver<Packet>,
    /// How many were asked for.
    asked: u32,
    segment: Option<Segment>,
    bytes_max: u64,
    /// Whether the worker has said its last word.
    pub(crate) ended: bool,
}

impl Worker {
    fn new(channel: Channel, child: Child) -> Worker {
        Worker {
            channel,
            child: Mutex::new(child),
            _group: None,
            lost: Mutex::default(),
            gone: AtomicBool::new(false),
            calls: Mutex::default(),
            inbox: Mutex::default(),
            left: Notify::new(),
            next_call: AtomicU64::new(1),
            segments: Mutex::default(),
            next_segment: AtomicU32::new(1),
            plugins: Mutex::default(),
            users: AtomicUsize::new(0),
            used: Mutex::new(Instant::now()),
        }
    }

    /// Starts a process and waits until it has its walls.
    ///
    /// # Errors
    /// In words: it could not be started or put into its group, said something else than that it is ready,
    /// or was not ready in time.
    pub(crate) async fn start(start: Start) -> Result<Arc<Worker>, String> {
        let Start { program, config, start_max, cgroups } = start;
        let cgroups = cgroups?;
        let text = |error: io::Error| error.to_string();
        let (channel, theirs) = pair().map_err(text)?;
        let child = command(program, &config)?.stdin(Stdio::from(theirs)).spawn();
        let child = child.map_err(|error| format!("it cannot be started: {error}"))?;
        let mut worker = Worker::new(channel, child);
        // It has been sent nothing yet.
        if let Some(cgroups) = cgroups {
            worker._group = Some(cgroups.around(worker.pid(), &config)?);
        }
        let worker = Arc::new(worker);
        let first = tokio::time::timeout(start_max, worker.channel.receive(false)).await;
        match first {
            Ok(Ok(Some(packet))) if packet.header.kind == READY => {}
            Ok(Ok(_)) => return Err("it ended before it was ready".into()),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_elapsed) => {
                return Err(format!(
                    "it was not ready within {start_max:?} (`--child-start-seconds-max`)"
                ));
            }
        }
        tokio::spawn(listen(Arc::downgrade(&worker)));
        Ok(worker)
    }

    /// Whether it can be called.
    pub(crate) fn lives(&self) -> bool {
        !self.gone.load(Ordering::Acquire)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Counts as used now.
    pub(crate) fn touch(&self) {
        *lock(&self.used) = Instant::now();
    }

    /// When it was used last.
    pub(crate) fn used(&self) -> Instant {
        *lock(&self.used)
    }

    /// Whether a call or a session is under way.
    pub(crate) fn is_used(&self) -> bool {
        self.users.load(Ordering::Relaxed) > 0
    }

    /// Why it is gone.
    pub(crate) fn reason(&self) -> String {
        lock(&self.lost).clone().unwrap_or_else(|| "it ended by itself".into())
    }

    /// Ends the process; calls under way fail with this reason, if it is the first.
    pub(crate) fn kill(&self, reason: &str) {
        lock(&self.lost).get_or_insert_with(|| reason.to_owned());
        self.gone.store(true, Ordering::Release);
        let mut child = lock(&self.child);
        let _ = child.kill();
        // It was killed, so that this does not wait for anything that it could decide.
        let _ = child.wait();
        drop(child);
        lock(&self.calls).clear();
    }

    /// Hands the next packet to its call.
    ///
    /// # Errors
    /// `WouldBlock` if there is none.
    fn hand_out(&self, inbox: &mut Inbox) -> io::Result<()> {
        let packet = match self.channel.try_receive(false) {
            Ok(Some(packet)) => packet,
            Ok(None) => {
                self.kill("it ended by itself");
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
            Err(error) => {
                self.kill(&format!("it broke the protocol: {error}"));
                return Ok(());
            }
        };
        let call = packet.header.call;
        if call == 0 || call >= self.next_call.load(Ordering::Relaxed) {
            self.kill("it broke the protocol: it spoke of a call that never was");
            return Ok(());
        }
        let waiting = lock(&self.calls).get(&call).cloned();
        if let Some(waiting) = waiting
            && let Err(mpsc::error::TrySendError::Full(packet)) = waiting.try_send(packet)
        {
            *inbox = Inbox::Left(waiting, packet);
            self.left.notify_one();
        }
        Ok(())
    }

    /// Hands out a packet if there is one and nobody else does.
    fn look(&self) {
        if let Ok(mut inbox) = self.inbox.try_lock()
            && matches!(*inbox, Inbox::Open)
        {
            // That there is none is no fault.
            let _ = self.hand_out(&mut inbox);
        }
    }

    /// Gives a packet that was left to its call as soon as that has room.
    async fn deliver_left(&self) {
        let left = {
            let mut inbox = lock(&self.inbox);
            match std::mem::replace(&mut *inbox, Inbox::Waiting) {
                Inbox::Left(call, packet) => (call, packet),
                other @ (Inbox::Open | Inbox::Waiting) => {
                    *inbox = other;
                    return;
                }
            }
        };
        let (call, packet) = left;
        let _ = call.send(packet).await;
        *lock(&self.inbox) = Inbox::Open;
    }

    /// Opens a call.
    pub(crate) fn lane(self: &Arc<Worker>, bytes_max: u64) -> Lane {
        let number = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (sender, packets) = mpsc::channel(PACKETS_MAX);
        lock(&self.calls).insert(number, sender);
        if !self.lives() {
            lock(&self.calls).remove(&number);
        }
        self.users.fetch_add(1, Ordering::Relaxed);
        let worker = self.clone();
        Lane { worker, number, packets, asked: 0, segment: None, bytes_max, ended: false }
    }

    /// Tells the worker something that belongs to no call; one that does not listen is killed.
    pub(crate) fn tell(&self, kind: u8, call: u64, message: &Writer) {
        if !self.lives() {
            return;
        }
        let inline = message.to_vec();
        let header = Header { kind, call, place: Place::Inline, len: inline.len() as u64 };
        if self.channel.try_send(header, &inline, None).is_err() {
            self.kill("it does not take what it is told");
        }
    }

    /// Lets go of a plugin.
    pub(crate) fn unload(&self, plugin: u64) {
        if lock(&self.plugins).remove(&plugin).is_some() {
            self.tell(UNLOAD, 0, &Writer::of(&plugin));
        }
    }

    fn segment(&self, bytes: u64, bytes_max: u64) -> io::Result<Segment> {
        // A worker names the size that it wants, which may be any number.
        let bytes = bytes.max(SEGMENT_BYTES_MIN).checked_next_power_of_two().unwrap_or(u64::MAX);
        let mut segments = lock(&self.segments);
        let fits = segments.free.iter().position(|segment| segment.bytes >= bytes);
        if let Some(at) = fits {
            return Ok(segments.free.swap_remove(at));
        }
        if segments.bytes.saturating_add(bytes) > bytes_max {
            let message = format!(
                "its calls may share {bytes_max} bytes of memory with it; {} are in use, {bytes} were \
                 asked for",
                segments.bytes
            );
            return Err(io::Error::other(message));
        }
        segments.bytes += bytes;
        drop(segments);
        let number = self.next_segment.fetch_add(1, Ordering::Relaxed);
        match shared_file(bytes) {
            Ok(file) => Ok(Segment { file, number, bytes, sent: false }),
            Err(error) => {
                lock(&self.segments).bytes -= bytes;
                Err(error)
            }
        }
    }

    /// Takes a segment back: for the next call, or away if `spoiled` or if there are enough.
    fn give_back(&self, segment: Segment, spoiled: bool) {
        let mut segments = lock(&self.segments);
        let free: u64 = segments.free.iter().map(|segment| segment.bytes).sum();
        if !spoiled && free + segment.bytes <= RETAINED_BYTES_MAX {
            segments.free.push(segment);
            return;
        }
        segments.bytes -= segment.bytes;
        drop(segments);
        if segment.sent {
            self.tell(FORGET, 0, &Writer::of(&u64::from(segment.number)));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill("it is not needed any more");
    }
}

/// The program that a worker runs, which inherits nothing but its socket.
fn command(program: Option<PathBuf>, config: &WorkerConfig) -> Result<Command, String> {
    let mut command = Command::new(program.ok_or("no program of child processes is configured")?);
    command.arg0("aimass").arg(WORKER_COMMAND);
    command.arg(config.instances_max.to_string()).arg(config.memory_bytes_max.to_string());
    command.env_clear().current_dir("/").stdout(Stdio::null()).stderr(Stdio::null());
    Ok(command)
}

/// Hands the worker's packets to their calls, as long as nobody who waits for one does. What is no packet, or of
/// a call that never was, ends it.
async fn listen(worker: std::sync::Weak<Worker>) {
    loop {
        let Some(here) = worker.upgrade() else { return };
        // One packet that is left is delivered before the next is looked for.
        here.deliver_left().await;
        let look = here.channel.readable(|| {
            let mut inbox = lock(&here.inbox);
            match *inbox {
                Inbox::Open => here.hand_out(&mut inbox),
                Inbox::Left(..) | Inbox::Waiting => Ok(()),
            }
        });
        let looked = tokio::select! {
            looked = look => looked,
            () = here.left.notified() => Ok(()),
            // Now and then nobody may hold the worker any more but this task.
            () = tokio::time::sleep(Duration::from_secs(1)) => Ok(()),
        };
        if let Err(error) = looked {
            here.kill(&format!("its socket broke: {error}"));
        }
        if !here.lives() {
            return;
        }
    }
}

impl Lane {
    /// The next packet of this call; none if the worker is gone.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        self.asked = self.asked.wrapping_add(1);
        if self.asked.is_multiple_of(PACKETS_PER_YIELD) {
            tokio::task::yield_now().await;
        }
        match self.look_out() {
            Ok(packet) => Some(packet),
            Err(mpsc::error::TryRecvError::Disconnected) => None,
            Err(mpsc::error::TryRecvError::Empty) => self.packets.recv().await,
        }
    }

    /// Looks for the next packet, for some time if not too many do. It holds the thread: a task that yields and has
    /// nobody to yield to makes tokio wake a second thread each time, which takes the core that the worker
    /// answers on.
    fn look_out(&mut self) -> Result<Packet, mpsc::error::TryRecvError> {
        let lookout = Lookout::take();
        let spin = Spin::start();
        loop {
            self.worker.look();
            match self.packets.try_recv() {
                Err(mpsc::error::TryRecvError::Empty) if lookout.is_some() && spin.turn() => {}
                received => return received,
            }
        }
    }

    /// Sends a message of this call.
    ///
    /// # Errors
    /// The worker is gone, or shares too much memory already.
    pub(crate) async fn send(&mut self, kind: u8, message: &Writer) -> io::Result<()> {
        if message.len() <= INLINE_BYTES_MAX {
            let inline = message.to_vec();
            let len = inline.len() as u64;
            let header = Header { kind, call: self.number, place: Place::Inline, len };
            return self.worker.channel.send(header, &inline, None).await;
        }
        let len = message.len() as u64;
        let segment = self.grown(len)?;
        write_message(&segment.file, message)?;
        self.send_segment(kind, len).await
    }

    /// Sends a message that lies in a file of its own.
    ///
    /// # Errors
    /// The worker is gone.
    pub(crate) async fn send_file(
        &self,
        kind: u8,
        file: BorrowedFd<'_>,
        len: u64,
    ) -> io::Result<()> {
        let header = Header { kind, call: self.number, place: Place::File, len };
        self.worker.channel.send(header, &[], Some(file)).await
    }

    /// Gives the call a segment of so many bytes, which is the answer to a worker that asks for one.
    ///
    /// # Errors
    /// The worker is gone.
    pub(crate) async fn grow(&mut self, kind: u8, bytes: u64) -> io::Result<()> {
        if self.grown(bytes).is_ok() {
            return self.send_segment(kind, bytes).await;
        }
        let header = Header { kind, call: self.number, place: Place::Inline, len: 0 };
        self.worker.channel.send(header, &[], None).await
    }

    /// The call's segment, if it is of this number.
    pub(crate) fn segment(&self, number: u32) -> Option<&Segment> {
        self.segment.as_ref().filter(|segment| segment.number == number && segment.sent)
    }

    fn grown(&mut self, bytes: u64) -> io::Result<&Segment> {
        let own = self.segment.take_if(|own| own.bytes < bytes);
        if let Some(small) = own {
            self.worker.give_back(small, false);
        }
        let segment = match self.segment.take() {
            Some(segment) => segment,
            None => self.worker.segment(bytes, self.bytes_max)?,
        };
        Ok(self.segment.insert(segment))
    }

    async fn send_segment(&mut self, kind: u8, len: u64) -> io::Result<()> {
        let Some(segment) = &mut self.segment else {
            return Err(io::Error::other("the call has no segment"));
        };
        let place = Place::Segment(segment.number);
        let header = Header { kind, call: self.number, place, len };
        let file = (!segment.sent).then(|| segment.file.as_fd());
        self.worker.channel.send(header, &[], file).await?;
        segment.sent = true;
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        lock(&self.worker.calls).remove(&self.number);
        if !self.ended {
            self.worker.tell(CANCEL, self.number, &Writer::default());
        }
        if let Some(segment) = self.segment.take() {
            // A call that was given up may still be writing.
            self.worker.give_back(segment, !self.ended);
        }
        self.worker.touch();
        self.worker.users.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Segment {
    /// Its size in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_segment_of_any_size_is_made_or_refused() {
        let (worker, _theirs) = idle();
        let bytes_max = 4 << 20;
        assert_eq!(worker.segment(1, bytes_max).unwrap().bytes(), SEGMENT_BYTES_MIN);
        for asked in [bytes_max, (1 << 63) + 1, u64::MAX] {
            let error = worker.segment(asked, bytes_max).err().unwrap().to_string();
            assert!(error.contains("4194304 bytes"), "{asked}: {error}");
        }
        assert_eq!(worker.segment(2 << 20, bytes_max).unwrap().bytes(), 2 << 20);
    }

    #[tokio::test]
    async fn a_worker_that_always_answers_does_not_hold_the_thread() {
        let (worker, theirs) = idle();
        let theirs = Channel::new(theirs).unwrap();
        let mut lane = Arc::new(worker).lane(0);
        let others = tokio::spawn(async {});
        for _ in 0..PACKETS_PER_YIELD {
            let header = Header { kind: 0, call: lane.number, place: Place::Inline, len: 0 };
            theirs.try_send(header, &[], None).unwrap();
            assert_eq!(lane.next().await.unwrap().header, header);
        }
        assert!(others.is_finished(), "no other task of this thread has run");
    }

    /// A worker that is no worker: a process that waits, and the socket's other end.
    fn idle() -> (Worker, OwnedFd) {
        let (channel, theirs) = pair().unwrap();
        (Worker::new(channel, Command::new("sleep").arg("60").spawn().unwrap()), theirs)
    }
}
