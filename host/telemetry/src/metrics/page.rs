//! One answer of `/metrics`: each metric once, with its help, its type and then all its samples.

use super::{Metric, MetricKind};
use std::collections::HashSet;
use std::fmt::Write;

/// Metrics as text.
#[derive(Default)]
pub struct Page {
    text: String,
    written: HashSet<&'static str>,
}

/// The samples of one metric.
pub struct Samples<'a> {
    metric: &'static Metric,
    text: &'a mut String,
}

impl Page {
    /// Starts a metric.
    ///
    /// # Panics
    /// If it was started before: the format wants all samples of a metric together.
    pub fn start(&mut self, metric: &'static Metric) -> Samples<'_> {
        assert!(self.written.insert(metric.name), "{} was written before", metric.name);
        let (name, kind) = (metric.name, metric.kind.name());
        // Writing to a string cannot fail, here and below.
        let _ = write!(self.text, "# HELP {name} {}\n# TYPE {name} {kind}\n", metric.help);
        Samples { metric, text: &mut self.text }
    }

    /// A metric without labels.
    pub fn single(&mut self, metric: &'static Metric, value: f64) {
        self.start(metric).add(&[], value);
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }
}

impl Samples<'_> {
    /// A sample of a counter or gauge; `values` are those of the metric's labels, in order.
    ///
    /// # Panics
    /// If there are not as many values as labels, or the metric is a histogram.
    pub fn add(&mut self, values: &[&str], value: f64) {
        assert_ne!(self.metric.kind, MetricKind::Histogram, "{}", self.metric.name);
        self.sample("", values, None, value);
    }

    /// A histogram: upper bounds, how many observations are in each bucket alone, how many there are in all, and
    /// their sum.
    ///
    /// # Panics
    /// As [`Samples::add`], if the metric is no histogram.
    pub fn add_histogram(
        &mut self,
        values: &[&str],
        buckets: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        assert_eq!(self.metric.kind, MetricKind::Histogram, "{}", self.metric.name);
        let mut below = 0;
        for (bound, observed) in buckets {
            below += observed;
            // Counters are read one after the other while others count on.
            self.sample("_bucket", values, Some(bound), below.min(count) as f64);
        }
        self.sample("_bucket", values, Some(f64::INFINITY), count as f64);
        self.sample("_sum", values, None, sum);
        self.sample("_count", values, None, count as f64);
    }

    fn sample(&mut self, suffix: &str, values: &[&str], bound: Option<f64>, value: f64) {
        let labels = self.metric.labels;
        assert_eq!(values.len(), labels.len(), "labels of {}", self.metric.name);
        let _ = write!(self.text, "{}{suffix}", self.metric.name);
        let mut before = '{';
        for (label, value) in labels.iter().zip(values) {
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value));
            before = ',';
        }
        if let Some(bound) = bound {
            let _ = write!(self.text, "{before}le=\"{}\"", number(bound));
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", number(value));
    }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() }
}

/// The value of a label as the text format quotes it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    static PLAIN: Metric = Metric {
        name: "plain_total",
        kind: MetricKind::Counter,
        labels: &["a", "b"],
        help: "Help.",
    };
    static SIZES: Metric =
        Metric { name: "sizes", kind: MetricKind::Histogram, labels: &["a"], help: "Sizes." };

    #[test]
    fn samples_are_lines_of_the_text_format() {
        let mut page = Page::default();
        page.start(&PLAIN).add(&["x\"y\\z\n", "2"], 3.5);
        page.start(&SIZES).add_histogram(&["k"], [(1.0, 2), (2.5, 1)], 4, 12.0);
        let expected = "# HELP plain_total Help.\n# TYPE plain_total counter\n\
                        plain_total{a=\"x\\\"y\\\\z\\n\",b=\"2\"} 3.5\n\
                        # HELP sizes Sizes.\n# TYPE sizes histogram\n\
                        sizes_bucket{a=\"k\",le=\"1\"} 2\nsizes_bucket{a=\"k\",le=\"2.5\"} 3\n\
                        sizes_bucket{a=\"k\",le=\"+Inf\"} 4\nsizes_sum{a=\"k\"} 12\nsizes_count{a=\"k\"} 4\n";
        assert_eq!(page.into_text(), expected);
    }

    #[test]
    #[should_panic(expected = "was written before")]
    fn a_metric_twice_is_a_mistake() {
        let mut page = Page::default();
        page.start(&SIZES);
        page.start(&SIZES);
    }
}
