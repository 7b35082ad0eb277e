//! A publisher, a policy that trusts it, and a small signed package: what the tests attack.
#![allow(dead_code, reason = "every test file uses a part of it")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aimass_trust::{
    Capability, Manifest, PluginRelease, Refusal, RefusalCode, SignedPlugin, SigningKey, Timestamp,
    TrustPolicy, VerifiedPackage, embed_manifest, sign_plugin,
};

/// 2026-11-20T10:00:00Z.
pub(crate) const NOW: u64 = 1_795_168_800;

/// A publisher with one key.
pub(crate) struct Acme {
    pub(crate) key: SigningKey,
}

impl Acme {
    pub(crate) fn new() -> Self {
        Acme { key: SigningKey::generate().expect("randomness") }
    }

    /// A policy that lets `acme` publish `acme/*` with `tensor` and `log`, at most 2 s a call.
    pub(crate) fn policy_text(&self) -> String {
        format!(
            "[[publisher]]\nname = \"acme\"\nkeys = [\"{}\"]\nexpires = \"2028-01-01T00:00:00Z\"\n\
             allow = {{ names = [\"acme/*\"], capabilities = [\"tensor\", \"log\"], limits = {{ wall_ms_max = 2000 }} }}\n",
            self.key.public()
        )
    }

    pub(crate) fn policy(&self) -> TrustPolicy {
        TrustPolicy::parse(&self.policy_text()).expect("a policy")
    }

    pub(crate) fn sign(&self, manifest: &Manifest) -> SignedPlugin {
        sign_plugin(
            &embed_manifest(&component(), manifest).expect("embedded"),
            &release(),
            &self.key,
        )
        .expect("signed")
    }
}

pub(crate) fn release() -> PluginRelease {
    PluginRelease {
        sequence: 17,
        not_before: Timestamp::from_unix(NOW - 60),
        expires: Timestamp::from_unix(NOW).plus_days(365),
        min_host: "0.1.0".parse().expect("a version"),
        dependencies: Vec::new(),
    }
}

pub(crate) fn manifest() -> Manifest {
    Manifest {
        name: "acme/resize-norm".parse().expect("a name"),
        version: "1.4.2".parse().expect("a version"),
        world: "aimass:plugin/processor@0.1.0".parse().expect("a world"),
        capabilities: [Capability::Tensor].into_iter().collect(),
        limits: aimass_trust::Limits { wall_ms_max: Some(1000), ..Default::default() },
        description: None,
        license: Some("Apache-2.0".to_owned()),
        config_schema: None,
    }
}

/// A component that imports `types` and `tensor`.
pub(crate) fn component() -> Vec<u8> {
    component_importing("aimass:plugin/tensor@0.1.0")
}

pub(crate) fn component_importing(import: &str) -> Vec<u8> {
    wat::parse_str(format!(
        "(component (import \"aimass:plugin/types@0.1.0\" (instance (export \"error\" (type (sub resource)))))
                    (import \"{import}\" (instance)) (core module (memory 1)))"
    ))
    .expect("a component")
}

pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

/// Verifies `plugin` under `policy` as the package that it is.
pub(crate) fn verify(
    policy: &TrustPolicy,
    plugin: &SignedPlugin,
) -> Result<VerifiedPackage, Refusal> {
    policy.verify_plugin(plugin.wasm.clone(), &plugin.dsse, Some("acme/resize-norm"), now())
}

/// The refusal's code, after a look at its message.
#[track_caller]
pub(crate) fn code(result: Result<VerifiedPackage, Refusal>) -> RefusalCode {
    let refusal = result.expect_err("refused");
    let text = refusal.to_string();
    assert!(text.starts_with(refusal.code.as_str()) && text.contains("Remedy: "), "{text}");
    assert!(
        !refusal.expected.is_empty() && !refusal.got.is_empty() && refusal.remedy.len() > 10,
        "{text}"
    );
    assert!(text.len() < 1_500, "{text}");
    refusal.code
}
