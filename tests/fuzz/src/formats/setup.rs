//! A plugin as a publisher would sign it, in a sandbox as a server would open it.

use aimass_dispatch::{DispatchConfig, Dispatcher, SystemClock};
use aimass_sandbox::{Limits, ModelFiles, Plugin, PluginSetup, Sandbox, SandboxConfig};
use aimass_trust::{
    Capability, PluginRelease, SigningKey, Timestamp, TrustPolicy, read_manifest, sign_plugin,
};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Signs and loads a component with these files.
///
/// # Errors
/// What trust policy or sandbox say against it.
pub(super) async fn load(
    component: &[u8],
    limits: Limits,
    cache: &Path,
    files: Arc<dyn ModelFiles>,
) -> anyhow::Result<Arc<Plugin>> {
    let (key, name) = (SigningKey::generate()?, read_manifest(component)?.name);
    let now = SystemTime::now();
    let release = PluginRelease {
        sequence: 1,
        not_before: Timestamp::from_system(now - Duration::from_secs(60)),
        expires: Timestamp::from_system(now).plus_days(30),
        min_host: env!("CARGO_PKG_VERSION").parse()?,
        dependencies: Vec::new(),
    };
    let signed = sign_plugin(component, &release, &key)?;
    let all: Vec<String> =
        Capability::ALL.iter().map(|it| format!("\"{}\"", it.as_str())).collect();
    let policy = TrustPolicy::parse(&format!(
        "[[publisher]]\nname = \"{publisher}\"\nkeys = [\"{key}\"]\n\
         allow = {{ names = [\"{publisher}/*\"], models = [\"*\"], capabilities = [{all}] }}\n",
        publisher = name.publisher(),
        key = key.public(),
        all = all.join(", ")
    ))?;
    let package = policy.verify_plugin(signed.wasm, &signed.dsse, Some(name.as_str()), now)?;
    let config = SandboxConfig { limits, instances_max: Some(4), ..SandboxConfig::new(cache) };
    let dispatcher = Dispatcher::new(DispatchConfig::default(), Arc::new(SystemClock));
    let sandbox = Sandbox::new(config, dispatcher)?;
    let config: Arc<[u8]> = b"{}".to_vec().into();
    Ok(sandbox.load(&package, PluginSetup { config, files }).await?)
}
