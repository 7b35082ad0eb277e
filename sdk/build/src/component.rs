//! `cargo build` for the Wasm target, then core module to component.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde::Deserialize;
use wit_component::ComponentEncoder;

use crate::find::{TARGET, WasmToolchain};

/// What to build, and how.
#[derive(Clone, Debug)]
pub struct ComponentBuild<'a> {
    /// Folder of the plugin's `Cargo.toml`. Its library must be a `cdylib`.
    pub project_dir: &'a Path,
    /// Cargo's output folder. Plugins that share one compile their dependencies (and, on
    /// Debian's route, the standard library) once.
    pub target_dir: &'a Path,
    /// Cargo profile, for example `release`.
    pub profile: &'a str,
    /// Compiler flags such as `-Ctarget-feature=+simd128`. When empty, those of the project's
    /// `.cargo/config.toml` apply; otherwise these replace them.
    pub rustflags: &'a [&'a str],
}

/// A plugin did not become a component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folder has no readable `Cargo.toml`.
    #[error("{path}: {source}; expected the folder of a plugin's Cargo.toml")]
    NoProject {
        /// The file that was looked for.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Cargo could not be started or its messages could not be read.
    #[error("cargo did not run in {project_dir}: {source}")]
    Cargo {
        /// Folder of the plugin.
        project_dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The plugin does not compile; Cargo has said why on standard error.
    #[error("cargo build of {project_dir} ended with {status}; its messages are above")]
    Compile {
        /// Folder of the plugin.
        project_dir: PathBuf,
        /// Cargo's exit status.
        status: std::process::ExitStatus,
    },
    /// The project compiles, but makes no Wasm module.
    #[error(
        "{project_dir} built no {TARGET} module; its Cargo.toml needs\n[lib]\ncrate-type = [\"cdylib\"]"
    )]
    NoModule {
        /// Folder of the plugin.
        project_dir: PathBuf,
    },
    /// The module was built but not read.
    #[error("{path}: {source}")]
    ReadModule {
        /// The module.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A source file of another language than Rust is missing.
    #[error("{expected} is missing; `aimass plugin new` makes a project with it")]
    NoSource {
        /// What was looked for.
        expected: String,
    },
    /// The contract that travels with the project cannot be used.
    #[error(
        "{path}: {reason}; expected the contract as `aimass plugin new` writes it to vendor/wit"
    )]
    Contract {
        /// Folder of the contract.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A compiler is missing.
    #[error(transparent)]
    Tool(#[from] crate::tools::ToolError),
    /// A compiler could not be started.
    #[error("{program} did not start: {source}")]
    Start {
        /// The compiler.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The plugin has errors; the compiler has said which on standard error.
    #[error("{program} of {project_dir} ended with {status}; its messages are above")]
    Compiler {
        /// The compiler.
        program: String,
        /// Folder of the plugin.
        project_dir: PathBuf,
        /// Exit status.
        status: std::process::ExitStatus,
    },
    /// The core module is no component: usually it exports no world, or imports something else.
    #[error(
        "the module is not a component: {reason}; a plugin exports one world of `aimass:plugin` \
         through the SDK and imports nothing else (no WASI, no JavaScript)"
    )]
    Encode {
        /// What the encoder said, causes included.
        reason: String,
    },
}

impl WasmToolchain {
    /// Builds the plugin and returns its component, validated and unsigned.
    ///
    /// Cargo's progress and diagnostics go to standard error. Crates that Cargo has already
    /// downloaded are used without the network.
    ///
    /// # Errors
    /// [`BuildError`]; a plugin's own compile errors are [`BuildError::Compile`].
    pub fn build_component(&self, build: &ComponentBuild<'_>) -> Result<Vec<u8>, BuildError> {
        let path = self.build_module(build)?;
        let module = std::fs::read(&path)
            .map_err(|source| BuildError::ReadModule { path: path.clone(), source })?;
        core_to_component(&module)
    }

    /// Runs Cargo and returns the path of the core module.
    fn build_module(&self, build: &ComponentBuild<'_>) -> Result<PathBuf, BuildError> {
        let project_dir = build.project_dir.to_owned();
        let manifest = project_dir.join("Cargo.toml");
        let manifest = manifest
            .canonicalize()
            .map_err(|source| BuildError::NoProject { path: manifest, source })?;
        let cargo_error = |source| BuildError::Cargo { project_dir: project_dir.clone(), source };
        let mut cargo = self.cargo(&project_dir);
        cargo
            .args(["build", "--lib", "--profile", build.profile])
            .arg("--message-format=json-render-diagnostics")
            .args(self.target_arguments())
            .arg("--target-dir")
            .arg(std::path::absolute(build.target_dir).map_err(cargo_error)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if !build.rustflags.is_empty() {
            cargo.env("CARGO_ENCODED_RUSTFLAGS", build.rustflags.join("\x1f"));
        }
        let mut child = cargo.spawn().map_err(cargo_error)?;
        let mut module = None;
        for line in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
            module = module_of(&line.map_err(cargo_error)?, &manifest).or(module);
        }
        let status = child.wait().map_err(cargo_error)?;
        if !status.success() {
            return Err(BuildError::Compile { project_dir, status });
        }
        module.ok_or(BuildError::NoModule { project_dir })
    }
}

/// Wraps a core module, whose custom section names its world, as a component and validates it.
///
/// # Errors
/// [`BuildError::Encode`] if the section is missing or an import or export does not fit it.
pub fn core_to_component(module: &[u8]) -> Result<Vec<u8>, BuildError> {
    ComponentEncoder::default()
        .validate(true)
        .module(module)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|error| BuildError::Encode { reason: format!("{error:#}") })
}

/// A line of `cargo build --message-format=json`, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// The `.wasm` file that this message of Cargo says the package at `manifest` has become.
fn module_of(line: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Message = serde_json::from_str(line).ok()?;
    if message.reason != "compiler-artifact" || message.manifest_path.as_deref() != Some(manifest) {
        return None;
    }
    message.filenames.into_iter().find(|file| file.extension().is_some_and(|it| it == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_module_of_the_asked_package_is_taken() {
        let line = r#"{"reason":"compiler-artifact","manifest_path":"/p/Cargo.toml",
            "filenames":["/t/libp.rlib","/t/p.wasm"]}"#;
        let module = module_of(line, Path::new("/p/Cargo.toml"));
        assert_eq!(module, Some(PathBuf::from("/t/p.wasm")));
        assert_eq!(module_of(line, Path::new("/other/Cargo.toml")), None);
        assert_eq!(
            module_of(r#"{"reason":"build-finished","success":true}"#, Path::new("/")),
            None
        );
        assert_eq!(module_of("a build script's own line", Path::new("/")), None);
    }

    #[test]
    fn a_module_without_a_world_is_refused_with_the_remedy() {
        let empty_module = b"\0asm\x01\0\0\0";
        let error = core_to_component(b"not wasm").unwrap_err().to_string();
        assert!(error.contains("aimass:plugin"), "{error}");
        // An empty module becomes an empty component: it promises nothing and imports nothing.
        assert!(core_to_component(empty_module).is_ok());
    }

    #[test]
    fn a_folder_without_a_manifest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let toolchain = WasmToolchain { route: crate::Route::Target };
        let build = ComponentBuild {
            project_dir: folder.path(),
            target_dir: folder.path(),
            profile: "release",
            rustflags: &[],
        };
        let error = toolchain.build_component(&build).unwrap_err().to_string();
        assert!(error.contains("Cargo.toml"), "{error}");
    }
}
