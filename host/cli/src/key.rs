//! `aimass key`: signing keys of publishers and ceremonies, and API keys of clients.

mod export;
mod rotate;

use crate::api_key;
use crate::home::Home;
use crate::report::Report;
use aimass_trust::{Capability, PublicKey, SigningKey};
use anyhow::{Context, bail, ensure};
use clap::Subcommand;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Make, rotate and export signing keys; make, list, rotate and revoke API keys.
#[derive(Subcommand)]
pub(crate) enum Key {
    /// Make a key: `aimass key new publisher acme`, `aimass key new signing root-1.key`
    #[command(subcommand)]
    New(New),
    /// List keys: `aimass key list api`
    #[command(subcommand)]
    List(List),
    /// Replace a key: `aimass key rotate api ID --grace 1h`, `aimass key rotate publisher acme`
    #[command(subcommand)]
    Rotate(Rotate),
    /// End a key: `aimass key revoke api ID`
    #[command(subcommand)]
    Revoke(Revoke),
    Export(export::Export),
}

#[derive(Subcommand)]
pub(crate) enum List {
    Api(api_key::ListApi),
}

#[derive(Subcommand)]
pub(crate) enum Rotate {
    Api(api_key::RotateApi),
    Publisher(rotate::Rotate),
}

#[derive(Subcommand)]
pub(crate) enum Revoke {
    Api(api_key::RevokeApi),
}

#[derive(Subcommand)]
pub(crate) enum New {
    /// A signing key for a publisher
    ///
    /// This host then trusts it for `NAME/*`, while it listens on loopback only.
    ///
    /// Example: `aimass key new publisher acme`
    ///
    /// Next: `aimass plugin new acme/hello`
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
        /// Do not seal the file with a passphrase
        #[arg(long)]
        plain: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// A signing key for a ceremony: of a root, of targets, of a reviewer. Nothing trusts it yet
    ///
    /// Each key holder makes one on a machine of its own, keeps the file, and gives away what
    /// `aimass key export FILE` prints.
    ///
    /// Example: `aimass key new signing root-1.key`
    ///
    /// Next: `aimass key export root-1.key`, and `aimass market init` with every holder's public key.
    Signing {
        /// Where the key goes
        file: PathBuf,
        /// Do not seal the file with a passphrase
        #[arg(long)]
        plain: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    Api(api_key::NewApi),
}

impl Key {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        match self {
            Key::New(New::Publisher { name, out, no_trust, anywhere, plain, json }) => {
                let path = out.unwrap_or_else(|| home.signing_key(&name));
                let trust = (!no_trust).then_some(anywhere);
                new_publisher(home, &name, (&path, plain), trust, Report::new(json))
            }
            Key::New(New::Signing { file, plain, json }) => {
                let mut report = Report::new(json);
                new_key(home, &file, plain, &mut report)?;
                report.next(format!("aimass key export {}", file.display()));
                report.print();
                Ok(())
            }
            Key::New(New::Api(new)) => new.run(home),
            Key::List(List::Api(list)) => list.run(home),
            Key::Rotate(Rotate::Api(rotate)) => rotate.run(home),
            Key::Rotate(Rotate::Publisher(rotate)) => rotate.run(home),
            Key::Revoke(Revoke::Api(revoke)) => revoke.run(home),
            Key::Export(export) => export.run(home),
        }
    }
}

/// Makes a key file and says so.
pub(crate) fn new_key(
    home: &Home,
    path: &Path,
    plain: bool,
    report: &mut Report,
) -> anyhow::Result<SigningKey> {
    let key = SigningKey::generate()?;
    let sealed = home.create_key(&key, path, plain)?;
    let how =
        if sealed { "sealed with its passphrase" } else { "NOT sealed: only its mode protects it" };
    report.line("signing key", format!("{}  ({how}; keep a copy)", path.display()));
    report.line("public key", key.public().to_string());
    report.field("file", path.display().to_string());
    report.field("sealed", sealed);
    report.field("public_key", key.public().to_string());
    Ok(key)
}

/// Refuses what cannot be the first half of a package name.
pub(crate) fn publisher_name(name: &str) -> anyhow::Result<()> {
    ensure!(
        aimass_trust::PackageName::of(name, "any").is_ok(),
        "publisher name: expected 2 to 40 of a-z, 0-9 and `-`, got `{}`. Remedy: choose another, such as `acme`",
        name.escape_debug()
    );
    Ok(())
}

/// Makes a key file and, if `trust` says on which listeners, an entry in the trust policy.
fn new_publisher(
    home: &Home,
    name: &str,
    (path, plain): (&Path, bool),
    trust: Option<bool>,
    mut report: Report,
) -> anyhow::Result<()> {
    publisher_name(name)?;
    if trust.is_some() {
        refuse_known(home, name)?;
    }
    let key = new_key(home, path, plain, &mut report)?;
    if let Some(anywhere) = trust {
        add_publisher(home, name, &key.public(), anywhere)?;
    }
    let policy = home.trust_policy();
    let policy = policy.display();
    match trust {
        Some(true) => report.line("trusted", format!("for {name}/* in {policy}")),
        Some(false) => report.line(
            "trusted",
            format!("for {name}/* in {policy}, while the server listens on loopback"),
        ),
        None => report.line("not trusted", "by this host; add the public key to its trust.toml"),
    }
    report.field("trusted", trust.is_some());
    report.next(format!("aimass plugin new {name}/hello"));
    report.print();
    Ok(())
}

fn refuse_known(home: &Home, name: &str) -> anyhow::Result<()> {
    if home.read_trust()?.publishers().any(|publisher| publisher == name) {
        bail!(
            "{} names publisher {name} already; `aimass key rotate publisher {name}` takes a new key, or choose \
             another name",
            home.trust_policy().display()
        );
    }
    Ok(())
}

fn add_publisher(home: &Home, name: &str, key: &PublicKey, anywhere: bool) -> anyhow::Result<()> {
    let path = home.trust_policy();
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
