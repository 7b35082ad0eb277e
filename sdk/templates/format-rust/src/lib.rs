//! Reads a linear layer, `y = x · W + b`, and builds its graph.
//!
//! `linear.json` holds `{"inputs": n, "outputs": m}`; `linear.f32` holds W, `[n, m]` row-major, and
//! then b, `[m]`, as little-endian f32. The weights are ranges of that file: the host reads them,
//! the plugin never does.

use aimass_sdk::files::{File, FileInfo};
use aimass_sdk::graph::Builder;
use aimass_sdk::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    inputs: u64,
    outputs: u64,
}

struct Linear;

impl Format for Linear {
    fn init(_config: Config) -> Result<Self> {
        Ok(Linear)
    }

    fn detect(&self, files: &[FileInfo]) -> Option<String> {
        let found = files.iter().any(|file| file.name == "linear.json");
        found.then(|| "linear".to_owned())
    }

    fn load(&self, _files: &[FileInfo]) -> Result<LoadedModel> {
        let header = parse(&File::open("linear.json")?.read_all(4096)?)?;
        let weights = File::open("linear.f32")?;
        let (n, m) = (header.inputs, header.outputs);

        let graph = Builder::new();
        let x = graph.input("x", DType::F32, &[Dim::Batch, Dim::Fixed(n)])?;
        let w = graph.weight("w", DType::F32, &[n, m], &weights, 0)?;
        let b = graph.weight("b", DType::F32, &[m], &weights, bytes_of_w(&header)?)?;
        graph.output("y", graph.linear(x, w, Some(b), false)?)?;
        Ok(LoadedModel::of_graph(graph.build()?))
    }
}

aimass_sdk::export_format!(Linear);

fn parse(json: &[u8]) -> Result<Header> {
    serde_json::from_slice(json)
        .map_err(|error| Error::input("linear-json", format!("linear.json: {error}")))
}

/// Numbers from outside are multiplied with checks only.
fn bytes_of_w(header: &Header) -> Result<u64> {
    let elements = header.inputs.checked_mul(header.outputs);
    elements.and_then(|elements| elements.checked_mul(4)).ok_or_else(|| {
        let message = format!("[{}, {}] is too large", header.inputs, header.outputs);
        Error::input("linear-json", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_sdk::testing::Host;

    /// Graphs have no stub, so that `load` is tested by fixtures; what reads files is tested here.
    #[test]
    fn a_package_is_detected_by_its_files() -> Result<()> {
        let host = Host::new().file("linear.json", r#"{"inputs": 1, "outputs": 1}"#).enter();
        let format = Linear::init(host.config())?;
        assert_eq!(format.detect(&aimass_sdk::files::list()).as_deref(), Some("linear"));
        assert_eq!(parse(&File::open("linear.json")?.read_all(4096)?)?.inputs, 1);
        Ok(())
    }

    #[test]
    fn a_header_is_checked() {
        let header = parse(br#"{"inputs": 2, "outputs": 3}"#).map_err(|error| error.message);
        assert_eq!(header.and_then(|h| bytes_of_w(&h).map_err(|e| e.message)), Ok(24));
        assert!(parse(br#"{"inputs": -1, "outputs": 3}"#).is_err());
        assert!(bytes_of_w(&Header { inputs: u64::MAX, outputs: 2 }).is_err());
    }
}
