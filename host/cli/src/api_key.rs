//! API keys, as the gateway stores them.

use crate::home::Home;
use aimass_gateway::{append_api_key, generate_api_key};

/// Makes a key, stores its hash and returns its text.
pub(crate) fn create(home: &Home, tenant: &str, name: &str) -> anyhow::Result<String> {
    let (text, record) = generate_api_key(tenant, name)?;
    append_api_key(&home.api_keys(), &record)?;
    Ok(text)
}
