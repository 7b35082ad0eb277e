//! Flags of `aimass serve` for models whose format plugin traces.

use aimass_engine::TracedConfig;
use clap::Args;
use clap::builder::RangedU64ValueParser;
use std::time::Duration;

/// A count that cannot be 0.
fn at_least_1() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// Limits of each model that is traced, as of the ONNX format. What was used longest ago goes when
/// one is reached.
#[derive(Args, Debug)]
#[command(next_help_heading = "Traced models, each")]
pub(crate) struct TracedLimits {
    /// Combinations of input shapes that are kept
    #[arg(long, default_value_t = 64, value_name = "COUNT", value_parser = at_least_1())]
    trace_shapes_max: usize,
    /// Stages that are kept, of all combinations together
    #[arg(long, default_value_t = 4_096, value_name = "COUNT", value_parser = at_least_1())]
    trace_stages_max: usize,
    /// Bytes of content that kept stages know or are found by
    #[arg(long, default_value_t = 256 << 20, value_name = "BYTES")]
    trace_content_bytes_max: u64,
    /// Bytes of constants that plans of kept stages hold; weights of files do not count
    #[arg(long, default_value_t = 4 << 30, value_name = "BYTES")]
    trace_plan_bytes_max: u64,
    /// Guest calls and compilations at once
    #[arg(long, default_value_t = 4, value_name = "COUNT", value_parser = at_least_1())]
    traces_max: usize,
    /// Bytes of all values that the stages of one call make
    #[arg(long, default_value_t = 4 << 30, value_name = "BYTES")]
    trace_call_bytes_max: u64,
    /// Failed stages that are remembered; 0 remembers none
    #[arg(long, default_value_t = 1_024, value_name = "COUNT")]
    trace_failures_max: usize,
    /// Seconds for which a failed stage answers its error again, without another attempt
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    trace_failure_s: u64,
}

impl TracedLimits {
    pub(crate) fn config(&self) -> TracedConfig {
        TracedConfig {
            roots_max: self.trace_shapes_max,
            stages_max: self.trace_stages_max,
            content_bytes_max: self.trace_content_bytes_max,
            plan_bytes_max: self.trace_plan_bytes_max,
            traces_max: self.traces_max,
            call_bytes_max: self.trace_call_bytes_max,
            failures_max: self.trace_failures_max,
            failure_kept: Duration::from_secs(self.trace_failure_s),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        traced: TracedLimits,
    }

    fn parsed(arguments: &[&str]) -> Option<TracedConfig> {
        let all = std::iter::once("serve").chain(arguments.iter().copied());
        Some(Command::try_parse_from(all).ok()?.traced.config())
    }

    #[test]
    fn without_flags_the_limits_are_the_engines() {
        assert_eq!(parsed(&[]), Some(TracedConfig::default()));
    }

    #[test]
    fn every_limit_has_a_flag() {
        let all = parsed(&[
            "--trace-shapes-max=1",
            "--trace-stages-max=2",
            "--trace-content-bytes-max=3",
            "--trace-plan-bytes-max=4",
            "--traces-max=5",
            "--trace-call-bytes-max=6",
            "--trace-failures-max=7",
            "--trace-failure-s=8",
        ]);
        let expected = TracedConfig {
            roots_max: 1,
            stages_max: 2,
            content_bytes_max: 3,
            plan_bytes_max: 4,
            traces_max: 5,
            call_bytes_max: 6,
            failures_max: 7,
            failure_kept: Duration::from_secs(8),
        };
        assert_eq!(all, Some(expected));
    }

    #[test]
    fn what_would_stop_every_call_is_refused() {
        for flag in ["--trace-shapes-max", "--trace-stages-max", "--traces-max"] {
            assert_eq!(parsed(&[flag, "0"]), None, "{flag}");
            assert!(parsed(&[flag, "1"]).is_some(), "{flag}");
        }
        assert_eq!(
            parsed(&["--trace-failures-max", "0"]).map(|config| config.failures_max),
            Some(0)
        );
    }
}
