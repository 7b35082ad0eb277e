//! An engine that only echoes: what is left of a request is what the gateway itself does.

use aimass_engine::{
    EngineError, Family, InferRequest, InferResponse, ModelMetadata, ModelStatistics, Readiness,
    Selector, TensorMetadata, Usage, VersionStatus,
};
use aimass_gateway::{Answer, Done, LogLevel, Observation, Serving};
use aimass_tensor::{DType, Tensor};
use std::sync::Arc;
use std::time::Instant;

/// `identity` answers `INPUT<x>` as `OUTPUT<x>`; `embed` makes the vector `[bytes, sum of bytes]` of a text.
pub(crate) struct Echo;

impl Serving for Echo {
    fn infer(&self, request: InferRequest) -> Answer<'_> {
        Box::pin(async move {
            let model = self.model(&request.model, &request.selector)?;
            let embeds = &*model.name == "embed";
            let tokens = embeds.then_some(1);
            let outputs = if embeds { embed(&request.inputs)? } else { echo(request.inputs) };
            Ok(InferResponse {
                model: model.name,
                version: model.version,
                outputs,
                usage: Usage { tokens },
                rooms: Vec::new(),
            })
        })
    }

    fn model(&self, name: &str, selector: &Selector) -> Result<ModelMetadata, EngineError> {
        let known = matches!(selector, Selector::Default | Selector::Newest | Selector::Version(1));
        let (input, output) = match name {
            "identity" if known => (any("INPUT0"), any("OUTPUT0")),
            "embed" if known => (
                tensor("text", DType::Bytes, vec![-1]),
                tensor("embedding", DType::F32, vec![-1, 2]),
            ),
            _ => return Err(EngineError::new(Family::NotFound, "not-found", "no such model")),
        };
        Ok(ModelMetadata {
            name: name.into(),
            version: 1,
            versions: vec![1],
            labels: Default::default(),
            platform: "aimass_echo".into(),
            inputs: vec![input],
            outputs: vec![output],
            created: 1_700_000_000,
            publisher: "aimass".into(),
            release: Default::default(),
        })
    }

    fn models(&self) -> Vec<ModelMetadata> {
        let names = ["embed", "identity"].into_iter();
        names.filter_map(|name| self.model(name, &Selector::Default).ok()).collect()
    }

    fn live(&self) -> bool {
        true
    }

    fn ready(&self) -> Readiness {
        Readiness { ready: true, reasons: Vec::new() }
    }

    fn metrics_text(&self) -> String {
        String::new()
    }

    fn versions(&self) -> Vec<VersionStatus> {
        Vec::new()
    }

    fn load<'a>(&'a self, _: &'a str, _: Instant) -> Done<'a> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn unload(&self, _: &str) -> Result<(), EngineError> {
        Err(EngineError::invalid("the echo is always there"))
    }

    fn statistics(&self, _: &str, _: &Selector) -> Result<Vec<ModelStatistics>, EngineError> {
        Ok(Vec::new())
    }
}

/// Neither logs nor traces.
pub(crate) struct Silent;

impl Observation for Silent {
    fn log_level(&self) -> LogLevel {
        LogLevel::Off
    }

    fn set_log_level(&self, _: LogLevel) -> Result<(), String> {
        Err("this example logs nothing".to_owned())
    }

    fn trace_ratio(&self) -> f64 {
        0.0
    }

    fn set_trace_ratio(&self, _: f64) -> Result<(), String> {
        Err("this example traces nothing".to_owned())
    }
}

type Outputs = Vec<(Arc<str>, Tensor)>;

fn echo(inputs: Vec<(String, Tensor)>) -> Outputs {
    inputs.into_iter().map(|(name, x)| (name.replace("INPUT", "OUTPUT").into(), x)).collect()
}

fn embed(inputs: &[(String, Tensor)]) -> Result<Outputs, EngineError> {
    let texts = inputs.first().and_then(|(_, tensor)| tensor.strings());
    let texts = texts.ok_or_else(|| EngineError::invalid("expected the input `text` as BYTES"))?;
    let sum = |text: &[u8]| text.iter().map(|&byte| f32::from(byte)).sum::<f32>();
    let values: Vec<f32> = texts.iter().flat_map(|text| [text.len() as f32, sum(text)]).collect();
    let vectors = Tensor::from_slice(&[texts.len(), 2], &values);
    Ok(vec![("embedding".into(), vectors.map_err(|e| EngineError::invalid(e.to_string()))?)])
}

fn any(name: &str) -> TensorMetadata {
    TensorMetadata { name: name.into(), dtype: None, shape: None }
}

fn tensor(name: &str, dtype: DType, shape: Vec<i64>) -> TensorMetadata {
    TensorMetadata { name: name.into(), dtype: Some(dtype), shape: Some(shape) }
}
