//! `aimass infer`: one answer, without a server.

use crate::home::{Home, runtime};
use aimass_engine::{DeviceChoice, Engine, InferRequest, Selector};
use aimass_tensor::{DType, Shape, Strings, Tensor};
use anyhow::{Context, bail};
use clap::Args;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Elements of an output that are printed.
const PRINTED_MAX: usize = 8;

/// Ask a model of the registry once, without a server.
///
/// Example: `aimass infer minilm --input text='["a cat", "a dog"]'`
#[derive(Args)]
pub(crate) struct Infer {
    /// `name`, `name@label` or `name@version`
    model: String,
    /// An input as NAME=JSON: a string, or a flat list of strings or numbers
    #[arg(long = "input", value_name = "NAME=JSON", required = true)]
    inputs: Vec<String>,
    /// Seconds until it is given up
    #[arg(long, default_value_t = 60)]
    timeout: u64,
    /// Where the model runs: `auto`, `cpu`, or a GPU as `cuda:0`
    #[arg(long, default_value_t = DeviceChoice::Cpu, value_name = "DEVICE")]
    device: DeviceChoice,
}

impl Infer {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        runtime()?.block_on(self.ask(home))
    }

    async fn ask(self, home: &Home) -> anyhow::Result<()> {
        let mut config = home.engine_config();
        config.device = self.device.clone();
        let engine = Engine::open(config).await?;
        let deadline = Instant::now() + Duration::from_secs(self.timeout);
        let (name, selector) = match self.model.split_once('@') {
            Some((name, selector)) => (name.to_owned(), selector.parse()?),
            None => (self.model.clone(), Selector::Default),
        };
        let metadata = wait_for(&engine, &name, &selector, deadline).await?;
        let mut inputs = Vec::new();
        for text in &self.inputs {
            let (input, json) = text
                .split_once('=')
                .with_context(|| format!("expected NAME=JSON, got {text:?}"))?;
            let dtype = metadata.inputs.iter().find(|port| *port.name == *input);
            let dtype = dtype.and_then(|port| port.dtype);
            inputs.push((input.to_owned(), tensor(dtype, json).with_context(|| text.clone())?));
        }
        let request = InferRequest {
            model: name,
            selector,
            inputs,
            outputs: Vec::new(),
            parameters: Default::default(),
            tenant: Arc::from("local"),
            deadline,
        };
        let answer = engine.infer(request).await?;
        println!("{} version {}", answer.model, answer.version);
        for (output, tensor) in &answer.outputs {
            println!("{output}  {} {}  {}", tensor.dtype(), tensor.shape(), excerpt(tensor));
        }
        for (room, took) in &answer.rooms {
            println!("{room}  {:.3} ms", took.as_secs_f64() * 1e3);
        }
        Ok(())
    }
}

/// Metadata of a model; waits while the registry is read and the model is loading.
async fn wait_for(
    engine: &Engine,
    name: &str,
    selector: &Selector,
    deadline: Instant,
) -> anyhow::Result<aimass_engine::ModelMetadata> {
    use aimass_engine::Family;
    loop {
        let synced = !engine.ready().reasons.iter().any(|reason| reason.model.is_none());
        match engine.model(name, selector) {
            Ok(metadata) => return Ok(metadata),
            Err(error) if synced && error.family() != Family::Unavailable => bail!(error),
            Err(error) if Instant::now() >= deadline => bail!(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// A tensor from JSON: one string or number, or a flat list of them.
///
/// # Errors
/// What is no text or number, or a dtype that the command line cannot write.
pub(crate) fn tensor(dtype: Option<DType>, json: &str) -> anyhow::Result<Tensor> {
    let value: serde_json::Value = serde_json::from_str(json)
        .or_else(|_| anyhow::Ok(serde_json::Value::String(json.to_owned())))?;
    let items = match value {
        serde_json::Value::Array(items) => items,
        single => vec![single],
    };
    let shape = Shape::new(&[items.len()])?;
    let dtype = dtype.unwrap_or(match items.first() {
        Some(serde_json::Value::String(_)) => DType::Bytes,
        _ => DType::F32,
    });
    let numbers =
        || items.iter().map(|item| item.as_f64().with_context(|| format!("{item} is no number")));
    Ok(match dtype {
        DType::Bytes => {
            let texts = items.iter().map(|i| i.as_str().with_context(|| format!("{i} is no text")));
            let texts: Vec<&str> = texts.collect::<anyhow::Result<_>>()?;
            Tensor::from_strings(shape, Strings::from_slices(&texts)?)?
        }
        DType::F32 => {
            let values: Vec<f32> =
                numbers().map(|n| n.map(|n| n as f32)).collect::<anyhow::Result<_>>()?;
            Tensor::from_slice(&shape, &values)?
        }
        DType::I32 => {
            let values: Vec<i32> =
                numbers().map(|n| n.map(|n| n as i32)).collect::<anyhow::Result<_>>()?;
            Tensor::from_slice(&shape, &values)?
        }
        DType::I64 => {
            let values: Vec<i64> =
                numbers().map(|n| n.map(|n| n as i64)).collect::<anyhow::Result<_>>()?;
            Tensor::from_slice(&shape, &values)?
        }
        DType::U32 => {
            let values: Vec<u32> =
                numbers().map(|n| n.map(|n| n as u32)).collect::<anyhow::Result<_>>()?;
            Tensor::from_slice(&shape, &values)?
        }
        other => bail!("`aimass infer` cannot write {other} tensors; ask the server over HTTP"),
    })
}

fn excerpt(tensor: &Tensor) -> String {
    let texts: Vec<String> = if let Some(strings) = tensor.strings() {
        strings.iter().take(PRINTED_MAX).map(|s| String::from_utf8_lossy(s).into_owned()).collect()
    } else if let Ok(values) = tensor.as_slice::<f32>() {
        values.iter().take(PRINTED_MAX).map(|value| format!("{value:.6}")).collect()
    } else if let Ok(values) = tensor.as_slice::<i64>() {
        values.iter().take(PRINTED_MAX).map(i64::to_string).collect()
    } else if let Ok(values) = tensor.as_slice::<i32>() {
        values.iter().take(PRINTED_MAX).map(i32::to_string).collect()
    } else if let Ok(values) = tensor.as_slice::<u32>() {
        values.iter().take(PRINTED_MAX).map(u32::to_string).collect()
    } else {
        vec![format!("{} bytes", tensor.byte_len())]
    };
    let more = if tensor.shape().elements() > PRINTED_MAX { ", …" } else { "" };
    format!("[{}{more}]", texts.join(", "))
}
