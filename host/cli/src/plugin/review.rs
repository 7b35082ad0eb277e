//! `aimass plugin review`: a reviewer's look at a signed plugin, and signature on its statement.

use super::publish::read;
use super::sign::{statement_path, write_whole};
use crate::home::Home;
use crate::report::Report;
use aimass_trust::{Refusal, Stated, add_signature, read_manifest, read_plugin};
use anyhow::bail;
use clap::Args;
use std::path::{Path, PathBuf};

/// Look at a signed plugin as a reviewer, and sign it.
///
/// For plugins that are published without a marketplace: in one, `aimass market review` does this.
/// Checks that statement, component and every signature belong together; --accept adds a signature to the
/// same statement. `required` under `[review]` in trust.toml says how many a host wants.
///
/// Examples: `aimass plugin review hello.wasm`, `aimass plugin review hello.wasm --accept --key r.key`
///
/// Next: `aimass plugin publish hello.wasm`
#[derive(Args)]
pub(crate) struct Review {
    /// Signed component, with its statement beside it
    file: PathBuf,
    #[command(flatten)]
    reviewing: Reviewing,
}

/// What a reviewer says.
#[derive(Args)]
pub(crate) struct Reviewing {
    /// Accept it: sign its statement as a reviewer
    #[arg(long, requires = "key")]
    accept: bool,
    /// Key file of the reviewer
    #[arg(long, value_name = "FILE", requires = "accept")]
    key: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Review {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let (wasm, statement) = read(&self.file)?;
        let manifest = read_manifest(&wasm)?;
        let mut report = Report::new(self.reviewing.json);
        report.line("world", manifest.world.to_string());
        report.line("capabilities", manifest.capabilities.to_string());
        report.field("manifest", serde_json::to_value(&manifest)?);
        let path = statement_path(&self.file);
        let read = |statement: &[u8]| read_plugin(&wasm, statement);
        review_statement(home, (&path, &statement), &read, &self.reviewing, &mut report)?;
        report.next(format!("aimass plugin publish {}", self.file.display()));
        report.print();
        Ok(())
    }
}

/// Shows what a statement says and who signed it; signs it too if the reviewer accepts it.
///
/// # Errors
/// What `read` refuses; a key that signed it already, since that would be no second pair of eyes.
pub(crate) fn review_statement(
    home: &Home,
    (path, statement): (&Path, &[u8]),
    read: &dyn Fn(&[u8]) -> Result<Stated, Refusal>,
    reviewing: &Reviewing,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut stated = read(statement)?;
    if let Some(key) = reviewing.key.as_deref().filter(|_| reviewing.accept) {
        let key = home.load_key(key)?;
        if stated.signers.contains(&key.public()) {
            bail!("{} signed it already: a reviewer is somebody else", key.public());
        }
        let signed = add_signature(statement, &key)?;
        stated = read(&signed)?;
        write_whole(path, &signed)?;
        report.line("accepted", format!("with {}", key.public()));
        report.field("accepted", key.public().to_string());
    }
    let policy = home.read_trust()?;
    let release = format!("{}@{}", stated.name, stated.version);
    report.line("release", format!("{release}  {} to {}", stated.not_before, stated.expires));
    for key in &stated.signers {
        let whose = policy.publisher_of(*key).map_or("", |_| "  a publisher of this host");
        report.line("signed by", format!("{key}{whose}"));
    }
    report.field("release", release);
    report.field("signed_by", stated.signers.iter().map(ToString::to_string).collect::<Vec<_>>());
    Ok(())
}
