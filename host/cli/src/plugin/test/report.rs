//! Cases as a table with the limits above it, or as one JSON object.

use super::super::workbench::Workbench;
use super::run::{CaseReport, Verdict};
use crate::plugin::quantity;
use aimass_graph::CompileOptions;
use aimass_sandbox::{CallStats, World};
use aimass_trust::VerifiedPackage;
use serde_json::{Map, Value, json};

/// Characters of a case's name in the table.
const NAME_CHARS: usize = 44;

/// Prints cases as they come, or keeps them for one JSON object.
pub(super) struct Report {
    json: bool,
    plugin: String,
    limits: aimass_sandbox::Limits,
    cases: Vec<Value>,
    passed: usize,
    failed: usize,
    heading: bool,
}

impl Report {
    /// A report about `package`, under the limits of a server as the package lowers them.
    pub(super) fn new(package: &VerifiedPackage, json: bool) -> Report {
        let plugin = format!("{}@{}", package.name(), package.version());
        if !json {
            println!("plugin    {plugin}  {}", package.manifest().world);
        }
        let limits = aimass_sandbox::Limits::default().lowered(package.limits());
        Report { json, plugin, limits, cases: Vec::new(), passed: 0, failed: 0, heading: true }
    }

    /// What the plugin is, where there is no case to run.
    pub(super) async fn describe(&mut self, bench: &Workbench) -> anyhow::Result<()> {
        let plugin = bench.load(None).await?;
        let mut signature = plugin.signature().clone();
        if matches!(plugin.world(), World::Format | World::TracingFormat) {
            let format = plugin.detect().await?;
            self.line("detects", format.as_deref().unwrap_or("nothing in these files"));
            match (plugin.world(), format) {
                (World::Format, Some(_)) => {
                    let graph = plugin.load_graph(&CompileOptions::default()).await?;
                    for (name, plan) in &graph.plans {
                        let weights = quantity::bytes(plan.weights_bytes());
                        self.line("plan", &format!("{name}: {weights} of weights"));
                    }
                }
                (World::TracingFormat, Some(_)) => signature = plugin.load_signature().await?,
                (World::Processor | World::Format | World::TracingFormat | World::Model, _) => {}
            }
        }
        for spec in signature.inputs.iter().chain(&signature.outputs) {
            self.line("tensor", &format!("{} {:?} {:?}", spec.name, spec.dtype, spec.dims));
        }
        self.line("fixtures", "none; add cases to fixtures/*.json");
        Ok(())
    }

    fn line(&self, label: &str, text: &str) {
        if !self.json {
            println!("{label:<9} {text}");
        }
    }

    /// Adds a case.
    pub(super) fn case(&mut self, case: CaseReport) {
        let (word, reason) = match &case.verdict {
            Verdict::Passed => ("ok", None),
            Verdict::Blessed => ("blessed", None),
            Verdict::Failed(reason) => ("FAILED", Some(reason.as_str())),
        };
        match reason {
            Some(_) => self.failed += 1,
            None => self.passed += 1,
        }
        if self.json {
            self.cases.push(case_json(&case, reason));
            return;
        }
        self.heading();
        println!(
            "{word:<9} {}",
            row(&case.name, case.took.map(quantity::time), case.stats.as_ref())
        );
        if let Some(reason) = reason {
            println!("          {}: {reason}", case.file);
        }
    }

    /// The heading of the table and the row of limits, before the first case.
    fn heading(&mut self) {
        if !std::mem::take(&mut self.heading) {
            return;
        }
        println!(
            "{:<9} {:<NAME_CHARS$} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "", "", "time", "memory", "host mem", "host calls", "output", "log"
        );
        let limits = &self.limits;
        println!(
            "{:<9} {:<NAME_CHARS$} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
            "limit",
            "",
            quantity::time(limits.wall_max),
            quantity::bytes(limits.memory_bytes_max as u64),
            quantity::bytes(limits.host_bytes_max),
            limits.host_calls_max,
            quantity::bytes(limits.output_bytes_max),
            quantity::bytes(limits.log_bytes_max),
        );
    }

    /// Prints the totals; how many cases failed.
    pub(super) fn finish(self) -> usize {
        if !self.json {
            println!("{} passed, {} failed", self.passed, self.failed);
            return self.failed;
        }
        let limits = &self.limits;
        let object = json!({
            "plugin": self.plugin,
            "limits": {
                "wall_us": limits.wall_max.as_micros() as u64,
                "memory_bytes": limits.memory_bytes_max,
                "host_bytes": limits.host_bytes_max,
                "host_calls": limits.host_calls_max,
                "output_bytes": limits.output_bytes_max,
                "log_bytes": limits.log_bytes_max,
            },
            "cases": self.cases,
            "passed": self.passed,
            "failed": self.failed,
        });
        println!("{object}");
        self.failed
    }
}

fn row(name: &str, took: Option<String>, stats: Option<&CallStats>) -> String {
    // A long name moves its figures; cut, it could not be found in the fixtures.
    let none = || "-".to_owned();
    let time = took.unwrap_or_else(none);
    let Some(stats) = stats else { return format!("{name:<NAME_CHARS$} {time:>10}") };
    let mut row = format!(
        "{name:<NAME_CHARS$} {time:>10} {:>10} {:>10} {:>10} {:>10} {:>10}",
        quantity::bytes(stats.memory_bytes),
        quantity::bytes(stats.host_bytes),
        stats.host_calls,
        quantity::bytes(stats.output_bytes),
        quantity::bytes(stats.log_bytes),
    );
    if let Some(instructions) = stats.instructions {
        row.push_str(&format!("  {instructions} instructions"));
    }
    row
}

fn case_json(case: &CaseReport, reason: Option<&str>) -> Value {
    let result = match &case.verdict {
        Verdict::Passed => "passed",
        Verdict::Failed(_) => "failed",
        Verdict::Blessed => "blessed",
    };
    let mut fields = Map::new();
    fields.insert("name".to_owned(), json!(case.name));
    fields.insert("file".to_owned(), json!(case.file));
    fields.insert("result".to_owned(), json!(result));
    fields.insert("reason".to_owned(), json!(reason));
    fields.insert("wall_us".to_owned(), json!(case.took.map(quantity::micros)));
    let stats = case.stats.as_ref();
    for (name, value) in [
        ("memory_bytes", stats.map(|stats| stats.memory_bytes)),
        ("host_bytes", stats.map(|stats| stats.host_bytes)),
        ("host_calls", stats.map(|stats| stats.host_calls)),
        ("output_bytes", stats.map(|stats| stats.output_bytes)),
        ("log_bytes", stats.map(|stats| stats.log_bytes)),
        ("instructions", stats.and_then(|stats| stats.instructions)),
    ] {
        fields.insert(name.to_owned(), json!(value));
    }
    Value::Object(fields)
}
