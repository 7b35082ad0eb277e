//! `aimass model new`: a first `model.toml` for a folder that holds a model's files.

use crate::home::{Home, runtime};
use aimass_engine::{Draft, DraftOptions, PortDim};
use aimass_trust::PackageName;
use anyhow::{Context, bail};
use clap::Args;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bytes of a package's own name, without its publisher.
const NAME_BYTES_MAX: usize = 60;

/// Write a model.toml for a folder that holds a model's files.
///
/// The installed format plugins are asked, in the sandbox, which of them reads the files and what
/// the model takes and gives. Every input and output becomes a port with its type and extents; names
/// that clients could not use are replaced. Nothing else is written, and nothing is published.
///
/// Examples:
///   mkdir detector && cp detector.onnx detector/ && aimass model new detector
///   aimass model new detector --name you/detector --format aimass/onnx --license MIT
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct New {
    /// Folder with the model's files, and no folders
    folder: PathBuf,
    /// `publisher/name` [default: your publisher, and the folder's name]
    #[arg(long)]
    name: Option<String>,
    /// Format plugin as `publisher/name` [default: the installed one that knows the files]
    #[arg(long, value_name = "PLUGIN")]
    format: Option<String>,
    /// License of the weights, as SPDX
    #[arg(long, value_name = "SPDX")]
    license: Option<String>,
}

impl New {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => format!("{}/{}", sole_publisher(home)?, own_name(&self.folder)?),
        };
        name.parse::<PackageName>()?;
        let options = DraftOptions {
            name,
            version: "1.0.0".to_owned(),
            license: self.license.clone(),
            format: self.format.clone(),
        };
        let draft = runtime()?.block_on(async {
            let engine = home.publishing_engine().await?;
            anyhow::Ok(engine.draft_package(&self.folder, &options).await?)
        })?;
        let path = self.folder.join("model.toml");
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        file.and_then(|mut file| file.write_all(draft.text.as_bytes()))
            .with_context(|| format!("{} cannot be written", path.display()))?;
        tell(&draft, &path, &self.folder);
        Ok(())
    }
}

fn tell(draft: &Draft, path: &Path, folder: &Path) {
    let format = draft.format.as_deref().map_or(String::new(), |format| format!("{format}, "));
    println!("format    {format}read by {}", draft.plugin);
    let (inputs, outputs) = (&draft.manifest.inputs, &draft.manifest.outputs);
    for port in inputs {
        println!("input     {}: {} {}", port.name, port.dtype, shape(port.shape.as_deref()));
    }
    for port in outputs {
        println!("output    {}: {} {}", port.name, port.dtype, shape(port.shape.as_deref()));
    }
    println!("wrote     {}, as {}", path.display(), draft.manifest.model.name);
    println!("next      aimass model inspect {}", folder.display());
    println!("          aimass model add {}", folder.display());
}

fn shape(dims: Option<&[PortDim]>) -> String {
    let Some(dims) = dims else { return "any shape".to_owned() };
    let dim = |dim: &PortDim| match dim {
        PortDim::Fixed(extent) => extent.to_string(),
        PortDim::Named(name) => name.clone(),
    };
    format!("[{}]", dims.iter().map(dim).collect::<Vec<_>>().join(", "))
}

/// The publisher whose key is in the data folder, if it is the only one.
fn sole_publisher(home: &Home) -> anyhow::Result<String> {
    let publishers = home.publishers()?;
    match publishers.as_slice() {
        [publisher] => Ok(publisher.clone()),
        [] => bail!(
            "there is no publisher's key yet; make one with `aimass key new publisher NAME`, or \
             give the model a name with --name publisher/name"
        ),
        several => bail!(
            "there are keys of the publishers {}; say whose model it is with --name publisher/name",
            several.join(", ")
        ),
    }
}

/// The folder's name, as a package may be called.
fn own_name(folder: &Path) -> anyhow::Result<String> {
    let whole = folder.canonicalize().with_context(|| folder.display().to_string())?;
    let name = whole.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let name: String = name.chars().map(plain).take(NAME_BYTES_MAX).collect();
    Ok(name.trim_matches('-').to_owned())
}
