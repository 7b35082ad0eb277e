//! What the tests of `tests/onnx` run: cases that Python scripts write into the cache, and the runner
//! over ONNX's node tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{cache, fetch, plugins, python, repository, run};

/// Folder of the scripts in the repository.
const SCRIPTS: &str = "tests/onnx/python";

/// The page that `--write-docs` writes.
const PAGE: &str = "docs/reference/onnx-operators.md";

/// Cases that one script makes.
struct Product {
    /// Folder in the cache's `onnx/`.
    name: &'static str,
    /// Script that makes the folder, which it gets as its last argument.
    script: &'static str,
    /// Further scripts that it imports.
    imports: &'static [&'static str],
    /// Whether the script gets the folder of fetched models first.
    takes_models: bool,
}

const PRODUCTS: &[Product] = &[
    Product {
        name: "nodes",
        script: "export_nodes.py",
        imports: &["case_files.py"],
        takes_models: false,
    },
    Product {
        name: "extra",
        script: "extra_cases.py",
        imports: &[
            "case_files.py",
            "extra_classic.py",
            "extra_contrib.py",
            "extra_control.py",
            "extra_layers.py",
            "extra_spellings.py",
            "extra_texts.py",
            "extra_tracing.py",
            "graphs.py",
        ],
        takes_models: false,
    },
    Product {
        name: "models",
        script: "model_cases.py",
        imports: &["case_files.py", "pictures.py", "unquantized.py"],
        takes_models: true,
    },
];

/// The folder with all cases, made where they are missing or their scripts have changed.
pub(crate) fn ensure(cache: &Path) -> anyhow::Result<PathBuf> {
    let python = python::ensure(cache, python::ONNX)?;
    for product in PRODUCTS {
        product.ensure(cache, &python)?;
    }
    Ok(cache.join("onnx"))
}

impl Product {
    fn ensure(&self, cache: &Path, python: &Path) -> anyhow::Result<()> {
        let folder = cache.join("onnx").join(self.name);
        let stamp = cache.join("onnx").join(format!("{}.sha256", self.name));
        let digest = self.digest()?;
        if folder.exists() && std::fs::read_to_string(&stamp).is_ok_and(|found| found == digest) {
            return Ok(());
        }
        eprintln!("fetch: making ONNX cases: {}", self.name);
        let partial = cache.join("onnx").join(format!("{}.partial", self.name));
        remove(&partial)?;
        std::fs::create_dir_all(&partial).with_context(|| partial.display().to_string())?;
        let mut make = Command::new(python);
        make.arg(repository::root().join(SCRIPTS).join(self.script));
        if self.takes_models {
            make.arg(cache.join("models"));
        }
        run::check(make.arg(&partial))?;
        remove(&folder)?;
        std::fs::rename(&partial, &folder).with_context(|| folder.display().to_string())?;
        std::fs::write(&stamp, digest).with_context(|| stamp.display().to_string())
    }

    /// Digest of everything that decides what the script makes.
    fn digest(&self) -> anyhow::Result<String> {
        let root = repository::root();
        let scripts = std::iter::once(&self.script).chain(self.imports);
        let scripts = scripts.map(|script| root.join(SCRIPTS).join(script));
        let pins = ["requirements.txt", python::ONNX, "models.toml"];
        let pins = pins.map(|file| root.join("tests/xtask").join(file));
        let mut text = Vec::new();
        for file in scripts.chain(pins) {
            let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
            text.extend_from_slice(cache::sha256_hex(&bytes).as_bytes());
        }
        Ok(cache::sha256_hex(&text))
    }
}

fn remove(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| folder.display().to_string())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// `cargo xtask onnx-nodes`: builds the plugins and runs the node tests.
pub(crate) fn nodes(write_docs: bool, arguments: &[String]) -> anyhow::Result<()> {
    fetch::fetch()?;
    let components = plugins::build_all(&repository::build_aimass()?)?;
    let mut build = repository::cargo();
    run::check(build.args(["build", "--workspace", "--bin", "aimass-onnx-tests"]))?;
    let mut runner = Command::new(repository::target_dir()?.join("debug/aimass-onnx-tests"));
    runner.arg("--plugin").arg(components.join("onnx.wasm"));
    runner.arg("--suite").arg(cache::dir()?.join("onnx/nodes"));
    if write_docs {
        runner.arg("--write-docs").arg(repository::root().join(PAGE));
    }
    runner.args(arguments);
    let status = runner.status().with_context(|| format!("{runner:?}"))?;
    // Failed tests are what the page lists; they are no failure of writing it.
    if !status.success() && !write_docs {
        bail!("not all tests passed");
    }
    Ok(())
}
