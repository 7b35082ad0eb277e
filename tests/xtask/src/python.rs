//! The Python environment in the cache: made once, refilled when a requirements file changes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{cache, repository, run};

/// Oldest Python that the pinned packages support.
const VERSION_MIN: &str = "3.11";

/// Requirements of `cargo xtask fetch`.
pub(crate) const TESTS: &str = "requirements.txt";

/// Requirements of the cases in `tests/onnx`.
pub(crate) const ONNX: &str = "requirements-onnx.txt";

/// Requirements of `cargo xtask bench`.
pub(crate) const BENCH: &str = "requirements-bench.txt";

/// The environment's Python, with everything of `requirements` installed.
///
/// A stamp remembers the digest of the file, so that a second call does nothing.
pub(crate) fn ensure(cache: &Path, requirements: &str) -> anyhow::Result<PathBuf> {
    ensure_in(&cache.join("venv"), "python3", &format!("tests/xtask/{requirements}"))
}

/// The Python of an environment of its own, made by `base`, with everything of the file `requirements` of
/// the repository installed.
pub(crate) fn ensure_in(venv: &Path, base: &str, requirements: &str) -> anyhow::Result<PathBuf> {
    let python = venv.join("bin/python");
    let file = repository::root().join(requirements);
    let name = file.file_name().context("a requirements file")?.to_string_lossy().into_owned();
    let digest = cache::sha256_hex(&whole_text(&file)?);
    let stamp = venv.join(format!("{name}.sha256"));
    if python.exists() && std::fs::read_to_string(&stamp).is_ok_and(|found| found == digest) {
        return Ok(python);
    }
    if !has_pip(&python) {
        make_venv(venv, base)?;
    }
    eprintln!("fetch: installing {name} into {}", venv.display());
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&file);
    run::check(&mut pip).with_context(|| {
        format!("the pinned Python packages of {} did not install from PyPI", file.display())
    })?;
    std::fs::write(&stamp, digest).with_context(|| stamp.display().to_string())?;
    Ok(python)
}

/// The file and those that it includes with `-r`.
fn whole_text(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let included: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| Some(file.with_file_name(line.strip_prefix("-r ")?.trim())))
        .collect();
    for file in included {
        text.push_str(&String::from_utf8(whole_text(&file)?)?);
    }
    Ok(text.into_bytes())
}

fn make_venv(venv: &Path, base: &str) -> anyhow::Result<()> {
    eprintln!("fetch: making a Python environment in {}", venv.display());
    let Ok(version) = run::output(Command::new(base).args(["-c", PRINT_VERSION])) else {
        bail!(
            "{base} was not found; install Python {VERSION_MIN} or newer, on Debian with \
             `apt-get install -y python3 python3-venv`"
        );
    };
    if parse_version(&version) < parse_version(VERSION_MIN) {
        bail!("{base} is {}; expected {VERSION_MIN} or newer, first on PATH", version.trim());
    }
    let mut make = Command::new(base);
    make.args(["-m", "venv", "--clear"]).arg(venv);
    run::check(&mut make).context(
        "python3 has no venv module or no pip; on Debian `apt-get install -y python3-venv` mends it",
    )
}

/// Whether an earlier run got as far as a usable environment.
fn has_pip(python: &Path) -> bool {
    python.exists() && run::output(Command::new(python).args(["-m", "pip", "--version"])).is_ok()
}

const PRINT_VERSION: &str = "import sys; print('%d.%d' % sys.version_info[:2])";

/// `(3, 11)` of `3.11`; anything unreadable is older than every version.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse_version("3.9") < parse_version(VERSION_MIN));
        assert!(parse_version("3.12\n") > parse_version(VERSION_MIN));
        assert!(parse_version("nonsense") < parse_version(VERSION_MIN));
    }
}
