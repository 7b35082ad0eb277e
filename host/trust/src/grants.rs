//! What a plugin may use: interfaces (capabilities) and amounts (limits).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::names::NameError;
use crate::refusal::excerpt;

/// An interface of the plugin contract that is a grant of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// The plugin's own configuration.
    Config,
    /// Tensor handles.
    Tensor,
    /// The graph builder.
    Graph,
    /// Plans of the model that the plugin belongs to.
    Plans,
    /// The model package's own files.
    Files,
    /// Decoding of images and sound.
    Media,
    /// Calls of other models.
    Models,
    /// Log lines.
    Log,
    /// The time of day and the deadline.
    Clock,
    /// Random bytes.
    Random,
    /// Streamed outputs.
    Emit,
}

impl Capability {
    /// Every capability, in the order of the contract.
    pub const ALL: [Capability; 11] = [
        Capability::Config,
        Capability::Tensor,
        Capability::Graph,
        Capability::Plans,
        Capability::Files,
        Capability::Media,
        Capability::Models,
        Capability::Log,
        Capability::Clock,
        Capability::Random,
        Capability::Emit,
    ];

    /// The interface's name in the contract, such as `tensor`.
    pub fn as_str(self) -> &'static str {
        match self {
            Capability::Config => "config",
            Capability::Tensor => "tensor",
            Capability::Graph => "graph",
            Capability::Plans => "plans",
            Capability::Files => "files",
            Capability::Media => "media",
            Capability::Models => "models",
            Capability::Log => "log",
            Capability::Clock => "clock",
            Capability::Random => "random",
            Capability::Emit => "emit",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Capability {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Capability::ALL.into_iter().find(|capability| capability.as_str() == text).ok_or_else(|| NameError {
            kind: "capability",
            expected: "config, tensor, graph, plans, files, media, models, log, clock, random or emit",
            got: excerpt(text),
        })
    }
}

/// How much of an interface is granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Grant {
    /// Only these names, at most 64; for `models`, the serving names that may be called. Written as a list.
    Only(Vec<String>),
    /// The whole interface. Written `{}`.
    All(Whole),
}

/// The empty object of [`Grant::All`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Whole {}

/// Interfaces with the grant of each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(BTreeMap<Capability, Grant>);

impl Capabilities {
    /// Whether `capability` is granted at all.
    pub fn allows(&self, capability: Capability) -> bool {
        self.0.contains_key(&capability)
    }

    /// The grant of `capability`, or `None`.
    pub fn get(&self, capability: Capability) -> Option<&Grant> {
        self.0.get(&capability)
    }

    /// Adds or replaces a grant.
    pub fn insert(&mut self, capability: Capability, grant: Grant) {
        self.0.insert(capability, grant);
    }

    /// All grants, in the order of the contract.
    pub fn iter(&self) -> impl Iterator<Item = (Capability, &Grant)> {
        self.0.iter().map(|(capability, grant)| (*capability, grant))
    }

    /// Whether every list of names is within its limits and stands where one is meant.
    pub(crate) fn are_sound(&self) -> bool {
        self.iter().all(|(capability, grant)| match grant {
            Grant::All(Whole {}) => true,
            Grant::Only(names) => {
                capability == Capability::Models
                    && names.len() <= 64
                    && names
                        .iter()
                        .all(|name| !name.is_empty() && name.len() <= 128 && name.is_ascii())
            }
        })
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<T: IntoIterator<Item = Capability>>(capabilities: T) -> Self {
        Capabilities(capabilities.into_iter().map(|one| (one, Grant::All(Whole {}))).collect())
    }
}

/// The names, separated by commas.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.keys().map(|capability| capability.as_str()).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

/// Amounts that a plugin asks for or may have. `None` leaves the amount to the host's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Host memory behind the handles of one call, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_bytes_max: Option<u64>,
    /// Linear memory of one instance, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes_max: Option<u64>,
    /// Time of one call, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_ms_max: Option<u64>,
    /// Outputs of one call, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_bytes_max: Option<u64>,
    /// Handles alive at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handles_max: Option<u64>,
    /// Log text of one call, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_bytes_max: Option<u64>,
    /// Calls of host functions within one call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_calls_max: Option<u64>,
}

impl Limits {
    /// Every amount with its name as it is written in a manifest.
    pub fn named(&self) -> [(&'static str, Option<u64>); 7] {
        [
            ("hostBytesMax", self.host_bytes_max),
            ("memoryBytesMax", self.memory_bytes_max),
            ("wallMsMax", self.wall_ms_max),
            ("outputBytesMax", self.output_bytes_max),
            ("handlesMax", self.handles_max),
            ("logBytesMax", self.log_bytes_max),
            ("hostCallsMax", self.host_calls_max),
        ]
    }

    /// The smaller amount of each pair; an amount that only one side names is taken.
    pub fn smaller(&self, other: &Limits) -> Limits {
        self.joined(other, |a, b| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (one, None) | (None, one) => one,
        })
    }

    /// These amounts, and `other`'s where this side names none.
    pub fn or(&self, other: &Limits) -> Limits {
        self.joined(other, Option::or)
    }

    fn joined(&self, other: &Limits, join: fn(Option<u64>, Option<u64>) -> Option<u64>) -> Limits {
        Limits {
            host_bytes_max: join(self.host_bytes_max, other.host_bytes_max),
            memory_bytes_max: join(self.memory_bytes_max, other.memory_bytes_max),
            wall_ms_max: join(self.wall_ms_max, other.wall_ms_max),
            output_bytes_max: join(self.output_bytes_max, other.output_bytes_max),
            handles_max: join(self.handles_max, other.handles_max),
            log_bytes_max: join(self.log_bytes_max, other.log_bytes_max),
            host_calls_max: join(self.host_calls_max, other.host_calls_max),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_are_whole_or_a_list_of_models() {
        let read = |text: &str| {
            serde_json::from_str::<Capabilities>(text).ok().filter(Capabilities::are_sound)
        };
        let good = read(r#"{"tensor":{},"models":["minilm"]}"#).expect("good");
        assert!(good.allows(Capability::Tensor) && !good.allows(Capability::Graph));
        assert_eq!(good.get(Capability::Models), Some(&Grant::Only(vec!["minilm".to_owned()])));
        assert_eq!(good.to_string(), "tensor, models");
        for wrong in [
            r#"{"network":{}}"#,
            r#"{"tensor":{"all":true}}"#,
            r#"{"tensor":null}"#,
            r#"{"tensor":["x"]}"#,
            r#"{"models":[""]}"#,
            r#"{"models":[1]}"#,
            r#"{"Tensor":{}}"#,
            "[]",
        ] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn names_of_capabilities_and_their_json_agree() {
        for capability in Capability::ALL {
            assert_eq!(capability.as_str().parse(), Ok(capability));
            assert_eq!(
                serde_json::to_string(&capability).expect("json"),
                format!("\"{capability}\"")
            );
        }
    }

    #[test]
    fn limits_join_amount_by_amount() {
        let a = Limits { wall_ms_max: Some(5), handles_max: Some(1), ..Limits::default() };
        let b = Limits { wall_ms_max: Some(3), log_bytes_max: Some(9), ..Limits::default() };
        let smaller = Limits {
            wall_ms_max: Some(3),
            handles_max: Some(1),
            log_bytes_max: Some(9),
            ..Limits::default()
        };
        assert_eq!(a.smaller(&b), smaller);
        assert_eq!(a.or(&b), Limits { wall_ms_max: Some(5), ..smaller });
    }
}
