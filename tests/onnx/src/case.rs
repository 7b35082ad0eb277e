//! Cases on disk, as `python/case_files.py` writes them.

use crate::Tolerance;
use aimass_tensor::{DType, Shape, Strings, Tensor};
use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Folder of a test that holds the model package.
const PACKAGE_FOLDER: &str = "package";

/// Tests that run together.
pub struct Suite {
    /// Sorted by name.
    pub tests: Vec<Test>,
}

/// A model and the cases that it must answer.
#[derive(Clone, Debug)]
pub struct Test {
    /// Name in reports.
    pub name: String,
    /// Folders whose files together are the model's package.
    pub package: Vec<PathBuf>,
    /// The `.json` file of each case, sorted.
    pub cases: Vec<PathBuf>,
}

/// What a model is asked, and what it must answer.
#[derive(Clone, Debug, Deserialize)]
pub struct Case {
    /// Name of the test.
    pub name: String,
    /// Operator under test, or what kind of model it is.
    pub op: String,
    /// Opset of the model.
    pub opset: u32,
    /// How answers are compared.
    #[serde(flatten)]
    pub tolerance: Tolerance,
    /// Whether all inputs and outputs are tensors; a case of others has no steps.
    #[serde(default = "yes")]
    pub tensors: bool,
    /// Inputs that take an output of the step before: input by output name.
    #[serde(default)]
    pub carry: BTreeMap<String, String>,
    /// Calls, in order.
    pub steps: Vec<StepEntry>,
    #[serde(skip)]
    data: PathBuf,
}

/// A call of a [`Case`] with its tensors read.
pub struct Step {
    /// Inputs by name.
    pub inputs: Vec<(String, Tensor)>,
    /// Expected outputs by name.
    pub outputs: Vec<(String, Tensor)>,
}

/// A call as the file describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct StepEntry {
    inputs: Vec<TensorEntry>,
    outputs: Vec<TensorEntry>,
}

#[derive(Clone, Debug, Deserialize)]
struct TensorEntry {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    at: usize,
    bytes: usize,
}

fn yes() -> bool {
    true
}

impl Suite {
    /// Every test of a folder: one folder each with `package/` and cases beside it.
    ///
    /// # Errors
    /// The folder cannot be read or holds no test.
    pub fn read(folder: &Path) -> anyhow::Result<Suite> {
        let mut tests = Vec::new();
        for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let package = path.join(PACKAGE_FOLDER);
            if package.is_dir() {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                tests.push(Test { name, package: vec![package], cases: case_files(&path)? });
            }
        }
        if tests.is_empty() {
            bail!("{} holds no test; `cargo xtask fetch` makes them", folder.display());
        }
        tests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Suite { tests })
    }
}

impl Suite {
    /// Adds to each test's package the folder of its name in `packages`, where there is one.
    #[must_use]
    pub fn with_packages(mut self, packages: &Path) -> Suite {
        for test in &mut self.tests {
            let own = packages.join(&test.name);
            if own.is_dir() {
                test.package.push(own);
            }
        }
        self
    }

    /// Where `cargo xtask fetch` puts the node tests.
    pub fn nodes_folder() -> Option<PathBuf> {
        Some(cache_folder()?.join("onnx/nodes"))
    }
}

/// The cache of `cargo xtask`.
fn cache_folder() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(folder) = variable("AIMASS_CACHE") {
        return Some(folder.into());
    }
    if let Some(folder) = variable("XDG_CACHE_HOME") {
        return Some(Path::new(&folder).join("aimass"));
    }
    variable("HOME").map(|home| Path::new(&home).join(".cache/aimass"))
}

impl Test {
    /// Opset of the first case.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn opset(&self) -> anyhow::Result<u32> {
        Ok(self.first_case()?.opset)
    }

    /// Whether the first case can run: it can be read, and is of tensors.
    pub(crate) fn is_tensor_valued(&self) -> bool {
        self.first_case().is_ok_and(|case| case.tensors)
    }

    /// The case that says what kind of test it is.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub(crate) fn first_case(&self) -> anyhow::Result<Case> {
        Case::read(self.cases.first().context("there is no case")?)
    }

    /// One model of package folders, the first of which names it, and a folder of cases for it.
    ///
    /// # Errors
    /// There is no case.
    pub fn of_model(package: &[PathBuf], cases: &Path) -> anyhow::Result<Test> {
        let first = package.first().context("a model has a package folder")?;
        let name = first.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Test { name, package: package.to_vec(), cases: case_files(cases)? })
    }
}

/// The cases of a folder, at least one.
fn case_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == "json") {
            files.push(path);
        }
    }
    if files.is_empty() {
        bail!("{} holds no case", folder.display());
    }
    files.sort();
    Ok(files)
}

impl Case {
    /// Reads the `.json` file of a case; the tensors stay on disk.
    ///
    /// # Errors
    /// The file cannot be read or is no case.
    pub fn read(file: &Path) -> anyhow::Result<Case> {
        let text = std::fs::read(file).with_context(|| file.display().to_string())?;
        let case: Case =
            serde_json::from_slice(&text).with_context(|| file.display().to_string())?;
        Ok(Case { data: file.with_extension("bin"), ..case })
    }

    /// Names of the inputs, in the model's order.
    pub fn input_names(&self) -> Vec<String> {
        let first = self.steps.first();
        first.map(|step| step.inputs.iter().map(|it| it.name.clone()).collect()).unwrap_or_default()
    }

    /// Names of the outputs, in the model's order.
    pub fn output_names(&self) -> Vec<String> {
        let first = self.steps.first();
        first
            .map(|step| step.outputs.iter().map(|it| it.name.clone()).collect())
            .unwrap_or_default()
    }

    /// Reads the tensors of every step.
    ///
    /// # Errors
    /// The file cannot be read, or a tensor is none of ours: its dtype or rank is not in the contract.
    pub fn load(&self) -> anyhow::Result<Vec<Step>> {
        let data = std::fs::read(&self.data).with_context(|| self.data.display().to_string())?;
        let read = |entries: &[TensorEntry]| -> anyhow::Result<Vec<(String, Tensor)>> {
            entries.iter().map(|entry| Ok((entry.name.clone(), entry.read(&data)?))).collect()
        };
        let step = |step: &StepEntry| {
            Ok(Step { inputs: read(&step.inputs)?, outputs: read(&step.outputs)? })
        };
        self.steps.iter().map(step).collect()
    }
}

impl TensorEntry {
    fn read(&self, data: &[u8]) -> anyhow::Result<Tensor> {
        let dtype = DType::ALL.into_iter().find(|dtype| format!("{dtype:?}") == self.dtype);
        let dtype = dtype.with_context(|| format!("the contract has no dtype {}", self.dtype))?;
        let range = self.at..self.at.saturating_add(self.bytes);
        let bytes = data.get(range).context("the data file is cut short")?;
        let shape = Shape::new(&self.shape)?;
        if dtype == DType::Bytes {
            return Ok(Tensor::from_strings(shape, Strings::from_slices(&strings(bytes)?)?)?);
        }
        Ok(Tensor::copy_from(dtype, shape, bytes)?)
    }
}

/// Strings with a length before each.
fn strings(mut bytes: &[u8]) -> anyhow::Result<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>().context("a length is cut short")?;
        let (text, rest) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(|| anyhow!("a string is cut short"))?;
        found.push(text);
        bytes = rest;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_cut_where_their_lengths_say() {
        assert_eq!(strings(b"\x01\0\0\0a\0\0\0\0\x02\0\0\0bc").unwrap(), [&b"a"[..], b"", b"bc"]);
        assert!(strings(b"\x02\0\0\0a").is_err());
        assert!(strings(b"\x02\0").is_err());
    }

    #[test]
    fn a_dtype_that_the_contract_lacks_is_named() {
        let entry = |dtype: &str| TensorEntry {
            name: "x".to_owned(),
            dtype: dtype.to_owned(),
            shape: vec![2],
            at: 0,
            bytes: 2,
        };
        assert_eq!(entry("I8").read(&[1, 2]).unwrap().dtype(), DType::I8);
        let error = entry("FLOAT4E2M1").read(&[1, 2]).unwrap_err().to_string();
        assert!(error.contains("FLOAT4E2M1"), "{error}");
        assert!(entry("I8").read(&[1]).is_err(), "cut short");
    }
}
