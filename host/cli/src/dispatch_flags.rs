//! Flags of `aimass serve` that bound the queue and the launches of plan calls.

use aimass_dispatch::{DispatchConfig, WEIGHT_MAX};
use clap::Args;
use std::sync::Arc;
use std::time::Duration;

/// How calls of tensor plans wait and share launches.
#[derive(Args, Clone)]
#[command(next_help_heading = "Batching and fairness")]
pub(crate) struct DispatchFlags {
    /// How long a plan call waits for others to join it, in milliseconds; less if its deadline is near
    #[arg(long, default_value_t = 0, value_name = "MS")]
    batch_wait_ms_max: u64,
    /// Rows (tokens or items) that one launch takes; a single larger call runs alone
    #[arg(long, default_value_t = DispatchConfig::default().batch_rows_max, value_name = "ROWS")]
    batch_rows_max: usize,
    /// Calls that one launch joins
    #[arg(long, default_value_t = DispatchConfig::default().batch_calls_max, value_name = "CALLS")]
    batch_calls_max: usize,
    /// Bytes of intermediate values that one launch takes; a single larger call runs alone
    #[arg(long, default_value_t = DispatchConfig::default().batch_bytes_max, value_name = "BYTES")]
    batch_bytes_max: u64,
    /// How long a launch of several calls may take by measurement, in milliseconds; 0 sets no limit
    #[arg(
        long,
        default_value_t = DispatchConfig::default().batch_time_max.as_millis() as u64,
        value_name = "MS"
    )]
    batch_time_ms_max: u64,
    /// Plan calls that may wait; more are answered 503
    #[arg(long, default_value_t = DispatchConfig::default().queue_calls_max, value_name = "CALLS")]
    queue_calls_max: usize,
    /// Plan calls of one tenant that may wait, at most the free places; more are answered 429
    #[arg(
        long,
        default_value_t = DispatchConfig::default().queue_calls_tenant_max,
        value_name = "CALLS"
    )]
    queue_calls_tenant_max: usize,
    /// Bytes of inputs that may wait; more are answered 503
    #[arg(long, default_value_t = DispatchConfig::default().queue_bytes_max, value_name = "BYTES")]
    queue_bytes_max: u64,
    /// A tenant's share of the machine while several wait, 1 to 1000; others have 1 (repeatable)
    #[arg(long = "tenant-weight", value_name = "TENANT=WEIGHT", value_parser = weight)]
    tenant_weights: Vec<(Arc<str>, u32)>,
}

impl DispatchFlags {
    /// The flags as the dispatcher reads them.
    pub(crate) fn config(self) -> DispatchConfig {
        DispatchConfig {
            batch_wait_max: Duration::from_millis(self.batch_wait_ms_max),
            batch_rows_max: self.batch_rows_max,
            batch_calls_max: self.batch_calls_max,
            batch_bytes_max: self.batch_bytes_max,
            batch_time_max: Duration::from_millis(self.batch_time_ms_max),
            queue_calls_max: self.queue_calls_max,
            queue_bytes_max: self.queue_bytes_max,
            queue_calls_tenant_max: self.queue_calls_tenant_max,
            tenant_weights: self.tenant_weights.into_iter().collect(),
            ..DispatchConfig::default()
        }
    }
}

/// Reads `TENANT=WEIGHT`.
fn weight(text: &str) -> Result<(Arc<str>, u32), String> {
    let expected =
        || format!("expected TENANT=WEIGHT with a weight of 1 to {WEIGHT_MAX}, got {text:?}");
    let (tenant, weight) = text.rsplit_once('=').ok_or_else(expected)?;
    let weight = weight.parse().ok().filter(|weight| (1..=WEIGHT_MAX).contains(weight));
    match (tenant.is_empty(), weight) {
        (false, Some(weight)) => Ok((tenant.into(), weight)),
        (true, _) | (false, None) => Err(expected()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        dispatch: DispatchFlags,
    }

    fn config(line: &[&str]) -> Result<DispatchConfig, clap::Error> {
        let words = ["serve"].iter().chain(line);
        Ok(Line::try_parse_from(words)?.dispatch.config())
    }

    #[test]
    fn flags_become_limits_and_defaults_are_those_of_the_dispatcher() {
        let defaults = format!("{:?}", DispatchConfig::default());
        assert_eq!(format!("{:?}", config(&[]).unwrap()), defaults);
        let line =
            ["--batch-rows-max", "7", "--batch-wait-ms-max", "2", "--tenant-weight", "a=b=5"];
        let config = config(&line).unwrap();
        assert_eq!((config.batch_rows_max, config.batch_wait_max), (7, Duration::from_millis(2)));
        assert_eq!(config.tenant_weights[&Arc::from("a=b")], 5);
    }

    #[test]
    fn a_wrong_weight_is_refused_with_what_was_expected() {
        for wrong in ["a", "a=", "=3", "a=0", "a=1001", "a=x"] {
            let message = config(&["--tenant-weight", wrong]).unwrap_err().to_string();
            assert!(message.contains("expected TENANT=WEIGHT"), "{wrong}: {message}");
        }
        assert!(config(&["--tenant-weight", "a=1000"]).is_ok());
    }
}
