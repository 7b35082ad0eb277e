//! The gateway before an engine that only echoes: what the gateway itself costs, beside
//! `axum_identity`, and something to point a client at.
//!
//! `identity` answers `INPUT<x>` as `OUTPUT<x>`; `embed` makes the vector `[bytes, sum of bytes]`
//! of a text. Prints one JSON object `{"url", "api_key"}` and runs until it is killed.

use aimass_engine::{
    EngineError, Family, InferRequest, InferResponse, ModelMetadata, Readiness, Selector,
    TensorMetadata, Usage,
};
use aimass_gateway::{Answer, GatewayConfig, Serving, append_api_key, generate_api_key, serve};
use aimass_tensor::{DType, Tensor};
use std::sync::Arc;

struct Echo;

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

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let keys = std::env::temp_dir().join(format!("echo-gateway-{}.toml", std::process::id()));
    let (key, record) = generate_api_key("bench", "example")?;
    append_api_key(&keys, &record)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!(r#"{{"url":"http://{}","api_key":"{key}"}}"#, listener.local_addr()?);
    serve(Arc::new(Echo), GatewayConfig::new(keys), listener, std::future::pending()).await?;
    Ok(())
}
