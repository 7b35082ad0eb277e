//! The socket between host and worker: packets that keep their bounds, some with a file.
//!
//! A packet is a header of 22 bytes and at most 32 KiB of a message; a longer message lies in a shared file.
//! Only the host sends files: what a worker attaches the kernel drops.

use crate::lock;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Bytes of a message that go with the packet itself; more lie in a shared file.
pub(crate) const INLINE_BYTES_MAX: usize = 32 << 10;
const HEADER_BYTES: usize = 22;

/// Time for which one side looks for the other's answer again and again before it sleeps: about what a short
/// call takes, and what waking a thread costs.
const SPIN_MAX: Duration = Duration::from_micros(50);

/// Time in which a packet is looked for before its reader sleeps; none where both sides share one core.
pub(crate) struct Spin(Instant);

impl Spin {
    /// From now on.
    pub(crate) fn start() -> Spin {
        let time = if cores() > 1 { SPIN_MAX } else { Duration::ZERO };
        Spin(Instant::now() + time)
    }

    /// Waits a moment; `false` once it is time to sleep.
    pub(crate) fn turn(&self) -> bool {
        std::hint::spin_loop();
        Instant::now() < self.0
    }
}

/// The right to hold a thread while one looks for a packet, which half of the cores have at a time: who has none
/// sleeps at once.
pub(crate) struct Lookout {
    taken: &'static AtomicUsize,
}

impl Lookout {
    /// The right, if it is to be had.
    pub(crate) fn take() -> Option<Lookout> {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        Lookout::one_of(cores() / 2, &TAKEN)
    }

    fn one_of(max: usize, taken: &'static AtomicUsize) -> Option<Lookout> {
        let more = |taken: usize| (taken < max).then_some(taken + 1);
        let is_taken = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        // Made only where it is true: whoever drops one gives a right back.
        is_taken.then(|| Lookout { taken })
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Where the bytes of a message are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the packet.
    Inline,
    /// In the segment of this number.
    Segment(u32),
    /// In the file that came with the packet, for this message only.
    File,
}

/// What a packet is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// One of the kinds in `messages.rs`.
    pub(crate) kind: u8,
    /// The call that it belongs to; 0 for none.
    pub(crate) call: u64,
    /// Where the message is.
    pub(crate) place: Place,
    /// Its bytes.
    pub(crate) len: u64,
}

/// A packet that came.
pub(crate) struct Packet {
    pub(crate) header: Header,
    pub(crate) inline: Vec<u8>,
    pub(crate) file: Option<OwnedFd>,
}

/// One end of the socket. It is of the type for datagrams since packets behave as these do.
pub(crate) struct Channel {
    socket: UnixDatagram,
    /// Where the next packet is put before it is known how long it is.
    buffer: Mutex<Box<[u8]>>,
}

/// Both ends of a new socket: ours, and the one for the worker.
///
/// # Errors
/// The operating system's.
pub(crate) fn pair() -> io::Result<(Channel, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((Channel::new(ours)?, theirs))
}

impl Header {
    fn bytes(&self) -> [u8; HEADER_BYTES] {
        let (place, segment) = match self.place {
            Place::Inline => (0, 0),
            Place::Segment(segment) => (1, segment),
            Place::File => (2, 0),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = self.kind;
        bytes[1] = place;
        bytes[2..6].copy_from_slice(&segment.to_le_bytes());
        bytes[6..14].copy_from_slice(&self.call.to_le_bytes());
        bytes[14..].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8]) -> Option<Header> {
        let (&[kind, place], rest) = bytes.split_first_chunk()?;
        let (segment, rest) = rest.split_first_chunk()?;
        let (call, rest) = rest.split_first_chunk()?;
        let (len, _) = rest.split_first_chunk()?;
        let place = match place {
            0 => Place::Inline,
            1 => Place::Segment(u32::from_le_bytes(*segment)),
            2 => Place::File,
            _ => return None,
        };
        let (call, len) = (u64::from_le_bytes(*call), u64::from_le_bytes(*len));
        Some(Header { kind, call, place, len })
    }
}

impl Channel {
    /// The end of a socket that does not block. Inside a runtime only.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Channel> {
        let buffer = vec![0; HEADER_BYTES + INLINE_BYTES_MAX].into_boxed_slice();
        Ok(Channel { socket: UnixDatagram::from_std(socket.into())?, buffer: Mutex::new(buffer) })
    }

    /// Sends a packet, waiting while the other side has too many unread.
    ///
    /// # Errors
    /// The other side is gone.
    pub(crate) async fn send(
        &self,
        header: Header,
        inline: &[u8],
        file: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        match self.try_send(header, inline, file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let send = || self.try_send(header, inline, file);
                self.socket.async_io(Interest::WRITABLE, send).await
            }
            sent => sent,
        }
    }

    /// Sends a packet if that is possible now.
    ///
    /// # Errors
    /// `WouldBlock`; the other side is gone.
    pub(crate) fn try_send(
        &self,
        header: Header,
        inline: &[u8],
        file: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let head = header.bytes();
        let slices = [IoSlice::new(&head), IoSlice::new(inline)];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let files: &[BorrowedFd<'_>] = file.as_slice();
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(files));
        }
        loop {
            match sendmsg(&self.socket, &slices, &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next packet and its file, if files are `accepted`; none once the other side is gone.
    ///
    /// # Errors
    /// The operating system's; `InvalidData` for what is no packet.
    pub(crate) async fn receive(&self, accepted: bool) -> io::Result<Option<Packet>> {
        match self.try_receive(accepted) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable(|| self.try_receive(accepted)).await
            }
            received => received,
        }
    }

    /// Waits until `receive` finds something; it must have found the socket empty if it says `WouldBlock`.
    ///
    /// # Errors
    /// Those of `receive`.
    pub(crate) async fn readable<T>(
        &self,
        receive: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        self.socket.async_io(Interest::READABLE, receive).await
    }

    /// The next packet, if there is one now.
    ///
    /// # Errors
    /// `WouldBlock`; as [`Channel::receive`].
    pub(crate) fn try_receive(&self, accepted: bool) -> io::Result<Option<Packet>> {
        let mut bytes = lock(&self.buffer);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let space: &mut [MaybeUninit<u8>] = if accepted { &mut space } else { &mut [] };
        let mut control = RecvAncillaryBuffer::new(space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = loop {
            let slices = &mut [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.socket, slices, &mut control, flags) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(None),
                received => break received?,
            }
        };
        if received.bytes == 0 {
            return Ok(None);
        }
        let file = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        let bytes = &bytes[..received.bytes];
        let header = Header::parse(bytes);
        let header = header.filter(|_| !received.flags.contains(ReturnFlags::TRUNC));
        let header = header.ok_or_else(|| malformed("a packet"))?;
        let inline = bytes[HEADER_BYTES..].to_vec();
        let fits = match header.place {
            Place::Inline => header.len == inline.len() as u64,
            Place::Segment(_) => inline.is_empty(),
            Place::File => inline.is_empty() && file.is_some(),
        };
        if !fits {
            return Err(malformed("a packet as long as its header says"));
        }
        Ok(Some(Packet { header, inline, file }))
    }
}

fn malformed(expected: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, super::wire::Malformed { expected })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    fn header(place: Place, len: u64) -> Header {
        Header { kind: 3, call: u64::MAX - 1, place, len }
    }

    #[tokio::test]
    async fn packets_keep_their_bounds_and_only_the_host_sends_files() {
        let (ours, theirs) = pair().unwrap();
        let theirs = Channel::new(theirs).unwrap();
        let full = vec![7; INLINE_BYTES_MAX];
        ours.send(header(Place::Inline, 0), &[], None).await.unwrap();
        ours.send(header(Place::Inline, full.len() as u64), &full, None).await.unwrap();
        let file = super::super::shared_file::shared_file(10).unwrap();
        ours.send(header(Place::Segment(9), 10), &[], Some(file.as_fd())).await.unwrap();
        let first = theirs.receive(true).await.unwrap().unwrap();
        assert_eq!((first.header, first.inline.len()), (header(Place::Inline, 0), 0));
        assert_eq!(theirs.receive(true).await.unwrap().unwrap().inline, full);
        let third = theirs.receive(true).await.unwrap().unwrap();
        assert!(third.file.is_some() && third.header.place == Place::Segment(9));
        theirs.send(header(Place::Segment(9), 10), &[], Some(file.as_fd())).await.unwrap();
        assert!(ours.receive(false).await.unwrap().unwrap().file.is_none());
        drop(ours);
        assert!(theirs.receive(true).await.unwrap().is_none());
    }

    #[test]
    fn no_more_threads_are_held_than_may_be() {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        assert!(Lookout::one_of(0, &TAKEN).is_none(), "both sides share one core");
        let first = Lookout::one_of(2, &TAKEN).unwrap();
        let second = Lookout::one_of(2, &TAKEN).unwrap();
        assert!(Lookout::one_of(2, &TAKEN).is_none());
        drop(first);
        let third = Lookout::one_of(2, &TAKEN).unwrap();
        drop((second, third));
        assert_eq!(TAKEN.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn what_is_no_packet_is_refused() {
        let check = async |bytes: &[u8]| {
            let (ours, theirs) = pair().unwrap();
            let slices = [IoSlice::new(bytes)];
            let mut control = SendAncillaryBuffer::default();
            sendmsg(&theirs, &slices, &mut control, SendFlags::empty()).unwrap();
            ours.receive(false).await.err().map(|error| error.kind())
        };
        let invalid = Some(io::ErrorKind::InvalidData);
        assert_eq!(check(&[1]).await, invalid);
        assert_eq!(check(&[0xff; HEADER_BYTES]).await, invalid);
        let good = header(Place::Inline, 0).bytes();
        assert_eq!(check(&good).await, None);
        assert_eq!(check(&header(Place::Inline, 1).bytes()).await, invalid);
        assert_eq!(check(&header(Place::File, 1).bytes()).await, invalid);
        let long = [&header(Place::Inline, 1 << 20).bytes()[..], &vec![0; 1 << 16]].concat();
        assert_eq!(check(&long).await, invalid);
    }
}
