//! The configuration file of `aimass serve`.

use aimass_gateway::GatewayConfig;
use anyhow::Context;
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServeFile {
    #[serde(default)]
    gateway: GatewayConfig,
}

/// Reads the `[gateway]` table of a file; what it leaves out keeps its default.
pub(crate) fn read(path: &Path) -> anyhow::Result<GatewayConfig> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .with_context(|| format!("configuration {}", path.display()))?;
    let file: ServeFile =
        toml::from_str(&text).with_context(|| format!("configuration {}", path.display()))?;
    Ok(file.gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_unknown_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aimass.toml");
        std::fs::write(&path, "[gateway]\nconnections_max = 7\n").unwrap();
        assert_eq!(read(&path).unwrap().connections_max, 7);
        std::fs::write(&path, "[gateway]\nconnection_max = 7\n").unwrap();
        let text = format!("{:#}", read(&path).unwrap_err());
        assert!(text.contains("aimass.toml") && text.contains("connection_max"), "{text}");
    }
}
