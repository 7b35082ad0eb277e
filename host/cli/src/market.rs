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
mod signers;

use crate::home::Home;
use aimass_market::desk::{Desk, DeskKeys, DraftStatus, sign_draft};
use aimass_trust::{PublicKey, SigningKey};
use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Run a marketplace: ceremony, delegations, reviews, releases, revocations.
///
/// The usual way: `init`, every key holder `sign`s, `publish`; `delegate` to publishers; then again and
/// again `review`, `publish`, and `revoke` where it must be. `serve` shows it on this machine, any server
/// of static files can serve its folder `public`, and `push` brings it to an OCI registry. `docs/recipes/marketplace.md` walks through it.
#[derive(Subcommand)]
pub(crate) enum Market {
    Init(ceremony::Init),
    Sign(ceremony::Sign),
    Status(show::Status),
    Delegate(delegate::Delegate),
    Rotate(rotate::Rotate),
    Review(review::Review),
    Publish(publish::Publish),
    Push(push::Push),
    Revoke(revoke::Revoke),
    Refresh(publish::Refresh),
    Log(show::Log),
    Show(show::Show),
    Bundle(publish::BundleFile),
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
    let path = Path::new(text);
    ensure!(
        path.exists(),
        "expected `ed25519:…` or a key file, got `{text}`, and there is no such file. Remedy: `aimass key new \
         signing FILE` makes a key, `aimass key export FILE` prints its public half"
    );
    Ok(PublicKey::of_key_file(path)?)
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
    let mut unused: Vec<PublicKey> = keys.iter().map(SigningKey::public).collect();
    for draft in desk.drafts()? {
        let wanted = signers::wanted(desk, &draft)?;
        for key in keys.iter().filter(|key| wanted.contains(&key.public())) {
            sign_draft(&draft.file, key)?;
            unused.retain(|one| *one != key.public());
        }
    }
    for key in unused {
        report.line("not used", format!("{key}: no draft's role lists it"));
    }
    if with.publish {
        let keys = online_keys(home, desk)?;
        let published = desk.publish(&keys, std::time::SystemTime::now())?;
        publish::report(&published, report)?;
        push::push_all(desk, &[], report)?;
    }
    let drafts = desk.drafts()?;
    if !with.publish {
        drafts.iter().for_each(|draft| show::draft(draft, report));
    }
    next_of_drafts(desk, &drafts, report);
    if drafts.is_empty() {
        report.next(format!("aimass market show --dir {}", desk.dir().display()));
    }
    Ok(())
}

/// What comes next for drafts that wait: signatures, or being published when all have them.
fn next_of_drafts(desk: &Desk, drafts: &[DraftStatus], report: &mut crate::report::Report) {
    for draft in drafts.iter().filter(|draft| !draft.complete()) {
        report.next(format!("aimass market sign {} --key KEYFILE", draft.file.display()));
    }
    if !drafts.is_empty() && drafts.iter().all(DraftStatus::complete) {
        report.next(format!("aimass market publish --dir {}", desk.dir().display()));
    }
}

/// The time that a verb works by.
fn now() -> anyhow::Result<aimass_trust::Timestamp> {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH)
        .context("the clock of this machine is before 1970")?;
    Ok(aimass_trust::Timestamp::from_system(now))
}
