//! An inspection as nodes and links, for pictures; and as Graphviz DOT text.

use super::{InspectedPlan, Inspection, text};
use crate::model::figures::{bytes, si};
use aimass_graph::{OpFamily, PlanReport, StepReport, ValuePlace};
use std::fmt::Write;

/// Parts of a fusion that a node lists.
const LINES_MAX: usize = 6;
/// Characters of a line.
const LINE_LEN_MAX: usize = 44;

/// One plan.
pub(super) struct Drawing {
    pub(super) title: String,
    pub(super) nodes: Vec<Node>,
    pub(super) links: Vec<Link>,
}

/// A box.
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) lines: Vec<String>,
    /// Everything else, which a browser shows below the pointer.
    pub(super) title: String,
}

/// What a box stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeKind {
    /// Inputs and states.
    Source,
    Step(OpFamily),
    Output,
}

/// A value on its way.
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Number, dtype and shape.
    pub(super) title: String,
}

impl NodeKind {
    /// Fill color.
    pub(super) fn color(self) -> &'static str {
        match self {
            NodeKind::Source | NodeKind::Output => "#eceff1",
            NodeKind::Step(OpFamily::Product) => "#bbdefb",
            NodeKind::Step(OpFamily::Convolution) => "#c8e6c9",
            NodeKind::Step(OpFamily::Attention) => "#e1bee7",
            NodeKind::Step(OpFamily::Recurrent) => "#b2dfdb",
            NodeKind::Step(OpFamily::Reduction) => "#ffe0b2",
            NodeKind::Step(OpFamily::Normalization) => "#fff9c4",
            NodeKind::Step(OpFamily::Elementwise) => "#ffcdd2",
            NodeKind::Step(OpFamily::Movement) => "#d7ccc8",
            NodeKind::Step(OpFamily::Control) => "#ffcc80",
        }
    }
}

/// A drawing for each plan.
pub(super) fn of(inspection: &Inspection) -> Vec<Drawing> {
    let drawn = |plan: &InspectedPlan| Some(drawing(&plan.title, plan.report.as_ref()?));
    inspection.plans.iter().filter_map(drawn).collect()
}

fn drawing(title: &str, report: &PlanReport) -> Drawing {
    let mut nodes: Vec<Node> = report.steps.iter().map(|step| node(report, step)).collect();
    let mut links = Vec::new();
    // Inputs and states become nodes where they are read first.
    let mut sources: Vec<(ValuePlace, usize)> = Vec::new();
    let mut source = |nodes: &mut Vec<Node>, id: u32| -> Option<usize> {
        let value = report.values.get(&id)?;
        let name = match value.place {
            ValuePlace::Input(index) => report.inputs.get(index)?.to_string(),
            ValuePlace::State(_) => format!("state {}", value.name.as_deref().unwrap_or_default()),
            ValuePlace::Constant(_)
            | ValuePlace::Slot(_)
            | ValuePlace::Result(_)
            | ValuePlace::Columns { .. }
            | ValuePlace::None => return None,
        };
        if let Some((_, node)) = sources.iter().find(|(place, _)| *place == value.place) {
            return Some(*node);
        }
        let lines = vec![cut(&name)];
        nodes.push(Node { kind: NodeKind::Source, lines, title: name });
        sources.push((value.place, nodes.len() - 1));
        Some(nodes.len() - 1)
    };
    for (to, step) in report.steps.iter().enumerate() {
        for read in &step.reads {
            if let Some(from) = read.from.or_else(|| source(&mut nodes, read.value)) {
                links.push(Link { from, to, title: link_title(report, read.value) });
            }
        }
    }
    for (output, result) in report.outputs.iter().zip(&report.results) {
        let from = result.from.or_else(|| source(&mut nodes, result.value));
        let title = output.to_string();
        nodes.push(Node { kind: NodeKind::Output, lines: vec![cut(&title)], title });
        if let Some(from) = from {
            let title = link_title(report, result.value);
            links.push(Link { from, to: nodes.len() - 1, title });
        }
    }
    Drawing { title: title.to_owned(), nodes, links }
}

fn node(report: &PlanReport, step: &StepReport) -> Node {
    let mut lines: Vec<String> = match step.parts.is_empty() {
        true => vec![cut(&step.label)],
        false => step.parts.iter().map(|part| cut(&part.label)).collect(),
    };
    if lines.len() > LINES_MAX {
        let more = lines.len() - LINES_MAX + 1;
        lines.truncate(LINES_MAX - 1);
        lines.push(format!("+ {more} more"));
    }
    let flops = si(step.flops as f64);
    lines.push(format!("{flops}FLOP  {}", bytes(step.bytes_read + step.bytes_written)));
    let weights = step.matrices.iter().filter_map(|&index| report.matrices.get(index));
    let weights = weights.map(|matrix| {
        let names = matrix.names.join(" | ");
        format!("\nweights {names} {}x{} {}", matrix.k, matrix.n, bytes(matrix.bytes))
    });
    let weights: String = weights.collect();
    let title = format!("{}\nmakes {}{weights}", step.label, text::made(report, step));
    Node { kind: NodeKind::Step(step.family), lines, title }
}

fn link_title(report: &PlanReport, id: u32) -> String {
    let value = report.values.get(&id);
    value.map_or_else(String::new, |value| format!("%{id} {} {}", value.dtype, value.shape))
}

/// A line that fits its node.
fn cut(line: &str) -> String {
    match line.chars().count() > LINE_LEN_MAX {
        true => line.chars().take(LINE_LEN_MAX - 1).chain(['…']).collect(),
        false => line.to_owned(),
    }
}

/// The drawings as clusters of one DOT graph.
pub(super) fn dot(name: &str, drawings: &[Drawing]) -> String {
    let mut text = format!("digraph {} {{\n", quoted(name));
    text.push_str(
        "  node [shape=box style=\"rounded,filled\" fontname=\"sans-serif\" fontsize=10];\n",
    );
    for (index, drawing) in drawings.iter().enumerate() {
        write_cluster(&mut text, index, drawing).expect("writing to a string does not fail");
    }
    text.push_str("}\n");
    text
}

fn write_cluster(text: &mut String, index: usize, drawing: &Drawing) -> std::fmt::Result {
    writeln!(text, "  subgraph cluster_{index} {{\n    label={};", quoted(&drawing.title))?;
    for (id, node) in drawing.nodes.iter().enumerate() {
        let (label, color) = (quoted(&node.lines.join("\n")), node.kind.color());
        let title = quoted(&node.title);
        writeln!(text, "    n{index}_{id} [label={label} fillcolor=\"{color}\" tooltip={title}];")?;
    }
    for Link { from, to, title } in &drawing.links {
        let title = quoted(title);
        writeln!(text, "    n{index}_{from} -> n{index}_{to} [tooltip={title}];")?;
    }
    writeln!(text, "  }}")
}

/// A DOT string: quotes and backslashes escaped, line breaks as `\n`.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_text_escapes_what_a_name_may_hold() {
        let node = Node {
            kind: NodeKind::Output,
            lines: vec!["a\"b\\".to_owned(), "c".to_owned()],
            title: String::new(),
        };
        let drawing = Drawing { title: "p".to_owned(), nodes: vec![node], links: Vec::new() };
        let text = dot("evil\"name", &[drawing]);
        assert!(text.contains(r#"digraph "evil\"name""#), "{text}");
        assert!(text.contains(r#"label="a\"b\\\nc""#), "{text}");
    }

    #[test]
    fn long_lines_are_cut_at_a_character() {
        let long = "é".repeat(100);
        assert_eq!(cut(&long).chars().count(), LINE_LEN_MAX);
        assert_eq!(cut("short"), "short");
    }
}
