//! API keys: `aimass key new api`, `key list api`, `key rotate api`, `key revoke api`.

use crate::home::Home;
use aimass_gateway::{ApiKeyFile, ApiKeyRecord, NewApiKey, Role, parse_lifetime};
use anyhow::Context;
use clap::Args;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};

/// An API key for clients; it is shown once and stored hashed.
///
/// Example: `aimass key new api --tenant acme --role invoker --expires 90d`
///
/// Next: clients send `Authorization: Bearer am_…`; `aimass key list api` lists it.
#[derive(Args)]
pub(crate) struct NewApi {
    /// Who is charged
    #[arg(long, default_value = "default")]
    tenant: String,
    /// What the key is for, as you will read it in `api_keys.toml`
    #[arg(long, default_value = "made by aimass key new api")]
    name: String,
    /// What it may do: viewer, invoker, publisher, operator or super-user; several with commas
    #[arg(long = "role", value_delimiter = ',', default_value = "invoker", value_name = "ROLE")]
    roles: Vec<Role>,
    /// Models that it may use, with commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "MODEL")]
    models: Option<Vec<String>>,
    /// When it ends: after a duration (`12h`, `90d`), at a time (`2027-01-31T12:00:00Z`), or `never`
    #[arg(long, default_value = "never", value_name = "WHEN")]
    expires: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// API keys of clients, without the keys themselves.
///
/// Example: `aimass key list api`
///
/// Next: `aimass key rotate api ID`, or `aimass key revoke api ID`.
#[derive(Args)]
pub(crate) struct ListApi {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A new API key in the place of an old one: same tenant, roles, models and lifetime.
///
/// Example: `aimass key rotate api ID --grace 1h`
///
/// Next: give the new key to the client before the old one ends.
#[derive(Args)]
pub(crate) struct RotateApi {
    /// The 8 characters after `am_` of the old key
    id: String,
    /// How long the old key still works: `0s`, `30m`, `1h`, `7d`, or until a time
    #[arg(long, default_value = "1h", value_name = "WHEN")]
    grace: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// An API key, now.
///
/// A running server refuses it from then on.
///
/// Example: `aimass key revoke api ID`
///
/// Next: `aimass key list api`
#[derive(Args)]
pub(crate) struct RevokeApi {
    /// The 8 characters after `am_`
    id: String,
    /// Take the record out of the file, too
    #[arg(long)]
    forget: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Makes a key that may infer, stores its hash and returns its text.
pub(crate) fn create(home: &Home, tenant: &str, name: &str) -> anyhow::Result<String> {
    let new =
        NewApiKey { tenant: tenant.to_owned(), name: name.to_owned(), ..NewApiKey::default() };
    Ok(file(home).create(&new, now()?)?.0)
}

impl NewApi {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let now = now()?;
        let new = NewApiKey {
            tenant: self.tenant,
            name: self.name,
            roles: self.roles,
            models: self.models,
            expires: parse_lifetime(&self.expires, now).context("--expires")?,
        };
        let (key, record) = file(home).create(&new, now)?;
        show_new(&key, &record, self.json, now)
    }
}

impl ListApi {
    pub(crate) fn run(&self, home: &Home) -> anyhow::Result<()> {
        let (records, now) = (file(home).list()?, now()?);
        if self.json {
            let rows: Vec<_> = records.iter().map(|record| wire(record, now)).collect();
            println!("{}", json!({ "keys": rows }));
            return Ok(());
        }
        println!("{:<10}{:<9}{:<16}{:<22}{:<22}NAME", "ID", "STATE", "TENANT", "ROLES", "EXPIRES");
        for record in &records {
            let state = format!("{:?}", record.state(now)).to_lowercase();
            let roles: Vec<_> = record.roles().iter().map(|role| role.as_str()).collect();
            let end = record.expires.as_ref().map_or("never".to_owned(), ToString::to_string);
            let models = record.models.as_ref().map(|models| format!(" ({})", models.join(", ")));
            println!(
                "{:<10}{state:<9}{:<16}{:<22}{end:<22}{}{}",
                record.id,
                record.tenant,
                roles.join(","),
                record.name,
                models.unwrap_or_default()
            );
        }
        Ok(())
    }
}

impl RotateApi {
    pub(crate) fn run(&self, home: &Home) -> anyhow::Result<()> {
        let now = now()?;
        let end = parse_lifetime(&self.grace, now).context("--grace")?;
        let end = end.context("--grace: an old key that never ends is not rotated")?;
        let (key, record) = file(home).rotate(&self.id, end.saturating_sub(now), now)?;
        show_new(&key, &record, self.json, now)
    }
}

impl RevokeApi {
    pub(crate) fn run(&self, home: &Home) -> anyhow::Result<()> {
        let now = now()?;
        let record = file(home).revoke(&self.id, self.forget, now)?;
        if self.json {
            println!("{}", wire(&record, now));
        } else {
            println!("revoked   {} of {} ({})", record.id, record.tenant, record.name);
        }
        Ok(())
    }
}

fn show_new(key: &str, record: &ApiKeyRecord, json: bool, now: u64) -> anyhow::Result<()> {
    if json {
        let mut object = wire(record, now);
        object["key"] = key.into();
        println!("{object}");
        return Ok(());
    }
    println!("{key}");
    eprintln!(
        "This key is shown once. Clients send `Authorization: Bearer {key}`; a running server \
         accepts it within a second."
    );
    Ok(())
}

/// A record without its hash.
fn wire(record: &ApiKeyRecord, now: u64) -> serde_json::Value {
    let time = |time: &Option<_>| time.as_ref().map(ToString::to_string);
    json!({
        "id": record.id,
        "tenant": record.tenant,
        "name": record.name,
        "roles": record.roles(),
        "models": record.models,
        "state": record.state(now),
        "created": time(&record.created),
        "expires": time(&record.expires),
        "revoked": time(&record.revoked),
    })
}

fn file(home: &Home) -> ApiKeyFile {
    ApiKeyFile::new(home.api_keys())
}

/// Seconds since 1970.
fn now() -> anyhow::Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(since.context("the clock of this machine is before 1970")?.as_secs())
}
