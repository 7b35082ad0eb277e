//! Packed weights in the data folder, as the planner asks for them.

use crate::config::EngineConfig;
use crate::errors::of_registry;
use crate::types::EngineError;
use aimass_graph::PackedStore;
use aimass_registry::PackedFiles;
use aimass_tensor::Buffer;
use std::sync::Arc;

/// The store that the configuration asks for.
///
/// # Errors
/// Its folder cannot be made.
pub(crate) fn packed_store(
    config: &EngineConfig,
) -> Result<Option<Arc<dyn PackedStore>>, EngineError> {
    if config.packed_bytes_max == 0 {
        return Ok(None);
    }
    let folder = config.data_dir.join("cache/packed");
    let files =
        PackedFiles::open(&folder, config.packed_bytes_max).map_err(|error| of_registry(&error))?;
    Ok(Some(Arc::new(OnDisk(files))))
}

struct OnDisk(PackedFiles);

impl PackedStore for OnDisk {
    fn get(&self, key: &[u8; 32]) -> Option<Buffer> {
        let (map, content) = self.0.get(key)?.into_parts();
        Some(Buffer::shared(map).slice(content))
    }

    fn put(&self, key: &[u8; 32], bytes: &[u8]) {
        if let Err(error) = self.0.put(key, bytes) {
            tracing::warn!(%error, "packed weights could not be kept");
        }
    }
}
