//! First-party format plugins inside the host's sandbox: bytes become the files of a model package.
//!
//! What must hold, whatever the bytes are: the plugin answers with a graph or an error and is not
//! trapped; what it answers, the host compiles and runs within its limits.

mod call;
mod setup;

use crate::{digest, mix};
use aimass_graph::{BytesSource, CompileOptions, WeightSource};
use aimass_sandbox::{Cause, Limits, ModelFiles, Plugin, PluginError, World};
use aimass_tensor::Buffer;
use anyhow::Context;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

/// Bytes that a run of a plan may take.
const ARENA_BYTES_MAX: u64 = 64 << 20;

/// A format plugin in a sandbox of its own.
pub struct Format {
    runtime: Runtime,
    plugin: Arc<Plugin>,
    files: Arc<Files>,
    options: CompileOptions,
    _cache: tempfile::TempDir,
}

/// Why a model was not served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Stable code: the guest's own, or the kind of the sandbox's cause.
    pub code: String,
    /// The whole message.
    pub message: String,
}

/// Files of a package by name.
pub type Package = Vec<(String, Vec<u8>)>;

/// The files of the package under test, exchanged for each.
#[derive(Default)]
struct Files(Mutex<Vec<(String, Arc<BytesSource>)>>);

impl ModelFiles for Files {
    fn list(&self) -> Vec<(String, u64)> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        files.iter().map(|(name, file)| (name.clone(), file.len())).collect()
    }

    fn open(&self, name: &str) -> Option<Arc<dyn WeightSource>> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let file = files.iter().find(|(other, _)| other == name)?.1.clone();
        Some(file)
    }
}

impl Format {
    /// Signs the component with a key made here, and loads it under limits that end soon.
    ///
    /// # Errors
    /// The component cannot be read, or is refused.
    pub fn open(component: &Path) -> anyhow::Result<Format> {
        let wasm = std::fs::read(component)
            .with_context(|| format!("{}; `cargo xtask plugins` makes it", component.display()))?;
        let limits = Limits {
            host_bytes_max: 256 << 20,
            trace_wall_max: Duration::from_secs(10),
            load_wall_max: Duration::from_secs(10),
            trace_stages_max: 64,
            ..Limits::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (cache, files) = (tempfile::tempdir()?, Arc::new(Files::default()));
        let plugin = runtime.block_on(setup::load(&wasm, limits, cache.path(), files.clone()))?;
        let options = CompileOptions {
            threads: 1,
            arena_bytes_max: ARENA_BYTES_MAX,
            ..CompileOptions::default()
        };
        Ok(Format { runtime, plugin, files, options, _cache: cache })
    }

    /// Reads the package, makes its plans, and calls each once with small inputs. Answers how many
    /// plans ran.
    ///
    /// # Errors
    /// What the plugin, the sandbox or the graph engine say against it.
    pub fn serve(&self, package: Package) -> Result<usize, Refused> {
        let files = package.into_iter().map(|(name, bytes)| {
            (name, Arc::new(BytesSource::new(Buffer::shared(Arc::new(bytes)))))
        });
        *self.files.0.lock().unwrap_or_else(PoisonError::into_inner) = files.collect();
        self.runtime.block_on(async {
            match self.plugin.world() {
                World::TracingFormat => call::trace(&self.plugin, &self.options).await,
                World::Format => call::load(&self.plugin, &self.options).await,
                World::Processor | World::Model => {
                    Err(Refused { code: "world".to_owned(), message: "no format".to_owned() })
                }
            }
        })
    }

    /// As a target: serves what `package` makes of the bytes.
    ///
    /// # Panics
    /// If the plugin traps, or an error is a defect of the host.
    pub fn execute(&self, bytes: &[u8]) -> Vec<u64> {
        let package = match self.plugin.world() {
            World::TracingFormat => vec![
                ("model.onnx".to_owned(), bytes.to_vec()),
                ("weights.bin".to_owned(), vec![0x3c; 256]),
            ],
            World::Format | World::Processor | World::Model => package(bytes),
        };
        match self.serve(package) {
            Ok(plans) => vec![mix(10, crate::magnitude(plans))],
            Err(Refused { code, message }) => {
                let defect =
                    code == "trap" || message.contains("internal") || message.contains("panic");
                assert!(!defect, "{code}: {message}");
                let words =
                    message.bytes().filter(|byte| byte.is_ascii_alphabetic() || *byte == b' ');
                let words: Vec<u8> = words.take(96).collect();
                vec![mix(digest(code.as_bytes()), digest(&words))]
            }
        }
    }
}

impl From<PluginError> for Refused {
    fn from(error: PluginError) -> Refused {
        let code = match &error.cause {
            Cause::Guest(guest) => guest.code.clone(),
            other => other.kind().as_str().to_owned(),
        };
        let message = match &error.backtrace {
            Some(backtrace) => format!("{error}\n{backtrace}"),
            None => error.to_string(),
        };
        Refused { code, message }
    }
}

/// `config.json` and `model.safetensors` out of bytes: two for the length of the first, both files.
fn package(bytes: &[u8]) -> Package {
    let (length, rest) = bytes.split_at(bytes.len().min(2));
    let length = length.iter().rev().fold(0, |length, &byte| length << 8 | usize::from(byte));
    let (config, tensors) = rest.split_at(rest.len().min(length));
    vec![
        ("config.json".to_owned(), config.to_vec()),
        ("model.safetensors".to_owned(), tensors.to_vec()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_cut_into_two_files() {
        for (bytes, config, tensors) in [
            (&[2, 0, b'a', b'b', b'c'][..], &b"ab"[..], &b"c"[..]),
            (&[9, 0, b'a'], b"a", b""),
            (&[0, 0, 7], b"", &[7]),
            (&[1], b"", b""),
            (&[], b"", b""),
        ] {
            let files = package(bytes);
            assert_eq!((files[0].1.as_slice(), files[1].1.as_slice()), (config, tensors));
        }
    }
}
