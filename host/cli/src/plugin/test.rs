//! `aimass plugin test`: fixtures in the real sandbox, under the real limits.

mod bless;
mod report;
mod run;

use super::workbench::{Case, Source, Workbench};
use anyhow::bail;
use clap::Args;
use report::Report;

/// Run a plugin's fixtures in the real sandbox.
///
/// Builds the project, signs it with a key that lives only for this run, and calls it as the server
/// would: same limits, same traps. Fixtures are `fixtures/*.json`; files of a model that the plugin
/// reads lie in `fixtures/files/`. Each case is told with its time, memory, host memory, host calls and
/// output bytes, the limits above them.
///
/// Examples: `aimass plugin test`, `aimass plugin test --bless`, `aimass plugin test --json`
///
/// Next: `aimass plugin bench`, or `aimass plugin build` and `sign`.
#[derive(Args)]
pub(crate) struct Test {
    #[command(flatten)]
    source: Source,
    /// Write what the plugin answers into the fixtures as what is expected; look at the difference
    /// before you commit it
    #[arg(long)]
    bless: bool,
    /// Count WebAssembly instructions, too, in a second run
    #[arg(long)]
    instructions: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs cases without a table.
///
/// # Errors
/// The cases that fail, each with its reason.
pub(super) async fn run_cases(bench: &Workbench, cases: &[Case]) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for case in cases {
        let seen = run::run_case(bench, case).await?;
        if let run::Verdict::Failed(reason) = seen.verdict {
            failed.push(format!("{}, {:?}: {reason}", seen.file, seen.name));
        }
    }
    match failed.is_empty() {
        true if cases.is_empty() => bench.load(None).await.map(drop).map_err(Into::into),
        true => Ok(()),
        false => bail!("fixtures failed:\n          {}", failed.join("\n          ")),
    }
}

impl Test {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let package = self.source.package()?;
        let files = self.source.files()?;
        let cases = self.source.cases()?;
        let bench = Workbench::new(package.clone(), files.clone(), false)?;
        let metered = match self.instructions {
            true => Some(Workbench::new(package, files, true)?),
            false => None,
        };
        crate::home::runtime()?.block_on(async {
            let mut report = Report::new(&bench.package, self.json);
            if cases.is_empty() {
                report.describe(&bench).await?;
            }
            for case in &cases {
                let mut seen = run::run_case(&bench, case).await?;
                if let Some(metered) = &metered {
                    seen.count_instructions(run::run_case(metered, case).await?);
                }
                if self.bless {
                    bless::bless(case, &mut seen)?;
                }
                report.case(seen);
            }
            let failed = report.finish();
            match failed {
                0 => Ok(()),
                1 => bail!("1 fixture failed"),
                failed => bail!("{failed} fixtures failed"),
            }
        })
    }
}
