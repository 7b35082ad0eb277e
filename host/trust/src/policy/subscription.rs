//! `[[market]]` of `trust.toml`: marketplaces that a host follows, and what each may bring.
//!
//! ```toml
//! [[market]]
//! name = "shop"
//! locations = ["https://market.example.org", "/mnt/mirror"]
//! fingerprint = "<64 hexadecimal digits>"    # of first root and log policy, as the marketplace shows it
//! update = "auto"                            # or "manual", the default
//! hold = ["acme/resize-norm"]                # packages that stay as they are
//! tier = "worker"                            # its plugins run in worker processes; default "in-process"
//! metadata_days_max = 7                      # how long old metadata serves
//!
//! [[market.allow]]                           # the first that names a package holds for it
//! names = ["acme/*"]
//! capabilities = ["tensor", "log"]
//! models = ["minilm"]
//! limits = { wall_ms_max = 2000 }
//! ```

use serde::Deserialize;

use super::{AllowText, Tier, TrustPolicy, read_bounds};
use crate::error::TrustError;
use crate::hex;
use crate::log::policy::LogPolicy;
use crate::market::MarketPolicy;
use crate::names::{PackageName, is_pattern, is_publisher, matches};
use crate::refusal::{Refusal, RefusalCode, excerpt};
use crate::tuf::metadata::MarketBounds;

const MARKETS_MAX: usize = 16;
const LOCATIONS_MAX: usize = 8;
const LOCATION_BYTES_MAX: usize = 1024;
const DAYS_MAX: u64 = 365;

/// A marketplace that the operator follows.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// The operator's name for it: `[a-z0-9-]{2,40}`.
    pub name: String,
    /// Where it is served, tried in this order: `https://…`, `http://…` or a folder. 1 to 8.
    pub locations: Vec<String>,
    /// [`crate::market_fingerprint`] of its first root and its log policy.
    pub fingerprint: [u8; 32],
    /// What packages may ask for, by name; the first entry that matches holds.
    pub allow: Vec<SubscriptionAllow>,
    /// Whether installed packages follow their newest allowed version without being asked.
    pub auto_update: bool,
    /// Packages that are not updated.
    pub hold: Vec<String>,
    /// Days for which expired metadata still serves. 1 to 365.
    pub metadata_days_max: u64,
    /// Where its plugins run.
    pub tier: Tier,
}

/// Packages, and the most that each of them may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionAllow {
    /// Names, exact or with one star at the end.
    pub names: Vec<String>,
    /// The most that they may ask for.
    pub bounds: MarketBounds,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionText {
    name: String,
    locations: Vec<String>,
    fingerprint: String,
    #[serde(default)]
    allow: Vec<AllowText>,
    #[serde(default)]
    update: UpdateText,
    #[serde(default)]
    hold: Vec<PackageName>,
    #[serde(default = "week")]
    metadata_days_max: u64,
    #[serde(default)]
    tier: Tier,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UpdateText {
    Auto,
    #[default]
    Manual,
}

fn week() -> u64 {
    7
}

/// Reads all entries.
pub(super) fn read(texts: Vec<SubscriptionText>) -> Result<Vec<Subscription>, TrustError> {
    let all = texts.into_iter().map(Subscription::read).collect::<Result<Vec<_>, _>>()?;
    let twice = |at: usize| all[..at].iter().any(|earlier| earlier.name == all[at].name);
    if all.len() > MARKETS_MAX || (0..all.len()).any(twice) {
        let field = "market".to_owned();
        let expected = "at most 16 marketplaces, each with a name of its own";
        return Err(TrustError::Policy { field, expected, got: format!("{} entries", all.len()) });
    }
    Ok(all)
}

impl Subscription {
    fn read(text: SubscriptionText) -> Result<Self, TrustError> {
        let field = |field: &str| format!("market {}: {field}", excerpt(&text.name));
        let error = |name: &str, expected, got| {
            Err(TrustError::Policy { field: field(name), expected, got })
        };
        if !is_publisher(&text.name) {
            return error("name", "[a-z0-9-]{2,40}", excerpt(&text.name));
        }
        let sound = |one: &String| !one.is_empty() && one.len() <= LOCATION_BYTES_MAX;
        if !(1..=LOCATIONS_MAX).contains(&text.locations.len()) || !text.locations.iter().all(sound)
        {
            let expected = "1 to 8 locations of at most 1,024 bytes";
            return error("locations", expected, format!("{} of them", text.locations.len()));
        }
        let Some(fingerprint) = hex::decode(&text.fingerprint) else {
            let expected = "64 lower-case hexadecimal digits, as `aimass market show` prints them";
            return error("fingerprint", expected, excerpt(&text.fingerprint));
        };
        if !(1..=DAYS_MAX).contains(&text.metadata_days_max) {
            let got = text.metadata_days_max.to_string();
            return error("metadata_days_max", "1 to 365 days", got);
        }
        let mut allow = Vec::new();
        for entry in text.allow {
            if let Some(wrong) = entry.names.iter().find(|name| !is_pattern(name)) {
                let expected = "names with a star at most at the end";
                return error("allow: names", expected, excerpt(wrong));
            }
            let bounds = read_bounds(&field("allow"), Some(entry.capabilities), entry.limits)?;
            let (capabilities, limits) = (bounds.capabilities, bounds.limits);
            let bounds = MarketBounds { capabilities, limits, models: entry.models };
            allow.push(SubscriptionAllow { names: entry.names, bounds });
        }
        Ok(Subscription {
            allow,
            fingerprint,
            auto_update: matches!(text.update, UpdateText::Auto),
            hold: text.hold.iter().map(PackageName::to_string).collect(),
            locations: text.locations,
            metadata_days_max: text.metadata_days_max,
            name: text.name,
            tier: text.tier,
        })
    }

    /// Whether the operator holds `name` where it is.
    pub fn holds(&self, name: &PackageName) -> bool {
        self.hold.iter().any(|held| held == name.as_str())
    }
}

impl TrustPolicy {
    /// The marketplaces that this host follows.
    pub fn subscriptions(&self) -> &[Subscription] {
        &self.markets
    }

    /// The policy by which releases of `name` from this marketplace are judged: the first entry that
    /// allows the name, within the bounds of `[operator]`.
    ///
    /// # Errors
    /// `AMT-NAME` if no entry allows the name.
    pub fn market_policy(
        &self,
        market: &Subscription,
        name: &PackageName,
        log: LogPolicy,
    ) -> Result<MarketPolicy, Refusal> {
        let allows = |entry: &&SubscriptionAllow| {
            entry.names.iter().any(|pattern| matches(pattern, name.as_str()))
        };
        let Some(entry) = market.allow.iter().find(allows) else {
            let expected = format!("a package that [[market.allow]] of {} names", market.name);
            let remedy = "add the name and what it may ask for to trust.toml if you want it";
            return Err(Refusal::new(RefusalCode::Name, expected, name.as_str(), remedy));
        };
        let operator = &self.operator;
        let capabilities = entry.bounds.capabilities.iter().copied();
        let bounds = MarketBounds {
            capabilities: capabilities.filter(|one| operator.capabilities.contains(one)).collect(),
            limits: entry.bounds.limits.smaller(&operator.limits),
            models: entry.bounds.models.clone(),
        };
        let mut policy = MarketPolicy::new(log, entry.names.clone(), bounds);
        policy.tier = market.tier;
        policy.metadata_age_seconds_max = market.metadata_days_max * 86_400;
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Capability;

    fn good() -> String {
        format!(
            "[operator]\ncapabilities = [\"tensor\"]\nlimits = {{ wall_ms_max = 9 }}\n\
             [[market]]\nname = \"shop\"\nlocations = [\"https://market.example\"]\n\
             fingerprint = \"{}\"\nupdate = \"auto\"\nhold = [\"acme/aa\"]\nmetadata_days_max = 2\n\
             [[market.allow]]\nnames = [\"acme/aa\"]\n\
             [[market.allow]]\nnames = [\"acme/*\"]\ncapabilities = [\"tensor\", \"log\"]\n\
             models = [\"minilm\"]\nlimits = {{ wall_ms_max = 2000, handles_max = 3 }}\n",
            "0a".repeat(32)
        )
    }

    fn log() -> LogPolicy {
        let key = crate::SigningKey::from_seed(&[1; 32]).public();
        let log = crate::NoteKey::new("l", crate::NoteKeyKind::Log, key).expect("a name");
        LogPolicy::parse(&format!("log {log}\nquorum none\n")).expect("a policy")
    }

    #[test]
    fn the_first_entry_that_names_a_package_holds_within_the_operators_bounds() {
        let policy = TrustPolicy::parse(&good()).expect("good");
        let [shop] = policy.subscriptions() else { panic!("one marketplace") };
        assert!(shop.auto_update && shop.fingerprint == [10; 32]);
        let of = |name: &str| policy.market_policy(shop, &name.parse().expect("a name"), log());
        let wide = of("acme/bb").expect("allowed");
        assert_eq!(wide.bounds.capabilities, [Capability::Tensor]);
        assert_eq!(
            (wide.bounds.limits.wall_ms_max, wide.bounds.limits.handles_max),
            (Some(9), Some(3))
        );
        assert_eq!(wide.metadata_age_seconds_max, 2 * 86_400);
        assert!(of("acme/aa").expect("allowed").bounds.capabilities.is_empty());
        assert_eq!(of("evil/bb").expect_err("not allowed").code, RefusalCode::Name);
        assert!(shop.holds(&"acme/aa".parse().expect("a name")));
        assert!(!shop.holds(&"acme/bb".parse().expect("a name")));
    }

    #[test]
    fn wrong_entries_are_refused_by_the_name_of_the_field() {
        for (from, to, wanted) in [
            ("\"shop\"", "\"Shop\"", "market Shop: name"),
            ("[\"https://market.example\"]", "[]", "market shop: locations"),
            ("0a0a", "0A0a", "market shop: fingerprint"),
            ("= \"auto\"", "= \"always\"", "always"),
            ("metadata_days_max = 2", "metadata_days_max = 0", "1 to 365"),
            ("metadata_days_max = 2", "metadata_days_max = 366", "1 to 365"),
            ("[\"acme/*\"]", "[\"a*e/*\"]", "market shop: allow: names"),
            ("[\"acme/*\"]", "[\"acme/**\"]", "market shop: allow: names"),
            ("\"log\"", "\"sockets\"", "market shop: allow: capabilities"),
            ("hold = [\"acme/aa\"]", "hold = [\"acme\"]", "package name"),
            ("update =", "updates =", "unknown field"),
        ] {
            let text = good().replacen(from, to, 1);
            assert_ne!(text, good(), "{from}");
            let error = TrustPolicy::parse(&text).expect_err(&text).to_string();
            assert!(error.contains(wanted), "{wanted}: {error}");
        }
        let market = good().split_once("[[market]]").expect("two parts").1.to_owned();
        let more = |count: usize| {
            let one =
                |at: usize| format!("[[market]]{}", market.replace("shop", &format!("s{at:02}")));
            TrustPolicy::parse(&(0..count).map(one).collect::<String>())
        };
        assert_eq!(more(16).expect("sixteen").subscriptions().len(), 16);
        assert!(more(17).is_err());
        assert!(TrustPolicy::parse(&format!("{}[[market]]{market}", good())).is_err());
    }
}
