//! Where things lie in this repository.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use anyhow::Context;
use serde::Deserialize;

use crate::run;

/// What a build from nothing and its tests write, and what the tests of a built one do.
const BUILD_BYTES: u64 = 18_000_000_000;
const TESTS_BYTES: u64 = 2_000_000_000;

/// The folder of the workspace's `Cargo.toml`. Asked at run time where Cargo says it: clones that
/// share one output folder of Cargo share this program too.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let own = std::env::var_os("CARGO_MANIFEST_DIR");
        let own = own.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        own.ancestors().nth(2).map_or_else(|| own.clone(), Path::to_owned)
    });
    &ROOT
}

/// The Cargo that runs this task, started in the repository's root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Cargo's output folder, wherever the user's settings put it.
pub(crate) fn target_dir() -> anyhow::Result<PathBuf> {
    #[derive(Deserialize)]
    struct Metadata {
        target_directory: PathBuf,
    }
    let mut metadata = cargo();
    metadata.args(["metadata", "--no-deps", "--format-version", "1"]);
    let text = run::output(&mut metadata)?;
    let metadata: Metadata = serde_json::from_str(&text).context("output of cargo metadata")?;
    Ok(metadata.target_directory)
}

/// Refuses to begin on a disk that is too full for what a build from nothing, or a built one's tests,
/// write: it would end much later, in the words of whichever program met it.
///
/// # Errors
/// What is free, what is needed, and where.
pub(crate) fn check_space() -> anyhow::Result<()> {
    let target = target_dir()?;
    let built = target.join("debug/aimass").exists();
    let there = target.ancestors().find(|folder| folder.exists()).unwrap_or(root());
    let mut df = Command::new("df");
    let listed = run::output(df.args(["--output=avail", "-B1"]).arg(there));
    // Where `df` is another one than Debian's, it stays unknown.
    let free = listed.ok().and_then(|text| text.lines().last()?.trim().parse::<u64>().ok());
    let needed = if built { TESTS_BYTES } else { BUILD_BYTES };
    match free {
        Some(free) if free < needed => anyhow::bail!(
            "expected {:.0} GB of free disk space for {}, got {:.1} GB; free some, or point CARGO_TARGET_DIR elsewhere",
            needed as f64 / 1e9,
            target.display(),
            free as f64 / 1e9
        ),
        Some(_) | None => Ok(()),
    }
}

/// Builds the `aimass` binary and returns its path.
pub(crate) fn build_aimass() -> anyhow::Result<PathBuf> {
    build(&["--bin", "aimass"])
}

/// Builds the `aimass` binary and every test, and returns the binary's path.
///
/// Tests' dependencies switch on features of crates that the binary needs too: built by itself, the
/// binary would be compiled from all of those again.
pub(crate) fn build_all() -> anyhow::Result<PathBuf> {
    build(&["--all-targets"])
}

fn build(targets: &[&str]) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--workspace"]).args(targets);
    run::check(&mut build)?;
    Ok(target_dir()?.join("debug/aimass"))
}

/// The unit tests of the library `name` as a command, as `cargo test --workspace` builds and starts them.
///
/// `cargo test --package` would compile what they use again, with the features of that package alone.
pub(crate) fn unit_tests(name: &str) -> anyhow::Result<Command> {
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        manifest_path: PathBuf,
        target: Option<Target>,
        executable: Option<PathBuf>,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
        kind: Vec<String>,
    }
    let mut build = cargo();
    build.args(["test", "--workspace", "--lib", "--no-run", "--message-format", "json"]);
    let messages = run::output(&mut build)?;
    let wanted = messages.lines().find_map(|line| {
        let message: Message = serde_json::from_str(line).ok()?;
        let target = message.target?;
        let is_wanted = target.name == name && target.kind.iter().any(|kind| kind == "lib");
        is_wanted.then_some((message.manifest_path, message.executable?))
    });
    let (manifest, executable) = wanted.with_context(|| format!("no unit tests of {name}"))?;
    let mut command = Command::new(executable);
    if let Some(folder) = manifest.parent() {
        command.current_dir(folder);
    }
    Ok(command)
}

/// Folders directly below `folder` of the repository that hold a `Cargo.toml`, sorted by name.
pub(crate) fn projects(folder: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut projects = folders(folder)?;
    projects.retain(|path| path.join("Cargo.toml").exists());
    Ok(projects)
}

/// Folders directly below `folder` of the repository, sorted by name.
pub(crate) fn folders(folder: &str) -> anyhow::Result<Vec<PathBuf>> {
    let folder = root().join(folder);
    let mut folders = Vec::new();
    for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            folders.push(path);
        }
    }
    folders.sort();
    Ok(folders)
}
