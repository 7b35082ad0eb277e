//! Plugins in other languages than Rust: from their sources to a component, with the tools of [`crate::tools`].

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::component::{BuildError, core_to_component};
use crate::contract;
use crate::language::Language;
use crate::tools::Tools;

/// Module that hands the plugin's class to componentize-py.
const PYTHON_ENTRY: &str = "aimass_entry";

/// What to build.
#[derive(Clone, Debug)]
pub struct GuestBuild<'a> {
    /// Folder of `plugin.toml`, with `src` and `vendor` as `aimass plugin new` writes them.
    pub project_dir: &'a Path,
    /// Folder for intermediate files.
    pub target_dir: &'a Path,
    /// What it is written in; [`Language::Rust`] is built by Cargo instead.
    pub language: Language,
    /// World that it exports: `processor`.
    pub world: &'a str,
    /// Interfaces that its manifest asks for.
    pub capabilities: &'a [String],
}

impl GuestBuild<'_> {
    /// Builds the plugin and returns its component, validated and unsigned.
    ///
    /// Diagnostics of compilers go to standard error.
    ///
    /// # Errors
    /// [`BuildError`]; a plugin's own errors are [`BuildError::Compiler`].
    pub fn component(&self, tools: &mut Tools<'_>) -> Result<Vec<u8>, BuildError> {
        let project = self.project_dir.canonicalize().map_err(self.cannot_read("plugin.toml"))?;
        let folder = self.target_dir.join("build").join(self.language.as_str());
        std::fs::create_dir_all(&folder).map_err(self.cannot_write(&folder))?;
        let wit = folder.join("wit");
        contract::narrow(&project.join("vendor/wit"), &wit, self.world, self.capabilities)?;
        let build = Folders { project, folder, wit };
        match self.language {
            Language::Rust => Err(BuildError::NoSource { expected: "a Cargo project".to_owned() }),
            Language::Python => self.python(&build, tools),
            Language::Js => self.javascript(&build, tools),
            Language::C => self.c(&build, tools),
            Language::Zig => self.zig(&build, tools),
        }
    }

    fn python(&self, build: &Folders, tools: &mut Tools<'_>) -> Result<Vec<u8>, BuildError> {
        build.source(&["src/plugin.py"])?;
        let entry = build.folder.join(format!("{PYTHON_ENTRY}.py"));
        let text = format!(
            "from aimass.{} import export\nimport plugin\n\nWitWorld = export(plugin)\n",
            self.module()
        );
        std::fs::write(&entry, text).map_err(self.cannot_write(&entry))?;
        let out = build.folder.join("component.wasm");
        let mut command = Command::new(tools.componentize_py()?);
        command.env_remove("VIRTUAL_ENV").current_dir(&build.folder);
        command.arg("--quiet").arg("-d").arg(&build.wit).args(["-w", self.world]);
        command.args(["componentize", "--stub-wasi"]);
        for folder in ["src", "packages", "vendor/sdk/python"] {
            command.arg("-p").arg(build.project.join(folder));
        }
        command.arg("-p").arg(&build.folder).arg(PYTHON_ENTRY).arg("-o").arg(&out);
        tools.say("building  a component with the Python interpreter in it, about 20 s");
        self.run(command)?;
        self.read(&out)
    }

    /// Name of the SDK's module for this world.
    fn module(&self) -> String {
        self.world.replace('-', "_")
    }

    fn javascript(&self, build: &Folders, tools: &mut Tools<'_>) -> Result<Vec<u8>, BuildError> {
        let source = build.source(&["src/plugin.ts", "src/plugin.js"])?;
        tools.say("building  a component with a JavaScript engine in it, about 20 s");
        let tools = tools.javascript()?;
        let out = build.folder.join("component.wasm");
        let mut command = Command::new(&tools.node);
        command.arg(&tools.script).arg(source).arg(&build.wit).arg(self.world);
        command.arg(build.folder.join("bundle.js")).arg(&out).current_dir(&build.project);
        self.run(command)?;
        self.read(&out)
    }

    fn c(&self, build: &Folders, tools: &mut Tools<'_>) -> Result<Vec<u8>, BuildError> {
        let source = build.source(&["src/plugin.c"])?;
        let out = build.folder.join("module.wasm");
        let mut command = self.zig_command(build, tools)?;
        command.args(["cc", "-target", "wasm32-freestanding", "-std=c11", "-O2", "-g0", "-Wall"]);
        command.args([
            "-Wextra",
            "-mbulk-memory",
            "-nostdlib",
            "-Wl,--no-entry",
            "-Wl,--strip-all",
        ]);
        command.arg("-I").arg(build.project.join("vendor/sdk/c")).arg(source);
        command.arg(build.project.join("vendor/sdk/c/aimass.c")).arg("-o").arg(&out);
        self.run(command)?;
        self.wrap(build, &out)
    }

    fn zig(&self, build: &Folders, tools: &mut Tools<'_>) -> Result<Vec<u8>, BuildError> {
        let source = build.source(&["src/plugin.zig"])?;
        let out = build.folder.join("module.wasm");
        let sdk = build.project.join("vendor/sdk");
        let mut command = self.zig_command(build, tools)?;
        command.args(["build-exe", "-target", "wasm32-freestanding", "-mcpu=generic+bulk_memory"]);
        command.args(["-O", "ReleaseSmall", "-fno-entry", "-fstrip", "-cflags", "-std=c11", "--"]);
        command.arg(sdk.join("c/aimass.c")).args(["--dep", "plugin", "--dep", "aimass"]);
        command.arg(format!("-Mroot={}", sdk.join("zig/root.zig").display()));
        command.args(["--dep", "aimass"]).arg(format!("-Mplugin={}", source.display()));
        command.arg(format!("-Maimass={}", sdk.join("zig/aimass.zig").display()));
        command.arg(format!("-femit-bin={}", out.display()));
        self.run(command)?;
        self.wrap(build, &out)
    }

    fn zig_command(&self, build: &Folders, tools: &mut Tools<'_>) -> Result<Command, BuildError> {
        let mut command = Command::new(tools.zig()?);
        command.current_dir(&build.folder);
        command.env("ZIG_GLOBAL_CACHE_DIR", tools.zig_cache());
        command.env("ZIG_LOCAL_CACHE_DIR", build.folder.join("zig-cache"));
        Ok(command)
    }

    /// Tells a core module which world it is of, and wraps it as a component.
    fn wrap(&self, build: &Folders, module: &Path) -> Result<Vec<u8>, BuildError> {
        let mut module = self.read(module)?;
        let refused = |error: &dyn std::fmt::Display| BuildError::Contract {
            path: build.wit.clone(),
            reason: error.to_string(),
        };
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(&build.wit).map_err(|error| refused(&error))?;
        let world =
            resolve.select_world(&[package], Some(self.world)).map_err(|error| refused(&error))?;
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
            .map_err(|error| refused(&error))?;
        core_to_component(&module)
    }

    /// Runs a compiler; what it says goes to standard error.
    fn run(&self, mut command: Command) -> Result<(), BuildError> {
        let program = PathBuf::from(command.get_program());
        let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(std::io::stderr());
        let status = command
            .status()
            .map_err(|source| BuildError::Start { program: program.clone(), source })?;
        if status.success() {
            return Ok(());
        }
        Err(BuildError::Compiler { program, project_dir: self.project_dir.to_owned(), status })
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>, BuildError> {
        std::fs::read(path)
            .map_err(|source| BuildError::ReadModule { path: path.to_owned(), source })
    }

    fn cannot_read(&self, file: &str) -> impl FnOnce(std::io::Error) -> BuildError {
        let path = self.project_dir.join(file);
        move |source| BuildError::NoProject { path, source }
    }

    fn cannot_write(&self, path: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
        let path = path.to_owned();
        move |source| BuildError::ReadModule { path, source }
    }
}

/// Absolute paths of a build.
struct Folders {
    project: PathBuf,
    folder: PathBuf,
    wit: PathBuf,
}

impl Folders {
    /// The first of these files that exists.
    fn source(&self, names: &[&str]) -> Result<PathBuf, BuildError> {
        let found = names.iter().map(|name| self.project.join(name)).find(|path| path.exists());
        let expected = || self.project.join(names.join(" or ")).display().to_string();
        found.ok_or_else(|| BuildError::NoSource { expected: expected() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_without_its_source_file_is_told_which_one_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let wit = folder.path().join("vendor/wit");
        std::fs::create_dir_all(&wit).unwrap();
        std::fs::write(
            wit.join("worlds.wit"),
            "package a:b;\n\nworld processor {\n  import types;\n}\n",
        )
        .unwrap();
        let build = GuestBuild {
            project_dir: folder.path(),
            target_dir: &folder.path().join("target"),
            language: Language::Python,
            world: "processor",
            capabilities: &[],
        };
        let mut silent = |_: &str| ();
        let mut tools = Tools::of_this_user(&mut silent).unwrap();
        let error = build.component(&mut tools).unwrap_err().to_string();
        assert!(error.contains("src/plugin.py"), "{error}");
        let unknown = GuestBuild { world: "other", ..build };
        let error = unknown.component(&mut tools).unwrap_err().to_string();
        assert!(error.contains("no world `other`"), "{error}");
    }
}
