//! One look at `/metrics`: the Prometheus text format, version 0.0.4.

use anyhow::{Context, bail};
use std::collections::BTreeMap;

/// All samples of a page, by name.
#[derive(Debug, Default)]
pub(super) struct Sample {
    series: BTreeMap<String, Vec<Series>>,
}

/// One line.
#[derive(Debug, PartialEq)]
struct Series {
    labels: Vec<(String, String)>,
    value: f64,
}

impl Series {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.label(name) == Some(value))
    }
}

impl Sample {
    /// Reads a page.
    pub(super) fn parse(text: &str) -> anyhow::Result<Sample> {
        let mut sample = Sample::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, series) =
                parse_line(line).with_context(|| format!("line {} is no metric", number + 1))?;
            sample.series.entry(name).or_default().push(series);
        }
        Ok(sample)
    }

    /// Sum of all samples of a metric that have these labels.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let series = self.series.get(name).into_iter().flatten();
        // Not `sum`, which begins at -0.0.
        series.filter(|series| series.has(labels)).fold(0.0, |sum, series| sum + series.value)
    }

    /// Values of a label of a metric, sorted, each once.
    pub(super) fn values(&self, name: &str, label: &str) -> Vec<&str> {
        let series = self.series.get(name).into_iter().flatten();
        let mut values: Vec<&str> = series.filter_map(|series| series.label(label)).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// Upper bounds of a histogram and how many observations are below each, summed over all samples
    /// with these labels.
    pub(super) fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Vec<(f64, f64)> {
        let series = self.series.get(&format!("{name}_bucket")).into_iter().flatten();
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for series in series.filter(|series| series.has(labels)) {
            let Some(bound) = series.label("le").and_then(number) else { continue };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += series.value,
                None => buckets.push((bound, series.value)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        buckets
    }
}

fn parse_line(line: &str) -> anyhow::Result<(String, Series)> {
    let end = line.find(['{', ' ']).context("no value")?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"").context("no label")?;
            let (value, behind) = quoted(behind)?;
            labels.push((label.trim_start_matches(',').to_owned(), value));
            rest = behind;
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next().and_then(number).context("no number")?;
    Ok((name.to_owned(), Series { labels, value }))
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> anyhow::Result<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, other)) => value.push(other),
                None => bail!("an escape without a character"),
            },
            other => value.push(other),
        }
    }
    bail!("a quote that does not end")
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        other => other.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_with_its_quotes() {
        let text = "# HELP a b\n# TYPE a counter\na 5\nb{x=\"1\",y=\"q\\\"\\\\\\n}\"} 2\nb{x=\"2\"} 3e2\n\
                    h_bucket{m=\"k\",le=\"0.1\"} 1\nh_bucket{m=\"k\",le=\"+Inf\"} 4\n";
        let sample = Sample::parse(text).unwrap();
        assert_eq!(sample.sum("a", &[]), 5.0);
        assert_eq!(sample.sum("b", &[("y", "q\"\\\n}")]), 2.0);
        assert_eq!(sample.sum("b", &[]), 302.0);
        assert_eq!(format!("{:?}", sample.sum("absent", &[])), "0.0", "and not -0.0");
        assert_eq!(sample.values("b", "x"), ["1", "2"]);
        assert_eq!(sample.histogram("h", &[("m", "k")]), [(0.1, 1.0), (f64::INFINITY, 4.0)]);
        for wrong in ["a", "a{x=\"1} 2", "a{x} 2", "a five", "a{x=\"\\"] {
            assert!(Sample::parse(wrong).is_err(), "{wrong}");
        }
    }
}
