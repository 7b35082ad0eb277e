//! `aimass plugin fmt`: `plugin.toml` in its one order, sources through rustfmt.

use anyhow::{Context, bail};
use clap::Args;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Keys of `plugin.toml` in the order in which a reader asks.
const KEYS: [&str; 8] = [
    "name",
    "version",
    "world",
    "description",
    "license",
    "capabilities",
    "models",
    "config_schema",
];
/// Keys of its table `limits`.
const LIMITS: [&str; 7] = [
    "memory_bytes_max",
    "host_bytes_max",
    "wall_ms_max",
    "host_calls_max",
    "handles_max",
    "output_bytes_max",
    "log_bytes_max",
];
/// Bytes that a `plugin.toml` may have to be formatted.
const TOML_BYTES_MAX: usize = 1 << 20;

/// Put plugin.toml and the sources in their usual form.
///
/// Keys of plugin.toml come in their one order, Rust sources go through `cargo fmt` if it is there. Comments stay with the key below them. Nothing is written that would mean something else.
///
/// Examples: `aimass plugin fmt`, `aimass plugin fmt --check`
///
/// Next: `aimass plugin test`
#[derive(Args)]
pub(crate) struct Fmt {
    /// Project folder
    #[arg(default_value = ".")]
    project: PathBuf,
    /// Write nothing; fail if something would change
    #[arg(long)]
    check: bool,
}

impl Fmt {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let path = self.project.join("plugin.toml");
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(&path).with_context(|| shown.clone())?;
        let formatted = formatted(&text).with_context(|| shown.clone())?;
        let changes = formatted != text;
        if changes && self.check {
            bail!("{shown} is not formatted; run `aimass plugin fmt {}`", self.project.display());
        }
        if changes {
            let new = path.with_extension("toml.new");
            std::fs::write(&new, formatted).with_context(|| new.display().to_string())?;
            std::fs::rename(&new, &path).with_context(|| shown.clone())?;
        }
        println!("{} {shown}", if changes { "formatted" } else { "unchanged" });
        rustfmt(&self.project, self.check)
    }
}

/// Runs `cargo fmt` on a Rust project; a machine without it is told so and is no failure.
fn rustfmt(project: &Path, check: bool) -> anyhow::Result<()> {
    let manifest = project.join("Cargo.toml");
    if !manifest.exists() {
        return Ok(());
    }
    let mut version = Command::new("cargo");
    version.args(["fmt", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        println!(
            "skipped   sources: there is no `cargo fmt`; `rustup component add rustfmt` installs it"
        );
        return Ok(());
    }
    let mut cargo = Command::new("cargo");
    cargo.arg("fmt").arg("--manifest-path").arg(&manifest);
    if check {
        cargo.arg("--check");
    }
    let status = cargo.status().context("cargo fmt did not start")?;
    match (status.success(), check) {
        (true, _) => println!("{} sources", if check { "unchanged" } else { "formatted" }),
        (false, true) => bail!("sources are not formatted; run `aimass plugin fmt`"),
        (false, false) => bail!("cargo fmt ended with {status}; its messages are above"),
    }
    Ok(())
}

/// A key with its value, and the comments above it.
struct Entry {
    key: String,
    text: String,
}

/// The text with its keys in their usual order.
///
/// # Errors
/// The text is no TOML, or too large.
fn formatted(text: &str) -> anyhow::Result<String> {
    if text.len() > TOML_BYTES_MAX {
        bail!("expected at most {TOML_BYTES_MAX} bytes, got {}", text.len());
    }
    let before: toml::Table = text.parse()?;
    let mut tables: Vec<(String, Vec<Entry>, String)> = Vec::new();
    let (mut head, mut entries, mut open) = (String::new(), Vec::new(), String::new());
    for line in text.lines() {
        open.push_str(line.trim_end());
        open.push('\n');
        let starts_table = line.trim_start().starts_with('[') && only_comments(&open, 1);
        if starts_table {
            tables.push((std::mem::take(&mut head), std::mem::take(&mut entries), String::new()));
            head = std::mem::take(&mut open);
        } else if let Some(key) = whole_entry(&open) {
            entries.push(Entry { key, text: std::mem::take(&mut open) });
        }
    }
    tables.push((head, entries, open));
    let mut out = String::new();
    for (head, mut entries, rest) in tables {
        let order: &[&str] = if head.is_empty() { &KEYS } else { &LIMITS };
        let rank = |entry: &Entry| order.iter().position(|key| *key == entry.key);
        entries.sort_by_key(|entry| rank(entry).unwrap_or(order.len()));
        if !head.is_empty() {
            out.push('\n');
        }
        out.push_str(head.trim_start_matches('\n'));
        for entry in entries {
            out.push_str(entry.text.trim_start_matches('\n'));
        }
        out.push_str(rest.trim_start_matches('\n'));
    }
    let after: toml::Table = out.parse().context("the formatted text is no TOML")?;
    if before != after {
        bail!("its keys cannot be put in order without changing what it says; order them by hand");
    }
    Ok(out)
}

/// Whether all lines of `text` but the last `without` are blank or comments.
fn only_comments(text: &str, without: usize) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    let above = &lines[..lines.len().saturating_sub(without)];
    above.iter().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// The key, if these lines are comments and then one whole `key = value`.
fn whole_entry(text: &str) -> Option<String> {
    let table: toml::Table = text.parse().ok()?;
    let mut keys = table.into_iter();
    let (key, _) = keys.next()?;
    keys.next().is_none().then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_their_order_and_comments_stay_with_them() {
        let text = "# who\nname = \"a/b\"\n\n# may touch\ncapabilities = [\n  \"tensor\", # x\n]\n\
                    world = \"processor\"   \nversion = \"0.1.0\"\n# bounds\n[limits]\nwall_ms_max = 5\n\
                    # small\nmemory_bytes_max = 1\n";
        let once = formatted(text).unwrap();
        assert_eq!(
            once,
            "# who\nname = \"a/b\"\nversion = \"0.1.0\"\nworld = \"processor\"\n# may touch\n\
             capabilities = [\n  \"tensor\", # x\n]\n\n# bounds\n[limits]\n# small\nmemory_bytes_max = 1\n\
             wall_ms_max = 5\n"
        );
        assert_eq!(formatted(&once).unwrap(), once, "formatting twice changes nothing");
    }

    #[test]
    fn what_is_unknown_or_wrong_is_kept_or_refused() {
        let unknown = "zeta = 1\nname = \"a/b\"\n# the end\n";
        assert_eq!(formatted(unknown).unwrap(), "name = \"a/b\"\nzeta = 1\n# the end\n");
        assert!(formatted("name = ").is_err());
        let text = "description = \"\"\"\n[limits]\nname = 1\n\"\"\"\nname = \"a/b\"\n";
        let expected = "name = \"a/b\"\ndescription = \"\"\"\n[limits]\nname = 1\n\"\"\"\n";
        assert_eq!(formatted(text).unwrap(), expected);
    }

    #[test]
    fn the_templates_are_formatted() {
        for world in ["processor", "format", "model"] {
            let path = format!("../../sdk/templates/{world}-rust/plugin.toml");
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(formatted(&text).unwrap(), text, "{}", path.display());
        }
    }
}
