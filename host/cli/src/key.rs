//! `aimass key`: signing keys of publishers and API keys of clients.

use crate::api_key;
use crate::home::Home;
use aimass_trust::{Capability, PublicKey, SigningKey};
use anyhow::{Context, bail};
use clap::Subcommand;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

/// Make signing keys and API keys.
#[derive(Subcommand)]
pub(crate) enum Key {
    /// Make a key: `aimass key new publisher acme`, `aimass key new api --tenant shop`
    #[command(subcommand)]
    New(New),
    /// List keys: `aimass key list api`
    #[command(subcommand)]
    List(List),
    /// Replace a key: `aimass key rotate api ID --grace 1h`
    #[command(subcommand)]
    Rotate(Rotate),
    /// End a key: `aimass key revoke api ID`
    #[command(subcommand)]
    Revoke(Revoke),
}

#[derive(Subcommand)]
pub(crate) enum List {
    /// API keys of clients, without the keys themselves
    Api(api_key::ListApi),
}

#[derive(Subcommand)]
pub(crate) enum Rotate {
    /// A new API key in the place of an old one: same tenant, roles, models and lifetime
    Api(api_key::RotateApi),
}

#[derive(Subcommand)]
pub(crate) enum Revoke {
    /// An API key, now
    Api(api_key::RevokeApi),
}

#[derive(Subcommand)]
pub(crate) enum New {
    /// A signing key for a publisher. This host then trusts it for `NAME/*`, while it listens on
    /// loopback only
    Publisher {
        /// Publisher's name: 2 to 40 of a-z, 0-9 and `-`
        name: String,
        /// Where the key goes [default: keys/NAME.key in the data folder]
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Do not add the publisher to this host's trust policy
        #[arg(long)]
        no_trust: bool,
        /// Trust it on every address, not only while the server listens on loopback
        #[arg(long, conflicts_with = "no_trust")]
        anywhere: bool,
    },
    /// An API key for clients; it is shown once and stored hashed
    Api(api_key::NewApi),
}

impl Key {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        match self {
            Key::New(New::Publisher { name, out, no_trust, anywhere }) => {
                let path = out.unwrap_or_else(|| home.signing_key(&name));
                new_publisher(home, &name, &path, (!no_trust).then_some(anywhere))
            }
            Key::New(New::Api(new)) => new.run(home),
            Key::List(List::Api(list)) => list.run(home),
            Key::Rotate(Rotate::Api(rotate)) => rotate.run(home),
            Key::Revoke(Revoke::Api(revoke)) => revoke.run(home),
        }
    }
}

/// Makes a key file and, if `trust` says on which listeners, an entry in the trust policy.
fn new_publisher(
    home: &Home,
    name: &str,
    path: &std::path::Path,
    trust: Option<bool>,
) -> anyhow::Result<()> {
    // The name is checked as the first half of a package name.
    aimass_trust::PackageName::of(name, "any")?;
    if path.exists() {
        bail!("{} exists already; a key is never overwritten", path.display());
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let key = SigningKey::generate()?;
    if let Some(anywhere) = trust {
        add_publisher(home, name, &key.public(), anywhere)?;
    }
    key.create_file(path)?;
    println!("signing key   {}  (keep it secret, keep a copy)", path.display());
    println!("public key    {}", key.public());
    match trust {
        Some(true) => println!("trusted       for {name}/* in {}", home.trust_policy().display()),
        Some(false) => println!(
            "trusted       for {name}/* in {}, while the server listens on loopback",
            home.trust_policy().display()
        ),
        None => println!("not trusted   by this host; add the public key to its trust.toml"),
    }
    println!("next          aimass plugin new {name}/hello");
    Ok(())
}

fn add_publisher(home: &Home, name: &str, key: &PublicKey, anywhere: bool) -> anyhow::Result<()> {
    let path = home.trust_policy();
    let policy = aimass_trust::TrustPolicy::load(&path)?;
    if policy.publishers().any(|publisher| publisher == name) {
        bail!(
            "{} names publisher {name} already; add the key to its `keys` there, or choose another \
             name",
            path.display()
        );
    }
    let capabilities: Vec<String> =
        Capability::ALL.iter().map(|capability| format!("\"{}\"", capability.as_str())).collect();
    let mut entry = String::new();
    write!(
        entry,
        "\n[[publisher]]\nname = \"{name}\"\nkeys = [\"{key}\"]\nloopback_only = {}\n\
         allow = {{ names = [\"{name}/*\"], models = [\"*\"], capabilities = [{}] }}\n",
        !anywhere,
        capabilities.join(", ")
    )?;
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    file.write_all(entry.as_bytes()).with_context(|| path.display().to_string())?;
    aimass_trust::TrustPolicy::load(&path)?;
    Ok(())
}
