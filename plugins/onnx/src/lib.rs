//! Reads ONNX models (opsets 7 to 28) and traces them to graphs.
//!
//! A trace walks the model for inputs of known extents. Shapes and everything that follows from them are
//! computed on the way, so that what the host gets is a plain graph without control flow; where
//! the model looks at the content of an input (a target shape, the condition of a branch), the trace
//! observes it. Weights stay in the package's files and are handed to the host as ranges.
//!
//! The package holds one `*.onnx` file, or several and `file` in the configuration, and the files of
//! external data that it names.

mod composite;
mod constant;
mod content;
mod emit;
mod node;
mod ops;
mod proto;
mod signature;
mod tracer;
mod value;

use aimass_sdk::files::FileInfo;
use aimass_sdk::prelude::*;
use aimass_sdk::{NamedTensors, Stage, TracedInput, TracingFormat};
use proto::{Model as OnnxModel, read_model};
use serde::Deserialize;
use std::rc::Rc;
use tracer::Tracer;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    file: Option<String>,
    batch: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { file: None, batch: true }
    }
}

/// The plugin.
#[derive(Debug)]
pub struct Onnx {
    settings: Settings,
}

/// A trace that waits for content.
pub struct Trace(Tracer);

impl Onnx {
    fn model(&self, files: &[FileInfo]) -> Result<OnnxModel> {
        let name = match &self.settings.file {
            Some(name) => name,
            None => {
                let mut found = files.iter().filter(|file| file.name.ends_with(".onnx"));
                match (found.next(), found.next()) {
                    (Some(file), None) => &file.name,
                    (None, _) => return Err(Error::input("onnx-file", "expected an *.onnx file")),
                    (Some(_), Some(_)) => {
                        let message =
                            "expected one *.onnx file; name one with `file` in [format.config]";
                        return Err(Error::input("onnx-file", message));
                    }
                }
            }
        };
        let model = read_model(name)?;
        proto::check(&model)?;
        Ok(model)
    }
}

impl TracingFormat for Onnx {
    type Trace = Trace;

    fn init(config: Config) -> Result<Self> {
        // What is made here is in the memory image that every instance starts with.
        ops::lowerings();
        Ok(Onnx { settings: config.parse()? })
    }

    fn detect(&self, files: &[FileInfo]) -> Option<String> {
        files.iter().any(|file| file.name.ends_with(".onnx")).then(|| "onnx".to_owned())
    }

    fn load(&self, files: &[FileInfo]) -> Result<Signature> {
        signature::of_model(&self.model(files)?, self.settings.batch)
    }

    fn trace(&self, files: &[FileInfo], inputs: &[TracedInput]) -> Result<(Trace, Stage)> {
        let model = Rc::new(self.model(files)?);
        let signature = signature::of_model(&model, self.settings.batch)?;
        let traced = signature::traced(&model, &signature, (inputs, self.settings.batch))?;
        let (tracer, stage) = tracer::start(&model, traced)?;
        Ok((Trace(tracer), stage))
    }

    fn resume(&self, trace: &mut Trace, observed: NamedTensors) -> Result<Stage> {
        trace.0.resume(observed).map_err(tracer::error_of)
    }
}

/// Reads bytes as a model and takes its signature. For fuzz targets.
#[doc(hidden)]
pub fn read_any(bytes: &[u8]) {
    if let Ok(model) = proto::read("model.onnx", bytes.to_vec()) {
        let _ = proto::check(&model).and_then(|()| signature::of_model(&model, true));
    }
}

aimass_sdk::export_tracing_format!(Onnx);
