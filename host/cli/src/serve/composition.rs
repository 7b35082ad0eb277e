//! Flags of `aimass serve` for models that call other models.

use aimass_engine::CompositionConfig;
use clap::Args;

/// Limits of one request whose models call other models.
#[derive(Args, Debug)]
#[command(next_help_heading = "Models that call models, each request")]
pub(crate) struct CompositionLimits {
    /// Calls of other models, all models of the request together; 0 lets none call another
    #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
    model_calls_max: u32,
    /// Models below the one that the client asked for, at most 8
    #[arg(long, default_value_t = 8, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=8))]
    model_depth_max: u32,
}

impl CompositionLimits {
    pub(crate) fn config(&self) -> CompositionConfig {
        CompositionConfig { calls_max: self.model_calls_max, depth_max: self.model_depth_max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        composition: CompositionLimits,
    }

    fn parsed(arguments: &[&str]) -> Option<CompositionConfig> {
        let all = std::iter::once("serve").chain(arguments.iter().copied());
        Some(Command::try_parse_from(all).ok()?.composition.config())
    }

    #[test]
    fn without_flags_the_limits_are_the_engines_and_each_has_a_flag() {
        assert_eq!(parsed(&[]), Some(CompositionConfig::default()));
        let both = parsed(&["--model-calls-max=3", "--model-depth-max=2"]);
        assert_eq!(both, Some(CompositionConfig { calls_max: 3, depth_max: 2 }));
        assert_eq!(parsed(&["--model-depth-max=9"]), None);
    }
}
