//! The operator's trust policy, `trust.toml`: who may publish which names with which rights.
//!
//! ```toml
//! [[publisher]]
//! name = "acme"
//! keys = ["ed25519:…"]
//! expires = "2027-11-20T10:00:00Z"           # optional
//! tier = "worker"                            # optional: in processes of their own; default "in-process"
//! loopback_only = false                      # optional: true for a key made with `aimass key new --local`
//! allow = { names = ["acme/*"], capabilities = ["tensor", "log"], models = ["*"], limits = { wall_ms_max = 2000 } }
//!
//! [operator]                                 # optional: a bound on everybody
//! capabilities = ["tensor", "graph", "files", "log", "config"]
//! limits = { memory_bytes_max = 268435456 }
//!
//! [review]                                   # optional: how many reviewers must have signed
//! required = 1
//! keys = ["ed25519:…"]
//! ```
//! Marketplaces stand there too: [`subscription`].

pub(crate) mod subscription;

use std::path::Path;

use serde::Deserialize;

use crate::error::TrustError;
use crate::grants::{Capability, Limits};
use crate::keys::PublicKey;
use crate::names::{is_pattern, is_publisher, matches};
use crate::refusal::excerpt;
use crate::timestamp::Timestamp;
use subscription::{Subscription, SubscriptionText};

const BYTES_MAX: u64 = 1 << 20;

/// Whom this host trusts. An empty policy refuses everything.
#[derive(Clone, Debug, Default)]
pub struct TrustPolicy {
    pub(crate) publishers: Vec<Publisher>,
    pub(crate) operator: Bounds,
    pub(crate) reviewers: Vec<PublicKey>,
    pub(crate) reviews_required: usize,
    pub(crate) markets: Vec<Subscription>,
}

/// One publisher's entry.
#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    pub(crate) name: String,
    pub(crate) keys: Vec<PublicKey>,
    pub(crate) names: Vec<String>,
    pub(crate) models: Vec<String>,
    pub(crate) bounds: Bounds,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) loopback_only: bool,
    pub(crate) tier: Tier,
}

/// Where plugins run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tier {
    /// In the server's own process: the sandbox is their wall.
    #[default]
    InProcess,
    /// In worker processes, one for each tenant and publisher, behind walls of the kernel too.
    Worker,
}

/// The most that anything under an entry may ask for.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) capabilities: Vec<Capability>,
    pub(crate) limits: Limits,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { capabilities: Capability::ALL.to_vec(), limits: Limits::default() }
    }
}

impl TrustPolicy {
    /// Reads `trust.toml`, at most 1 MiB.
    ///
    /// # Errors
    /// [`TrustError::File`] if it cannot be read, else as [`TrustPolicy::parse`].
    pub fn load(path: &Path) -> Result<Self, TrustError> {
        use std::io::Read;
        let file = std::fs::File::open(path).map_err(TrustError::file(path))?;
        let mut text = String::new();
        file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(TrustError::file(path))?;
        if text.len() as u64 > BYTES_MAX {
            return Err(TrustError::PolicySyntax("expected at most 1 MiB, got more".to_owned()));
        }
        Self::parse(&text)
    }

    /// Reads the text of a `trust.toml`.
    ///
    /// # Errors
    /// [`TrustError::PolicySyntax`] for anything but exactly the fields of the form,
    /// [`TrustError::Policy`] for a field that breaks its rule; keys pass the strict rule here.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let read: PolicyText =
            toml::from_str(text).map_err(|error| TrustError::PolicySyntax(error.to_string()))?;
        let publishers =
            read.publisher.into_iter().map(Publisher::read).collect::<Result<Vec<_>, _>>()?;
        let reviewers = read_keys("review: keys", &read.review.keys)?;
        let policy = TrustPolicy {
            publishers,
            operator: read_bounds("operator", read.operator.capabilities, read.operator.limits)?,
            reviewers,
            reviews_required: read.review.required,
            markets: subscription::read(read.market)?,
        };
        policy.refuse_contradictions()?;
        Ok(policy)
    }

    /// The policy for a listener: a key that was made for local use is trusted on loopback only.
    pub fn for_listener(mut self, loopback: bool) -> Self {
        self.publishers.retain(|publisher| loopback || !publisher.loopback_only);
        self
    }

    /// Names of publishers whose keys were made for local use; a host that trusts them should say so.
    pub fn local_publishers(&self) -> impl Iterator<Item = &str> {
        self.publishers
            .iter()
            .filter(|publisher| publisher.loopback_only)
            .map(|publisher| publisher.name.as_str())
    }

    /// How many reviewers must have signed what a publisher of this policy signed.
    pub fn reviews_required(&self) -> usize {
        self.reviews_required
    }

    /// The publisher whose key this is, if one of the policy's has it.
    pub fn publisher_of(&self, key: PublicKey) -> Option<&str> {
        let found = self.publishers.iter().find(|publisher| publisher.keys.contains(&key));
        found.map(|publisher| publisher.name.as_str())
    }

    /// Names of all publishers.
    pub fn publishers(&self) -> impl Iterator<Item = &str> {
        self.publishers.iter().map(|publisher| publisher.name.as_str())
    }

    fn refuse_contradictions(&self) -> Result<(), TrustError> {
        let mut seen = Vec::new();
        for publisher in &self.publishers {
            if seen.contains(&publisher.name.as_str()) {
                let field = "publisher: name".to_owned();
                let expected = "one entry a publisher, with all its keys";
                return Err(TrustError::Policy {
                    field,
                    expected,
                    got: format!("two for {}", publisher.name),
                });
            }
            seen.push(&publisher.name);
        }
        let keys =
            || self.publishers.iter().flat_map(|publisher| &publisher.keys).chain(&self.reviewers);
        for (index, key) in keys().enumerate() {
            if keys().take(index).any(|earlier| earlier == key) {
                let field = "keys".to_owned();
                let expected = "every key once: with one publisher or as a reviewer";
                return Err(TrustError::Policy { field, expected, got: format!("{key} twice") });
            }
        }
        if self.reviews_required > self.reviewers.len() {
            let got = format!("{} of {} keys", self.reviews_required, self.reviewers.len());
            let expected = "no more reviews than there are keys";
            return Err(TrustError::Policy { field: "review: required".to_owned(), expected, got });
        }
        Ok(())
    }
}

impl Publisher {
    fn read(text: PublisherText) -> Result<Self, TrustError> {
        let field = |field: &str| format!("publisher {}: {field}", excerpt(&text.name));
        let error = |name: &str, expected, got| {
            Err(TrustError::Policy { field: field(name), expected, got })
        };
        if !is_publisher(&text.name) {
            return error("name", "[a-z0-9-]{2,40}", excerpt(&text.name));
        }
        let keys = read_keys(&field("keys"), &text.keys)?;
        if keys.is_empty() {
            return error("keys", "at least one key", "none".to_owned());
        }
        let own = format!("{}/", text.name);
        let sound = |name: &String| name.starts_with(&own) && is_pattern(name);
        if let Some(wrong) = text.allow.names.iter().find(|name| !sound(name)) {
            let expected =
                "names that begin with the publisher's and have a star at most at the end";
            return error("allow.names", expected, excerpt(wrong));
        }
        let bounds =
            read_bounds(&field("allow"), Some(text.allow.capabilities), text.allow.limits)?;
        let expires = text.expires.as_deref().map(str::parse).transpose()?;
        Ok(Publisher {
            name: text.name,
            keys,
            names: text.allow.names,
            models: text.allow.models,
            bounds,
            expires,
            loopback_only: text.loopback_only,
            tier: text.tier,
        })
    }

    /// Whether the publisher may use `name`.
    pub(crate) fn may_use(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| matches(pattern, name))
    }
}

fn read_keys(field: &str, keys: &[String]) -> Result<Vec<PublicKey>, TrustError> {
    let read = |text: &String| {
        text.parse::<PublicKey>().map_err(|error| TrustError::Policy {
            field: field.to_owned(),
            expected: "public keys as `aimass key new` prints them",
            got: error.to_string(),
        })
    };
    keys.iter().map(read).collect()
}

fn read_bounds(
    field: &str,
    capabilities: Option<Vec<String>>,
    limits: LimitsText,
) -> Result<Bounds, TrustError> {
    let read = |text: &String| {
        text.parse::<Capability>().map_err(|error| TrustError::Policy {
            field: format!("{field}: capabilities"),
            expected: error.expected,
            got: error.got,
        })
    };
    let capabilities = match capabilities {
        Some(texts) => texts.iter().map(read).collect::<Result<_, _>>()?,
        None => Capability::ALL.to_vec(),
    };
    Ok(Bounds { capabilities, limits: limits.into() })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyText {
    #[serde(default)]
    publisher: Vec<PublisherText>,
    #[serde(default)]
    operator: OperatorText,
    #[serde(default)]
    review: ReviewText,
    #[serde(default)]
    market: Vec<SubscriptionText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublisherText {
    name: String,
    keys: Vec<String>,
    allow: AllowText,
    expires: Option<String>,
    #[serde(default)]
    loopback_only: bool,
    #[serde(default)]
    tier: Tier,
}

/// What an entry allows, of a publisher and of a marketplace.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AllowText {
    names: Vec<String>,
    #[serde(default)]
    capabilities: Vec<String>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    limits: LimitsText,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OperatorText {
    capabilities: Option<Vec<String>>,
    #[serde(default)]
    limits: LimitsText,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReviewText {
    #[serde(default)]
    required: usize,
    #[serde(default)]
    keys: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsText {
    host_bytes_max: Option<u64>,
    memory_bytes_max: Option<u64>,
    wall_ms_max: Option<u64>,
    output_bytes_max: Option<u64>,
    handles_max: Option<u64>,
    log_bytes_max: Option<u64>,
    host_calls_max: Option<u64>,
}

impl From<LimitsText> for Limits {
    fn from(text: LimitsText) -> Limits {
        Limits {
            host_bytes_max: text.host_bytes_max,
            memory_bytes_max: text.memory_bytes_max,
            wall_ms_max: text.wall_ms_max,
            output_bytes_max: text.output_bytes_max,
            handles_max: text.handles_max,
            log_bytes_max: text.log_bytes_max,
            host_calls_max: text.host_calls_max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    fn key(seed: u8) -> String {
        SigningKey::from_seed(&[seed; 32]).public().to_string()
    }

    fn good() -> String {
        format!(
            "[[publisher]]\nname = \"acme\"\nkeys = [\"{}\"]\nexpires = \"2027-11-20T10:00:00Z\"\n\
             allow = {{ names = [\"acme/*\"], capabilities = [\"tensor\"], limits = {{ wall_ms_max = 5 }} }}\n\
             [review]\nrequired = 1\nkeys = [\"{}\"]\n",
            key(1),
            key(2)
        )
    }

    #[test]
    fn a_policy_is_read_and_grants_nothing_by_default() {
        let policy = TrustPolicy::parse(&good()).expect("good");
        let publisher = &policy.publishers[0];
        assert!(publisher.may_use("acme/x") && !publisher.may_use("acmes/x"));
        assert_eq!(publisher.bounds.capabilities, [Capability::Tensor]);
        assert_eq!(publisher.bounds.limits.wall_ms_max, Some(5));
        assert_eq!(policy.operator.capabilities, Capability::ALL);
        assert_eq!(TrustPolicy::parse("").expect("empty").publishers().count(), 0);
    }

    #[test]
    fn plugins_run_in_the_server_unless_their_publisher_is_put_into_workers() {
        let tier = |text: &str| TrustPolicy::parse(text).map(|policy| policy.publishers[0].tier);
        assert_eq!(tier(&good()).expect("good"), Tier::InProcess);
        let worker = good().replace("name = \"acme\"", "name = \"acme\"\ntier = \"worker\"");
        assert_eq!(tier(&worker).expect("worker"), Tier::Worker);
        let wrong = worker.replace("\"worker\"", "\"moon\"");
        assert!(tier(&wrong).expect_err("no such tier").to_string().contains("in-process"));
    }

    #[test]
    fn keys_for_local_use_leave_with_the_loopback() {
        let local = good().replace("[review]", "[[publisher]]\nname = \"local\"\nloopback_only = true\nallow = { names = [] }\nkeys = [\"KEY\"]\n[review]");
        let policy = TrustPolicy::parse(&local.replace("KEY", &key(3))).expect("good");
        assert_eq!(policy.local_publishers().collect::<Vec<_>>(), ["local"]);
        assert_eq!(policy.clone().for_listener(true).publishers().count(), 2);
        assert_eq!(policy.for_listener(false).publishers().collect::<Vec<_>>(), ["acme"]);
    }

    #[test]
    fn wrong_policies_are_refused_by_the_name_of_the_field() {
        for (from, to, wanted) in [
            ("name = \"acme\"", "name = \"Acme\"", "publisher Acme: name"),
            ("name = \"acme\"", "name = \"acme\"\nrole = \"x\"", "unknown field `role`"),
            ("\"acme/*\"", "\"*\"", "publisher acme: allow.names"),
            ("\"acme/*\"", "\"acme/*x*\"", "publisher acme: allow.names"),
            ("\"acme/*\"", "\"acme/**\"", "publisher acme: allow.names"),
            ("\"tensor\"", "\"sockets\"", "publisher acme: allow: capabilities"),
            ("wall_ms_max", "wallMsMax", "unknown field `wallMsMax`"),
            ("2027-11-20T10:00:00Z", "tomorrow", "2026-11-20T10:00:00Z"),
            ("required = 1", "required = 2", "review: required"),
            ("required = 1", "required = -1", "required"),
            (&key(2), &key(1), "twice"),
            (&key(1), "ed25519:00", "publisher acme: keys"),
            (&key(1), &format!("ed25519:01{}", "00".repeat(31)), "small order"),
            (&format!("\"{}\"", key(1)), "", "at least one key"),
        ] {
            let text = good().replacen(from, to, 1);
            assert_ne!(text, good(), "{from}");
            let error = TrustPolicy::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
        let twice = format!(
            "{}{}",
            good().split("[review]").next().unwrap_or(""),
            good().replace(&key(1), &key(4))
        );
        assert!(TrustPolicy::parse(&twice).expect_err("two").to_string().contains("two for acme"));
    }
}
