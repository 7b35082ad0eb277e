//! `aimass market`: a marketplace from its ceremony to its revocations.

mod ceremony;
mod delegate;
mod page;
mod publish;
mod push;
mod review;
mod revoke;
mod rotate;
mod serve;
mod show;

use crate::home::Home;
use aimass_market::desk::{Desk, DeskKeys, sign_draft};
use aimass_trust::{PublicKey, SigningKey};
use anyhow::Context;
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Run a marketplace.
///
/// The usual way: `init`, every key holder `sign`s, `publish`; `delegate` to publishers; then again and
/// again `review`, `publish`, and `revoke` where it must be. `serve` shows it on this machine, any server
/// of static files can serve its folder `public`, and `push` brings it to an OCI registry. `docs/recipes/marketplace.md` walks through it.
#[derive(Subcommand)]
pub(crate) enum Market {
    /// Begin a marketplace: its folder, online keys, and drafts for the root ceremony
    Init(ceremony::Init),
    /// Sign a draft with one key, wherever that key is
    Sign(ceremony::Sign),
    /// Show what waits: drafts, submissions, and when metadata ends
    Status(show::Status),
    /// Let a publisher publish, change its keys and bounds, or let it go
    Delegate(delegate::Delegate),
    /// Draft a root with other keys, thresholds or protected names
    Rotate(rotate::Rotate),
    /// List submissions, look at one, accept or reject it
    Review(review::Review),
    /// Publish what is signed and reviewed
    Publish(publish::Publish),
    /// Push what the marketplace shows to OCI registries
    Push(push::Push),
    /// Revoke a file, a key, a publisher or versions
    Revoke(revoke::Revoke),
    /// Sign a new timestamp, so that clients keep believing what they see
    Refresh(publish::Refresh),
    /// Check the log from its first entry, and show it
    Log(show::Log),
    /// Show publishers, reviewers, releases and the fingerprint
    Show(show::Show),
    /// Write a release with its whole chain to one file, for hosts without a network
    Bundle(publish::BundleFile),
    /// Serve the marketplace with a page for people
    Serve(serve::Serve),
}

/// Flags of every verb.
#[derive(Args)]
pub(crate) struct At {
    /// Folder of the marketplace
    #[arg(long, default_value = "market", value_name = "DIR")]
    dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Key files that sign a draft at once.
#[derive(Args)]
pub(crate) struct SignWith {
    /// Key file that signs the draft at once; repeat for more
    #[arg(long, value_name = "FILE")]
    sign_with: Vec<PathBuf>,
    /// Publish at once, too, and push to the registries of market.toml
    #[arg(long, requires = "sign_with")]
    publish: bool,
}

impl Market {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        match self {
            Market::Init(init) => init.run(home),
            Market::Sign(sign) => sign.run(home),
            Market::Status(status) => status.run(),
            Market::Delegate(delegate) => delegate.run(home),
            Market::Rotate(rotate) => rotate.run(home),
            Market::Review(review) => review.run(home),
            Market::Publish(publish) => publish.run(home),
            Market::Push(push) => push.run(),
            Market::Revoke(revoke) => revoke.run(home),
            Market::Refresh(refresh) => refresh.run(home),
            Market::Log(log) => log.run(),
            Market::Show(show) => show.run(),
            Market::Bundle(bundle) => bundle.run(),
            Market::Serve(serve) => serve.run(home),
        }
    }
}

impl At {
    fn open(&self) -> anyhow::Result<Desk> {
        Ok(Desk::open(&self.dir)?)
    }
}

pub(crate) use delegate::limits;
pub(crate) use publish::release;

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A public key: its text, or a key file, of which the public half is read.
pub(crate) fn public_key(text: &str) -> anyhow::Result<PublicKey> {
    if text.starts_with("ed25519:") {
        return Ok(text.parse()?);
    }
    Ok(PublicKey::of_key_file(Path::new(text))?)
}

fn public_keys(texts: &[String]) -> anyhow::Result<Vec<PublicKey>> {
    texts.iter().map(|text| public_key(text)).collect()
}

/// The online keys of a marketplace.
fn online_keys(home: &Home, desk: &Desk) -> anyhow::Result<DeskKeys> {
    let load = |role: &str| home.load_key(&desk.key_file(role));
    Ok(DeskKeys {
        snapshot: load("snapshot")?,
        timestamp: load("timestamp")?,
        log: load("log")?,
        witness: load("witness")?,
    })
}

/// Signs every draft that lists one of the keys, and says what is missing.
fn finish(
    home: &Home,
    desk: &Desk,
    with: &SignWith,
    report: &mut crate::report::Report,
) -> anyhow::Result<()> {
    let keys: Vec<SigningKey> =
        with.sign_with.iter().map(|path| home.load_key(path)).collect::<Result<_, _>>()?;
    for draft in desk.drafts()? {
        for key in keys.iter().filter(|key| draft.keys.contains(&key.public())) {
            sign_draft(&draft.file, key)?;
        }
    }
    if with.publish {
        let keys = online_keys(home, desk)?;
        let published = desk.publish(&keys, std::time::SystemTime::now())?;
        publish::report(&published, report)?;
        return push::push_all(desk, &[], report);
    }
    let dir = desk.dir().display();
    let mut complete = true;
    for draft in desk.drafts()? {
        show::draft(&draft, report);
        if !draft.complete() {
            complete = false;
            report.next(format!("aimass market sign {} --key KEYFILE", draft.file.display()));
        }
    }
    if complete {
        report.next(format!("aimass market publish --dir {dir}"));
    }
    Ok(())
}

/// The time that a verb works by.
fn now() -> anyhow::Result<aimass_trust::Timestamp> {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .context("the clock of this machine is before 1970")?;
    Ok(aimass_trust::Timestamp::from_system(now))
}
