//! The capability manifest: what a plugin is and what it asks for, inside the signed bytes.
//!
//! JSON in the component's only custom section `aimass:manifest`, at most 64 KiB.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::TrustError;
use crate::grants::{Capabilities, Limits};
use crate::json::{self, Floats};
use crate::names::{PackageName, Version, World};
use crate::refusal::{Refusal, RefusalCode, excerpt};

const BYTES_MAX: usize = 64 << 10;
const DESCRIPTION_BYTES_MAX: usize = 2_000;
const LICENSE_BYTES_MAX: usize = 200;

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// `publisher/name`.
    pub name: PackageName,
    /// Version of the plugin.
    pub version: Version,
    /// World that it implements.
    pub world: World,
    /// Interfaces that it imports.
    pub capabilities: Capabilities,
    /// Amounts that it needs.
    #[serde(default)]
    pub limits: Limits,
    /// What it does, at most 2,000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SPDX expression, at most 200 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// JSON Schema of its configuration, an object; the only place where fractions may appear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
}

impl Manifest {
    /// Reads the text of a manifest.
    ///
    /// # Errors
    /// `AMT-SIZE` above 64 KiB; `AMT-FORMAT` if it is not strict JSON of exactly these fields.
    pub fn parse(text: &[u8]) -> Result<Self, Refusal> {
        if text.len() > BYTES_MAX {
            let got = format!("{} bytes", text.len());
            return Err(Refusal::new(
                RefusalCode::Size,
                "a manifest of at most 64 KiB",
                got,
                "shorten the manifest",
            ));
        }
        let read: Result<Manifest, _> = json::parse(text, Floats::Allowed);
        let manifest = read.map_err(|error| not_a_manifest(excerpt(&error.to_string())))?;
        match manifest.fault() {
            Some(fault) => Err(not_a_manifest(fault.to_owned())),
            None => Ok(manifest),
        }
    }

    /// The text that [`Manifest::parse`] reads.
    ///
    /// # Errors
    /// [`TrustError::Sign`] if the result would be refused, for example because it is too large.
    pub fn to_json(&self) -> Result<Vec<u8>, TrustError> {
        let text = serde_json::to_vec(self).map_err(|error| not_a_manifest(error.to_string()))?;
        Self::parse(&text)?;
        Ok(text)
    }

    fn fault(&self) -> Option<&'static str> {
        let long =
            |text: &Option<String>, most| text.as_ref().is_some_and(|text| text.len() > most);
        if !self.capabilities.are_sound() {
            return Some(
                "`capabilities` with a list where none is meant, or with more than 64 names",
            );
        }
        if long(&self.description, DESCRIPTION_BYTES_MAX) || long(&self.license, LICENSE_BYTES_MAX)
        {
            return Some("`description` above 2,000 bytes or `license` above 200 bytes");
        }
        if self.config_schema.as_ref().is_some_and(|schema| !schema.is_object()) {
            return Some("`configSchema` that is no object");
        }
        None
    }
}

fn not_a_manifest(got: String) -> Refusal {
    let remedy = "correct the plugin's manifest, build it and sign it again";
    Refusal::new(RefusalCode::Format, "a manifest as the reference describes it", got, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"name":"acme/resize-norm","version":"1.4.2","world":"aimass:plugin/processor@0.1.0","capabilities":{"tensor":{}},"limits":{"wallMsMax":2000},"description":"Resizes.","license":"MIT","configSchema":{"properties":{"eps":{"minimum":0.5}}}}"#;

    #[test]
    fn a_manifest_survives_the_round_trip() {
        let manifest = Manifest::parse(GOOD.as_bytes()).expect("good");
        assert_eq!(manifest.limits.wall_ms_max, Some(2000));
        assert_eq!(manifest.to_json().expect("json"), GOOD.as_bytes());
    }

    #[test]
    fn whatever_is_not_prescribed_is_refused() {
        for (from, to) in [
            (r#""license":"MIT""#, r#""licence":"MIT""#),
            (r#""license":"MIT""#, r#""license":"MIT","license":"MIT""#),
            (r#""wallMsMax":2000"#, r#""wallMsMax":2000.0"#),
            (r#""wallMsMax":2000"#, r#""wallMsMax":-1"#),
            (r#""wallMsMax":2000"#, r#""wall_ms_max":2000"#),
            (r#""tensor":{}"#, r#""tensor":{},"tensor":{}"#),
            (r#""tensor":{}"#, r#""sockets":{}"#),
            (r#""tensor":{}"#, r#""tensor":["x"]"#),
            ("acme/resize-norm", "acme/Resize"),
            ("1.4.2", "1.4"),
            ("aimass:plugin/processor@0.1.0", "wasi:cli/command@0.2.0"),
            (r#"{"properties""#, r#"[{"properties""#),
            (r#""version":"1.4.2","#, ""),
            ("}}}}", "}}}} "),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let refused = Manifest::parse(text.as_bytes());
            let trailing_space = to.ends_with(' ');
            assert_eq!(refused.is_ok(), trailing_space, "{text}");
            assert!(refused.err().is_none_or(|refusal| refusal.code == RefusalCode::Format));
        }
        let long = GOOD.replace("Resizes.", &"x".repeat(2_001));
        assert!(Manifest::parse(long.as_bytes()).is_err());
        let huge = Manifest::parse(&vec![b' '; BYTES_MAX + 1]).expect_err("too large");
        assert_eq!(huge.code, RefusalCode::Size);
    }
}
