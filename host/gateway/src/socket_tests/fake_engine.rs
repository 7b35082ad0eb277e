//! An engine without inference: echoes, embeds by counting bytes, and fails on purpose.

use crate::serving::{Answer, Done, LogLevel, Observation, Serving};
use aimass_engine::{
    DeviceStatus, EngineError, Family, InferRequest, InferResponse, ItemSender, ModelMetadata,
    ModelStatistics, Readiness, ReleaseFacts, Selector, Serviceability, StreamItem, TensorMetadata,
    Timed, TrustState, UnreadyReason, Usage, VersionStatus,
};
use aimass_tensor::{DType, Tensor};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// `identity` (versions 1 and 2, label `stable` on 1) echoes `INPUT<x>` as `OUTPUT<x>`; `embed`
/// makes vectors `[len, sum of bytes]`; `raw` takes FP32 `[-1, 2]`; `trap`, `busy`, `hidden` fail;
/// `slow` waits for `release`; `stuck` never answers. As a stream `words` and `chat-words` answer twice
/// and end without outputs, `late` and `chat-late` fail after one item, `endless` never ends.
#[derive(Default)]
pub(super) struct FakeEngine {
    pub(super) unready: AtomicBool,
    pub(super) stale: AtomicBool,
    pub(super) devices: Mutex<Vec<DeviceStatus>>,
    /// Set while `slow` runs.
    pub(super) started: Notify,
    pub(super) release: Notify,
    /// Calls of [`Serving::infer`].
    pub(super) calls: AtomicUsize,
    /// Set when a call was dropped before its answer.
    pub(super) cancelled: Arc<AtomicBool>,
    /// Items that `endless` could send.
    pub(super) emitted: AtomicUsize,
    unloaded: Mutex<BTreeSet<String>>,
}

impl Serving for FakeEngine {
    fn infer(&self, request: InferRequest) -> Answer<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(self.answer(request))
    }

    fn infer_stream(&self, request: InferRequest, items: ItemSender) -> Answer<'_> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Box::pin(self.answer_in_parts(request, items))
    }

    fn model(&self, name: &str, selector: &Selector) -> Result<ModelMetadata, EngineError> {
        let version = match (name, selector) {
            ("busy", _) => return Err(failing("busy", &request_of(name)).unwrap_err()),
            (_, Selector::Version(version @ 1..=2)) => *version,
            (_, Selector::Default) => 1,
            (_, Selector::Newest) => 2,
            (_, Selector::Label(label)) if label == "stable" => 1,
            (_, Selector::Version(_) | Selector::Label(_)) => return Err(missing(name, selector)),
        };
        let any = |name: &str| tensor(name, None, None);
        let (inputs, outputs) = match name {
            "identity" | "slow" | "stuck" | "trap" | "words" | "late" | "endless" => {
                (vec![any("INPUT0")], vec![any("OUTPUT0")])
            }
            "raw" => (
                vec![tensor("INPUT0", Some(DType::F32), Some(&[-1, 2]))],
                vec![tensor("OUTPUT0", Some(DType::F32), Some(&[-1, 2]))],
            ),
            "chat" | "complete" | "chat-words" | "chat-late" => {
                let input = if name == "complete" { "prompt" } else { "messages" };
                (
                    vec![tensor(input, Some(DType::Bytes), Some(&[1]))],
                    vec![tensor("text", Some(DType::Bytes), Some(&[1]))],
                )
            }
            "embed" | "embed-trap" => (
                vec![tensor("text", Some(DType::Bytes), Some(&[-1]))],
                vec![tensor("embedding", Some(DType::F32), Some(&[-1, 2]))],
            ),
            _ => return Err(missing(name, selector)),
        };
        Ok(ModelMetadata {
            name: name.into(),
            version,
            versions: vec![1, 2],
            labels: [("stable".to_owned(), 1)].into(),
            platform: "aimass_fake".into(),
            inputs,
            outputs,
            created: 1_700_000_000,
            publisher: "acme".into(),
            release: Arc::new(ReleaseFacts {
                release: "acme/fake@1.0.0".to_owned(),
                signed_by: "ed25519:00".to_owned(),
                reviewed_by: vec!["ed25519:01".to_owned()],
                fixtures: Some("3 passed".to_owned()),
            }),
        })
    }

    fn models(&self) -> Vec<ModelMetadata> {
        let names = ["embed", "identity"];
        names.map(|name| self.model(name, &Selector::Default).unwrap()).into()
    }

    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Readiness {
        let ready = !self.unready.load(Ordering::Relaxed);
        let slow = UnreadyReason {
            model: Some("slow".into()),
            text: "model slow is loading".to_owned(),
            in_general: "a model is loading",
        };
        Readiness { ready, reasons: if ready { Vec::new() } else { vec![slow] } }
    }

    fn devices(&self) -> Vec<DeviceStatus> {
        self.devices.lock().unwrap().clone()
    }

    fn trust_state(&self) -> TrustState {
        match self.stale.load(Ordering::Relaxed) {
            true => TrustState::Stale,
            false => TrustState::Fresh,
        }
    }

    fn metrics_text(&self) -> String {
        "aimass_engine_fake 1".to_owned()
    }

    fn versions(&self) -> Vec<VersionStatus> {
        let unloaded = self.unloaded.lock().unwrap();
        let names = ["embed", "identity"].into_iter();
        let rows = names.flat_map(|name| [1, 2].map(|version| (name, version)));
        rows.map(|(name, version)| {
            let ready = !unloaded.contains(name);
            VersionStatus {
                model: name.into(),
                version,
                state: if ready { Serviceability::Ready } else { Serviceability::Unavailable },
                reason: if ready { String::new() } else { "unloaded".to_owned() },
            }
        })
        .collect()
    }

    fn load<'a>(&'a self, name: &'a str, _: Instant) -> Done<'a> {
        self.unloaded.lock().unwrap().remove(name);
        let known = self.model(name, &Selector::Default).map(|_| ());
        Box::pin(std::future::ready(known))
    }

    fn unload(&self, name: &str) -> Result<(), EngineError> {
        self.model(name, &Selector::Default)?;
        self.unloaded.lock().unwrap().insert(name.to_owned());
        Ok(())
    }

    fn statistics(
        &self,
        name: &str,
        selector: &Selector,
    ) -> Result<Vec<ModelStatistics>, EngineError> {
        let of = |name: &str| self.model(name, selector).map(|model| statistics(&model));
        if name.is_empty() { Ok(vec![of("embed")?, of("identity")?]) } else { Ok(vec![of(name)?]) }
    }
}

impl FakeEngine {
    async fn answer_in_parts(
        &self,
        request: InferRequest,
        items: ItemSender,
    ) -> Result<InferResponse, EngineError> {
        let mut guard = Cancelled(Some(self.cancelled.clone()));
        let name = request.model.clone();
        let answer = self.answer(request).await;
        let item = || answer.as_ref().map(|answer| StreamItem::new(answer.clone()));
        let ended = match name.as_str() {
            "words" | "chat-words" => {
                for _ in 0..2 {
                    let _ = items.send(item().map_err(Clone::clone)?).await;
                }
                answer.map(|answer| InferResponse { outputs: Vec::new(), ..answer })
            }
            "late" | "chat-late" => {
                let _ = items.send(item().map_err(Clone::clone)?).await;
                Err(EngineError::new(Family::Plugin, "trap", "it trapped late"))
            }
            "endless" => loop {
                // It does not listen: whoever went away must be able to end it.
                let _ = items.send(item().map_err(Clone::clone)?).await;
                self.emitted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            },
            _ => answer,
        };
        guard.0 = None;
        ended
    }

    async fn answer(&self, request: InferRequest) -> Result<InferResponse, EngineError> {
        let model = self.model(&request.model, &request.selector)?;
        failing(&request.model, &request)?;
        let mut guard = Cancelled(Some(self.cancelled.clone()));
        match request.model.as_str() {
            "slow" => {
                self.started.notify_one();
                self.release.notified().await;
            }
            "stuck" => std::future::pending().await,
            _ => {}
        }
        guard.0 = None;
        let (outputs, tokens) =
            if let "chat" | "complete" | "chat-words" | "chat-late" = request.model.as_str() {
                (vec![("text".into(), request.inputs[0].1.clone())], Some(2))
            } else if request.model == "embed" {
                embed(&request.inputs[0].1)
            } else {
                (echo(request.inputs), None)
            };
        let wanted = |name: &str| {
            request.outputs.is_empty() || request.outputs.iter().any(|output| output == name)
        };
        Ok(InferResponse {
            model: model.name,
            version: model.version,
            outputs: outputs.into_iter().filter(|(name, _)| wanted(name)).collect(),
            usage: Usage { tokens },
            rooms: vec![("acme/step".into(), Duration::from_micros(1500))],
        })
    }
}

fn statistics(model: &ModelMetadata) -> ModelStatistics {
    let success = Timed { count: 3, time: Duration::from_micros(6) };
    ModelStatistics {
        model: model.name.clone(),
        version: model.version,
        rows: 5,
        launches: 2,
        success,
        batches: vec![(1, 1), (2, 1)],
        ..ModelStatistics::default()
    }
}

struct Cancelled(Option<Arc<AtomicBool>>);

impl Drop for Cancelled {
    fn drop(&mut self) {
        if let Some(flag) = &self.0 {
            flag.store(true, Ordering::Relaxed);
        }
    }
}

type Outputs = Vec<(Arc<str>, Tensor)>;

fn echo(inputs: Vec<(String, Tensor)>) -> Outputs {
    inputs.into_iter().map(|(name, x)| (name.replace("INPUT", "OUTPUT").into(), x)).collect()
}

fn embed(texts: &Tensor) -> (Outputs, Option<u64>) {
    let texts = texts.strings().unwrap();
    let sum = |text: &[u8]| text.iter().map(|&byte| f32::from(byte)).sum::<f32>();
    let values: Vec<f32> = texts.iter().flat_map(|t| [t.len() as f32, sum(t) / 3.0]).collect();
    let vectors = Tensor::from_slice(&[texts.len(), 2], &values).unwrap();
    (vec![("embedding".into(), vectors)], Some(texts.data().len() as u64))
}

fn failing(name: &str, request: &InferRequest) -> Result<(), EngineError> {
    let error = |family, code, message| Err(EngineError::new(family, code, message));
    match name {
        "trap" | "embed-trap" => error(Family::Plugin, "trap", "plugin acme/bad trapped"),
        "busy" => error(Family::Unavailable, "not-ready", "model busy is loading"),
        _ if request.deadline < Instant::now() => {
            error(Family::Deadline, "deadline", "the deadline passed")
        }
        _ => Ok(()),
    }
}

fn request_of(model: &str) -> InferRequest {
    InferRequest {
        model: model.to_owned(),
        selector: Selector::Default,
        inputs: Vec::new(),
        outputs: Vec::new(),
        parameters: Default::default(),
        tenant: "t".into(),
        deadline: Instant::now() + Duration::from_secs(9),
    }
}

fn missing(name: &str, selector: &Selector) -> EngineError {
    EngineError::new(Family::NotFound, "not-found", format!("no model {name:?} ({selector})"))
}

fn tensor(name: &str, dtype: Option<DType>, shape: Option<&[i64]>) -> TensorMetadata {
    TensorMetadata { name: name.into(), dtype, shape: shape.map(<[i64]>::to_vec) }
}

/// Settings that stay in memory.
pub(super) struct FakeObservation(Mutex<(LogLevel, f64)>);

impl Default for FakeObservation {
    fn default() -> FakeObservation {
        FakeObservation(Mutex::new((LogLevel::Info, 0.0)))
    }
}

impl Observation for FakeObservation {
    fn log_level(&self) -> LogLevel {
        self.0.lock().unwrap().0
    }

    fn set_log_level(&self, level: LogLevel) -> Result<(), String> {
        self.0.lock().unwrap().0 = level;
        Ok(())
    }

    fn trace_ratio(&self) -> f64 {
        self.0.lock().unwrap().1
    }

    fn set_trace_ratio(&self, ratio: f64) -> Result<(), String> {
        self.0.lock().unwrap().1 = ratio;
        Ok(())
    }
}
