//! `aimass doctor`: what of the sandbox this machine can give, tried, not assumed.

use crate::child::PROBE_COMMAND;
use crate::home::CHILD_PROGRAM;
use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::process::Command;

/// Say whether this machine holds the sandbox's walls.
///
/// Children of the server are jailed and try to get out, and what they met is listed. Exit status 1 if a wall that must stand does not.
///
/// Examples: `aimass doctor`, `aimass doctor --json`
#[derive(Args)]
pub(crate) struct Doctor {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a jailed child found.
#[derive(Serialize, Deserialize)]
struct Jail {
    landlock: String,
    shared_namespaces: Option<String>,
    attempts: Vec<Attempt>,
}

#[derive(Serialize, Deserialize)]
struct Attempt {
    what: String,
    refused: bool,
    answer: String,
}

#[derive(Serialize)]
struct Findings {
    /// What was found, or why the jail could not be closed.
    jails: Vec<(&'static str, Result<Jail, String>)>,
    instances_max: u32,
    max_map_count: u64,
    pagemap_scan: bool,
}

impl Doctor {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let machine = aimass_sandbox::Machine::look();
        let findings = Findings {
            jails: ["compiler", "worker"].map(|role| (role, jail(role))).into(),
            instances_max: machine.instances_max,
            max_map_count: machine.max_map_count,
            pagemap_scan: machine.pagemap_scan,
        };
        if self.json {
            println!("{}", serde_json::to_string(&findings)?);
        } else {
            print!("{}", findings.text());
        }
        if !findings.sound() {
            bail!("plugins cannot be held safely on this machine; see above");
        }
        Ok(())
    }
}

fn jail(role: &str) -> Result<Jail, String> {
    let probe = || {
        let output = Command::new(CHILD_PROGRAM).args([PROBE_COMMAND, role]).env_clear().output();
        let output = output.context(CHILD_PROGRAM)?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    probe().map_err(|error: anyhow::Error| format!("{error:#}"))
}

impl Findings {
    /// Whether every jail closes and nothing got out of it.
    fn sound(&self) -> bool {
        let held = |jail: &Result<Jail, String>| {
            jail.as_ref().is_ok_and(|jail| jail.attempts.iter().all(|attempt| attempt.refused))
        };
        self.jails.iter().all(|(_, jail)| held(jail))
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (role, jail) in &self.jails {
            match jail {
                Ok(jail) => jail.write(role, &mut text),
                Err(error) => {
                    let _ = writeln!(text, "{role}: its jail cannot be closed: {error}");
                }
            }
        }
        let _ = writeln!(
            text,
            "instances: {} at once (vm.max_map_count = {}; `sysctl vm.max_map_count=262144` for more)",
            self.instances_max, self.max_map_count
        );
        let scan = if self.pagemap_scan {
            "yes"
        } else {
            "no (Linux 6.7 or newer has it): fresh instances cost about twice as much"
        };
        let _ = writeln!(text, "fast reset of memory (PAGEMAP_SCAN): {scan}");
        text
    }
}

impl Jail {
    fn write(&self, role: &str, text: &mut String) {
        let landlock = match self.landlock.as_str() {
            "full" => "Landlock enforced",
            "none" => "Landlock NOT enforced by this kernel, which is one wall less",
            _ => "Landlock enforced as far as this older kernel knows it",
        };
        let namespaces = match &self.shared_namespaces {
            None => "own namespaces".to_owned(),
            Some(why) => format!("no own namespaces ({why}), which is one wall less"),
        };
        let _ = writeln!(text, "{role}: {landlock}, system calls filtered, {namespaces}");
        for attempt in &self.attempts {
            let word = if attempt.refused { "refused" } else { "GOT OUT" };
            let _ = writeln!(text, "  {:<28} {word}: {}", attempt.what, attempt.answer);
        }
    }
}
