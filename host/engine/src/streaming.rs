//! Answers in parts: the channel between a plugin that emits and whoever reads.

use crate::composition::Ancestry;
use crate::{InferResponse, Usage};
use aimass_sandbox::{BoxFuture, EmittedItem, ItemHeld, ItemSink, SinkGone};
use aimass_tensor::Tensor;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::mpsc;

/// Items that wait to be read at most; a plugin that emits more sleeps.
pub const STREAM_ITEMS_MAX: usize = 16;

/// An answer before the last one.
pub struct StreamItem {
    /// Model, version and the outputs of this item: some or all of the model's.
    pub response: InferResponse,
    _held: ItemHeld,
}

impl StreamItem {
    /// An item that holds no memory of a plugin.
    pub fn new(response: InferResponse) -> StreamItem {
        StreamItem { response, _held: ItemHeld::default() }
    }
}

/// The end that answers.
#[derive(Clone)]
pub struct ItemSender {
    items: mpsc::Sender<StreamItem>,
    bytes: Arc<AtomicU64>,
}

/// The end that reads. Dropping it tells the plugin that the client went away.
pub struct ItemReceiver(mpsc::Receiver<StreamItem>);

/// A channel of [`STREAM_ITEMS_MAX`] items.
pub fn stream_items() -> (ItemSender, ItemReceiver) {
    let (items, receiver) = mpsc::channel(STREAM_ITEMS_MAX);
    (ItemSender { items, bytes: Arc::default() }, ItemReceiver(receiver))
}

impl ItemSender {
    /// Sends an item; waits while [`STREAM_ITEMS_MAX`] are not read yet.
    ///
    /// # Errors
    /// [`SinkGone`] if nobody reads any more.
    pub async fn send(&self, item: StreamItem) -> Result<(), SinkGone> {
        let outputs = item.response.outputs.iter();
        let bytes: u64 = outputs.map(|(_, tensor)| tensor.byte_len() as u64).sum();
        self.items.send(item).await.map_err(|_| SinkGone)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Bytes of all tensors sent, as they are counted from now on.
    pub fn bytes(&self) -> Arc<AtomicU64> {
        self.bytes.clone()
    }
}

impl ItemReceiver {
    /// The next item; `None` once there are no more.
    pub async fn next(&mut self) -> Option<StreamItem> {
        self.0.recv().await
    }
}

/// Where one step's items go: the model's outputs that read from this step.
pub(crate) struct StepItems {
    pub(crate) sender: ItemSender,
    pub(crate) model: Arc<str>,
    pub(crate) version: u64,
    /// Outputs that the client wants and this step gives: name of the model's, name of the step's.
    pub(crate) outputs: Vec<(Arc<str>, Arc<str>)>,
    /// The step's output that counts tokens.
    pub(crate) tokens: Option<Arc<str>>,
    pub(crate) ancestry: Ancestry,
    /// Whether the step emitted.
    pub(crate) emitted: AtomicBool,
}

impl ItemSink for StepItems {
    fn send(&self, item: EmittedItem) -> BoxFuture<'_, Result<(), SinkGone>> {
        Box::pin(self.forward(item))
    }
}

impl StepItems {
    async fn forward(&self, item: EmittedItem) -> Result<(), SinkGone> {
        self.emitted.store(true, Ordering::Relaxed);
        let find = |wanted: &Arc<str>| item.outputs.iter().find(|(name, _)| name == wanted);
        let tokens = self.tokens.as_ref().and_then(find).and_then(|(_, tensor)| sum(tensor));
        self.ancestry.add_tokens(tokens);
        let outputs = self.outputs.iter().filter_map(|(own, of_step)| {
            let (_, tensor) = find(of_step)?;
            Some((own.clone(), tensor.clone()))
        });
        let outputs: Vec<_> = outputs.collect();
        // What the client did not ask for is no item for it.
        if outputs.is_empty() {
            return if self.sender.items.is_closed() { Err(SinkGone) } else { Ok(()) };
        }
        let response = InferResponse {
            model: self.model.clone(),
            version: self.version,
            outputs,
            usage: Usage { tokens },
            rooms: Vec::new(),
        };
        self.sender.send(StreamItem { response, _held: item.held }).await
    }
}

/// Tokens that a u32 tensor counts; nothing for other tensors.
pub(crate) fn sum(tensor: &Tensor) -> Option<u64> {
    let values = tensor.as_slice::<u32>().ok()?;
    Some(values.iter().map(|&value| u64::from(value)).sum::<u64>())
}
