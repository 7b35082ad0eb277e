//! `aimass usage`: what tenants used, from the journal of this data folder.

use crate::home::Home;
use aimass_telemetry::usage::{UsageQuery, UsageRow, day_of_date, read_usage};
use anyhow::Context;
use clap::Args;
use std::path::PathBuf;

/// Show what tenants used, by day and model.
///
/// Reads the usage journal of the data folder, also while a server writes it. Days are UTC.
///
/// Examples: `aimass usage`, `aimass usage --tenant acme --since 2026-01-31 --json`
#[derive(Args)]
pub(crate) struct Usage {
    /// Only of this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only of this model
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// From this day on, as 2026-01-31
    #[arg(long, value_name = "DATE", value_parser = date)]
    since: Option<u64>,
    /// One JSON object a row instead of a table
    #[arg(long)]
    json: bool,
    /// Folder of the journal, if the server's configuration puts it elsewhere [default: usage in the
    /// data folder]
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
}

fn date(text: &str) -> Result<u64, String> {
    day_of_date(text).ok_or_else(|| format!("expected a date as 2026-01-31, got {text:?}"))
}

impl Usage {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let dir = self.journal.unwrap_or_else(|| home.usage());
        let query = UsageQuery {
            tenant: self.tenant,
            model: self.model,
            since_day: self.since.unwrap_or(0),
        };
        let rows = read_usage(&dir, &query).with_context(|| dir.display().to_string())?;
        if self.json {
            for row in &rows {
                println!("{}", serde_json::to_string(row)?);
            }
            return Ok(());
        }
        print!("{}", table(&rows));
        Ok(())
    }
}

/// Columns for people; times in seconds.
fn table(rows: &[UsageRow]) -> String {
    let seconds = |ns: u64| format!("{:.3}", ns as f64 / 1e9);
    let head =
        ["day", "tenant", "model", "kind", "answered", "failed", "tokens", "plugin s", "kernel s"];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let sums = &row.totals;
        [
            row.day.clone(),
            row.tenant.to_string(),
            row.model.to_string(),
            row.kind.clone(),
            sums.answered.to_string(),
            sums.failed.to_string(),
            sums.tokens.to_string(),
            seconds(sums.plugin_cpu_ns),
            seconds(sums.kernel_ns),
        ]
    }));
    let mut widths = [0; 9];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for line in &lines {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let cell =
                if column < 4 { format!("{cell:<width$}") } else { format!("{cell:>width$}") };
            text.push_str(&cell);
            text.push_str("  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_telemetry::usage::UsageTotals;

    #[test]
    fn a_table_lines_up_and_dates_are_checked() {
        let totals = UsageTotals { answered: 12, kernel_ns: 1_500_000_000, ..Default::default() };
        let row = UsageRow {
            day: "2026-01-31".to_owned(),
            tenant: "acme".into(),
            model: "minilm".into(),
            kind: "infer".to_owned(),
            totals,
        };
        let text = table(&[row]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].len(), lines[1].len(), "{text}");
        assert!(lines[1].starts_with("2026-01-31  acme    minilm  infer        12"), "{text}");
        assert!(lines[1].ends_with("1.500"), "{text}");
        assert_eq!(date("1970-01-02"), Ok(1));
        assert!(date("02.01.1970").unwrap_err().contains("2026-01-31"));
    }
}
