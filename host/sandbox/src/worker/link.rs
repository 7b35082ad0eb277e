//! The worker's side of a call: what its guest wants of the host goes out here, and waits for the answer.
//!
//! The link of a call is the one of its task. Host functions ask for it, so that nothing between the call and
//! them has to know in which process they run.

use super::channel::{Channel, Header, INLINE_BYTES_MAX, Packet, Place, Spin};
use super::messages::{
    GROW, InferModel, LOG, Logged, REQUEST, ReadFile, Refused, Request, RunPlan,
};
use super::shared_file::{read_message, write_message};
use super::wire::{Bytes, NamedTensor, Reader, Wire, Writer, tensors_in, tensors_out};
use crate::composition::ModelCall;
use crate::host_api::{HostError, HostResult};
use crate::lock;
use crate::signature::{NamedTensors, PluginSignature};
use crate::state::LimitHit;
use crate::worlds::convert::error_out;
use aimass_graph::Signature;
use aimass_tensor::{Buffer, Tensor};
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, oneshot};

tokio::task_local! {
    static LINK: Arc<CallLink>;
}

/// The worker's end of the socket, and what is under way on it.
pub(crate) struct Wires {
    channel: Channel,
    /// Told when something was sent, whose answer may come soon.
    sent: Notify,
    answers: Mutex<HashMap<u64, oneshot::Sender<Packet>>>,
    segments: Mutex<HashMap<u32, Segment>>,
}

/// A shared file that calls use one after the other.
#[derive(Clone)]
struct Segment {
    file: Arc<OwnedFd>,
    number: u32,
    bytes: u64,
}

/// One call that the host made.
pub(crate) struct CallLink {
    wires: Arc<Wires>,
    call: u64,
    segment: Mutex<Option<Segment>>,
    resets: Mutex<Vec<String>>,
}

impl Wires {
    /// What goes through this socket.
    pub(crate) fn new(channel: Channel) -> Arc<Wires> {
        let (answers, segments) = (Mutex::default(), Mutex::default());
        Arc::new(Wires { channel, sent: Notify::new(), answers, segments })
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// The host is gone.
    pub(crate) async fn send(&self, header: Header, inline: &[u8]) -> io::Result<()> {
        self.channel.send(header, inline, None).await?;
        self.sent.notify_one();
        Ok(())
    }

    /// The next packet; none once the host is gone. What follows something that was sent is looked for before
    /// the thread sleeps.
    ///
    /// # Errors
    /// The operating system's; `InvalidData` for what is no packet.
    pub(crate) async fn receive(&self) -> io::Result<Option<Packet>> {
        loop {
            let spin = Spin::start();
            loop {
                match self.channel.try_receive(true) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    received => return received,
                }
                if !spin.turn() {
                    break;
                }
                // Calls run on this thread as well.
                tokio::task::yield_now().await;
            }
            tokio::select! {
                received = self.channel.receive(true) => return received,
                () = self.sent.notified() => {}
            }
        }
    }

    /// Hands an answer to the call that waits for it.
    pub(crate) fn answered(&self, packet: Packet) {
        let waiting = lock(&self.answers).remove(&packet.header.call);
        if let Some(waiting) = waiting {
            let _ = waiting.send(packet);
        }
    }

    /// Lets go of a segment.
    pub(crate) fn forget(&self, number: u32) {
        lock(&self.segments).remove(&number);
    }

    fn segment(&self, number: u32) -> io::Result<Segment> {
        let known = lock(&self.segments).get(&number).cloned();
        known.ok_or_else(|| io::Error::other(format!("there is no segment {number}")))
    }

    /// Keeps the segment that came with a packet.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn keep(&self, packet: &mut Packet) -> io::Result<()> {
        let Place::Segment(number) = packet.header.place else { return Ok(()) };
        let Some(file) = packet.file.take() else { return Ok(()) };
        let bytes = u64::try_from(rustix::fs::fstat(&file)?.st_size).unwrap_or(0);
        let segment = Segment { file: Arc::new(file), number, bytes };
        lock(&self.segments).insert(number, segment);
        Ok(())
    }
}

impl CallLink {
    /// The link of the call with this number.
    pub(crate) fn new(wires: Arc<Wires>, call: u64) -> Arc<CallLink> {
        let (segment, resets) = (Mutex::default(), Mutex::default());
        Arc::new(CallLink { wires, call, segment, resets })
    }

    /// The link of this task's call; none in the host.
    pub(crate) fn current() -> Option<Arc<CallLink>> {
        LINK.try_with(Arc::clone).ok()
    }

    /// Runs a call with this as its link.
    pub(crate) async fn scope<F: Future>(self: Arc<CallLink>, call: F) -> F::Output {
        LINK.scope(self, call).await
    }

    /// The message of a packet, wherever it lies.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn open(&self, packet: Packet) -> io::Result<Reader> {
        let len = usize::try_from(packet.header.len).map_err(io::Error::other)?;
        let bytes = match (packet.header.place, packet.file) {
            (Place::Inline, _) => Buffer::shared(Arc::new(packet.inline)),
            (Place::Segment(number), _) => {
                let segment = self.wires.segment(number)?;
                let bytes = read_message(&segment.file, len)?;
                *lock(&self.segment) = Some(segment);
                bytes
            }
            (Place::File, Some(file)) => read_message(&file, len)?,
            (Place::File, None) => return Err(io::Error::other("expected a file")),
        };
        Ok(Reader::new(bytes))
    }

    /// Sends a message of this call.
    ///
    /// # Errors
    /// The host is gone, or gives no segment of this size.
    pub(crate) async fn send(&self, kind: u8, message: &Writer) -> io::Result<()> {
        let (header, inline) = self.placed(kind, message).await?;
        self.wires.send(header, &inline).await
    }

    /// The packet of a message, which lies in the call's segment if it is long.
    async fn placed(&self, kind: u8, message: &Writer) -> io::Result<(Header, Vec<u8>)> {
        let len = message.len() as u64;
        let header = |place| Header { kind, call: self.call, place, len };
        if message.len() <= INLINE_BYTES_MAX {
            return Ok((header(Place::Inline), message.to_vec()));
        }
        let segment = self.segment_of(len).await?;
        write_message(&segment.file, message)?;
        Ok((header(Place::Segment(segment.number)), Vec::new()))
    }

    /// The call's segment, if it has so many bytes, or a larger one.
    async fn segment_of(&self, bytes: u64) -> io::Result<Segment> {
        let own = lock(&self.segment).clone();
        if let Some(own) = own.filter(|own| own.bytes >= bytes) {
            return Ok(own);
        }
        let wanted = Writer::of(&bytes).to_vec();
        let len = wanted.len() as u64;
        let header = Header { kind: GROW, call: self.call, place: Place::Inline, len };
        let packet = self.exchange(header, &wanted).await?;
        let Place::Segment(number) = packet.header.place else {
            let message = format!("the host gives a call no {bytes} bytes of shared memory");
            return Err(io::Error::other(message));
        };
        let segment = self.wires.segment(number)?;
        *lock(&self.segment) = Some(segment.clone());
        Ok(segment)
    }

    /// Sends a packet and waits for the answer.
    async fn exchange(&self, header: Header, inline: &[u8]) -> io::Result<Packet> {
        let (sender, answer) = oneshot::channel();
        lock(&self.wires.answers).insert(self.call, sender);
        self.wires.send(header, inline).await?;
        answer.await.map_err(io::Error::other)
    }

    async fn ask<T: Wire>(&self, request: Request) -> HostResult<T> {
        let failed = |error: io::Error| HostError::Trap(wasmtime::Error::msg(error.to_string()));
        let (header, inline) = self.placed(REQUEST, &Writer::of(&request)).await.map_err(failed)?;
        let packet = self.exchange(header, &inline).await.map_err(failed)?;
        let answer = self.open(packet).map_err(failed)?;
        answer.only().map_err(|error| failed(io::Error::other(error)))
    }

    /// Runs a plan of the call in the host.
    ///
    /// # Errors
    /// What the guest gets, or a trap.
    pub(crate) async fn run_plan(
        &self,
        plan: u32,
        inputs: Vec<Tensor>,
        slot: Option<String>,
    ) -> HostResult<Vec<Tensor>> {
        let resets = std::mem::take(&mut *lock(&self.resets));
        let request = Request::Run(RunPlan { plan, inputs, slot, resets });
        let answer: Result<Vec<Tensor>, Refused> = self.ask(request).await?;
        answer.map_err(told)
    }

    /// Runs the traced model that is the call's plan `main`, in the host.
    ///
    /// # Errors
    /// What the guest gets, or a trap.
    pub(crate) async fn run_traced(&self, inputs: Vec<Tensor>) -> HostResult<Vec<Tensor>> {
        let answer: Result<Vec<Tensor>, Refused> = self.ask(Request::RunTraced(inputs)).await?;
        answer.map_err(told)
    }

    /// Calls another model through the host.
    ///
    /// # Errors
    /// What the guest gets, or a trap.
    pub(crate) async fn infer(&self, call: ModelCall) -> HostResult<NamedTensors> {
        let ModelCall { model, inputs, parameters, deadline: _ } = call;
        let inputs = tensors_out(&inputs);
        let request = Request::Infer(InferModel { model, inputs, parameters });
        let answer: Result<Vec<NamedTensor>, Refused> = self.ask(request).await?;
        answer.map(tensors_in).map_err(told)
    }

    /// Hands an item of a stream to the host; waits while the client has too many unread.
    ///
    /// # Errors
    /// What the guest gets, or a trap.
    pub(crate) async fn emit(&self, outputs: &NamedTensors) -> HostResult<()> {
        let answer: Result<(), Refused> = self.ask(Request::Emit(tensors_out(outputs))).await?;
        answer.map_err(told)
    }

    /// Reads a range of a file of the package.
    ///
    /// # Errors
    /// The host's words in the inner result; a trap otherwise.
    pub(crate) async fn read_file(
        &self,
        file: String,
        offset: u64,
        len: u64,
    ) -> HostResult<Result<Buffer, String>> {
        let read = Request::Read(ReadFile { file, offset, len });
        let answer: Result<Bytes, String> = self.ask(read).await?;
        Ok(answer.map(|bytes| bytes.0))
    }

    /// Ends the slot of a sequence before the next plan call, or with the call.
    pub(crate) fn reset_slot(&self, sequence: &str) {
        lock(&self.resets).push(sequence.to_owned());
    }

    /// Slots that the host has not been told to end.
    pub(crate) fn resets(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.resets))
    }

    /// Passes a guest's message on; `false` if the socket has no room now.
    pub(crate) fn log(&self, level: u8, message: String) -> bool {
        let message = Writer::of(&Logged { level, message }).to_vec();
        let len = message.len() as u64;
        let header = Header { kind: LOG, call: self.call, place: Place::Inline, len };
        self.wires.channel.try_send(header, &message, None).is_ok()
    }
}

impl Drop for CallLink {
    fn drop(&mut self) {
        lock(&self.wires.answers).remove(&self.call);
    }
}

/// What becomes of a guest whose request the host refused.
fn told(refused: Refused) -> HostError {
    match refused {
        Refused::Answer(error) => {
            HostError::Answer(error_out(error.family, &error.code, error.message))
        }
        Refused::Deadline => LimitHit::Deadline.into(),
    }
}

/// Plans of the host, as a guest in a worker finds them.
pub(crate) struct RemotePlans {
    pub(crate) plans: Vec<(Arc<str>, Arc<Signature>)>,
    /// The model that is traced as the plan `main`.
    pub(crate) traced: Option<Arc<PluginSignature>>,
}
