//! Constants on a device, shared by content between all plans of the process.

use crate::PlanError;
use crate::packing::Constant;
use aimass_cuda::{Device, DeviceError, Memory};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

type Key = [u8; 32];

static CACHE: Mutex<Option<HashMap<Key, Weak<Memory>>>> = Mutex::new(None);

/// Why a constant is not on the device.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ConstantError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Device(#[from] DeviceError),
}

/// What `make` makes of the constants, on the device, unless a living plan has it there already.
/// `layout` names everything beside the constants that the result depends on.
///
/// # Errors
/// Those of `make`, or the device's.
pub(crate) fn on_device(
    device: &Arc<Device>,
    layout: &str,
    constants: &[&Constant],
    make: impl FnOnce() -> Result<Vec<u8>, PlanError>,
) -> Result<Arc<Memory>, ConstantError> {
    let mut hash = Sha256::new();
    hash.update(&device.info().uuid);
    hash.update(format!("{:p} {layout}", Arc::as_ptr(device)));
    for constant in constants {
        hash.update(constant.digest());
    }
    let key: Key = hash.finalize().into();
    let lock = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    let found = lock().get_or_insert_default().get(&key).and_then(Weak::upgrade);
    if let Some(found) = found {
        return Ok(found);
    }
    let content = make()?;
    let made = Arc::new(device.upload(&content)?);
    constants.iter().for_each(|constant| constant.release());
    let mut cache = lock();
    let cache = cache.get_or_insert_default();
    cache.retain(|_, known| known.strong_count() > 0);
    cache.insert(key, Arc::downgrade(&made));
    Ok(made)
}
