//! `aimass trust audit`: what this host decided, and whether anybody changed the record.

use crate::home::Home;
use crate::report::Report;
use clap::Args;

/// Check the audit log from its first line, and show its end.
///
/// Each line is chained to the one before it by hash, and the end is signed by this host.
///
/// Example: `aimass trust audit --last 50`
///
/// Next: `aimass trust show` has what holds now.
#[derive(Args)]
pub(crate) struct AuditLog {
    /// Lines to show
    #[arg(long, default_value_t = 20, value_name = "N")]
    last: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl AuditLog {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let markets = home.markets();
        let lines = markets.audit().verify()?;
        let mut report = Report::new(self.json);
        let shown = &lines[lines.len().saturating_sub(self.last)..];
        for line in shown {
            let event = serde_json::to_value(line.event)?;
            let event = event.as_str().unwrap_or_default().to_owned();
            let text = format!("{}  {} {} {}", line.at, line.market, line.subject, line.detail);
            report.line(&format!("{} {event}", line.seq), text);
        }
        report.line("checked", format!("{} lines, none changed", lines.len()));
        report.line("signed by", markets.audit().verifier_key()?);
        report.field("lines", serde_json::to_value(shown)?);
        report.field("count", lines.len());
        report.field("verifier_key", markets.audit().verifier_key()?);
        report.print();
        Ok(())
    }
}
