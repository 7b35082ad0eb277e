//! A figure as `cargo xtask bench` reads it, one line of JSON.

use std::time::Duration;

/// A figure, what stands beside it, and what their ratio has to be.
pub(crate) struct Row<'a> {
    /// What was measured.
    pub(crate) name: &'a str,
    /// Our figure.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'a str,
    /// What stands beside it.
    pub(crate) peer: &'a str,
    /// The peer's figure.
    pub(crate) peer_value: f64,
    /// Median of the ratios of rounds that took turns, or value over limit.
    pub(crate) ratio: f64,
    /// Most that the ratio may be.
    pub(crate) ratio_max: f64,
}

impl Row<'_> {
    /// A row that holds if `value` is `most` or less.
    pub(crate) fn within<'a>(
        name: &'a str,
        (value, unit): (f64, &'a str),
        (peer, peer_value): (&'a str, f64),
        most: f64,
    ) -> Row<'a> {
        Row { name, value, unit, peer, peer_value, ratio: value / most, ratio_max: 1.0 }
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        let Row { name, value, unit, peer, peer_value, ratio, ratio_max } = self;
        println!(
            "{{\"name\":\"{name}\",\"value\":{value:.3},\"unit\":\"{unit}\",\"peer\":\"{peer}\",\
             \"peer_value\":{peer_value:.3},\"ratio\":{ratio:.3},\"goal\":\"<= {ratio_max}\",\"holds\":{}}}",
            ratio <= ratio_max
        );
    }
}

/// In microseconds.
pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// In milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The figure of which so many hundredths are not larger; 50 is the median.
pub(crate) fn percentile(figures: &[f64], hundredths: usize) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() * hundredths / 100).min(sorted.len() - 1)]
}

/// The middle one.
pub(crate) fn median(figures: &[f64]) -> f64 {
    percentile(figures, 50)
}

/// Median of the ratios of figures that were taken in turns.
pub(crate) fn median_ratio(ours: &[f64], peers: &[f64]) -> f64 {
    median(&ours.iter().zip(peers).map(|(our, peer)| our / peer).collect::<Vec<f64>>())
}
