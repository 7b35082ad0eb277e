//! Flags of `aimass serve` that bound what plugins may use, and what compiling them may take.

use aimass_engine::EngineConfig;
use aimass_sandbox::{CgroupUse, CompileLimits, Limits, WorkerConfig};
use clap::Args;
use std::time::Duration;

/// What one call of a plugin may use; a plugin's manifest can lower a bound, never raise it.
#[derive(Args, Clone)]
#[command(next_help_heading = "Plugins")]
pub(crate) struct PluginFlags {
    /// Instances that may be live at once [default: 1000, or what vm.max_map_count holds]
    #[arg(long, value_name = "INSTANCES")]
    instances_max: Option<u32>,
    /// Linear memory of one instance, at most 268435456
    #[arg(long, default_value_t = Limits::default().memory_bytes_max, value_name = "BYTES")]
    plugin_memory_bytes_max: usize,
    /// Host memory of the tensors that one call made and holds
    #[arg(long, default_value_t = Limits::default().host_bytes_max, value_name = "BYTES")]
    plugin_host_bytes_max: u64,
    /// Bytes of all outputs of one call
    #[arg(long, default_value_t = Limits::default().output_bytes_max, value_name = "BYTES")]
    plugin_output_bytes_max: u64,
    /// Calls of host functions that one call makes
    #[arg(long, default_value_t = Limits::default().host_calls_max, value_name = "CALLS")]
    plugin_host_calls_max: u64,
    /// Handles that one call holds at once
    #[arg(long, default_value_t = Limits::default().handles_max, value_name = "HANDLES")]
    plugin_handles_max: usize,
    /// Bytes that one host call takes out of the guest: the largest tensor made at once
    #[arg(long, default_value_t = Limits::default().host_copy_bytes_max, value_name = "BYTES")]
    plugin_copy_bytes_max: usize,
    /// Bytes of log messages of one call; more is dropped and counted
    #[arg(long, default_value_t = Limits::default().log_bytes_max, value_name = "BYTES")]
    plugin_log_bytes_max: u64,
    /// Pixels of a picture that a plugin may have decoded, width times height
    #[arg(long, default_value_t = Limits::default().image_pixels_max, value_name = "COUNT")]
    image_pixels_max: u64,
    /// Samples of a sound that a plugin may have decoded, of all channels together
    #[arg(long, default_value_t = Limits::default().audio_samples_max, value_name = "COUNT")]
    audio_samples_max: u64,
    /// Seconds of one call, beside the deadline of the request
    #[arg(long, default_value_t = Limits::default().wall_max.as_secs(), value_name = "SECONDS")]
    plugin_seconds_max: u64,
    /// Seconds of `init`
    #[arg(long, default_value_t = Limits::default().init_wall_max.as_secs(), value_name = "SECONDS")]
    plugin_init_seconds_max: u64,
    /// Seconds of `load` of a format plugin
    #[arg(long, default_value_t = Limits::default().load_wall_max.as_secs(), value_name = "SECONDS")]
    plugin_load_seconds_max: u64,
    /// Processor seconds of a compiling child, over all of its threads; a plugin that takes more is refused
    #[arg(long, default_value_t = CompileLimits::default().cpu_max.as_secs(), value_name = "SECONDS")]
    compile_cpu_seconds_max: u64,
    /// Seconds that compiling one plugin takes on a busy machine before it is given up and tried again later
    #[arg(long, default_value_t = CompileLimits::default().wall_max.as_secs(), value_name = "SECONDS")]
    compile_seconds_max: u64,
    /// Memory of a compiling child
    #[arg(long, default_value_t = CompileLimits::default().memory_bytes_max, value_name = "BYTES")]
    compile_memory_bytes_max: u64,
    /// Compiling children at work at once; further loads wait
    #[arg(long, default_value_t = CompileLimits::default().children_max, value_name = "CHILDREN")]
    compile_children_max: usize,
    /// Seconds until a compiling child or a worker process is ready
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    child_start_seconds_max: u64,
    /// Seconds until a model whose load failed for want of the machine, not for what it is, is loaded
    /// again; each further failure doubles them, up to 300
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    load_retry_seconds: u64,
    /// Worker processes at once, for publishers of tier `worker`
    #[arg(long, default_value_t = WorkerConfig::default().workers_max, value_name = "WORKERS")]
    workers_max: usize,
    /// Instances that may be live at once in one worker process
    #[arg(long, default_value_t = WorkerConfig::default().instances_max, value_name = "INSTANCES")]
    worker_instances_max: u32,
    /// Memory of one worker process
    #[arg(long, default_value_t = WorkerConfig::default().memory_bytes_max, value_name = "BYTES")]
    worker_memory_bytes_max: u64,
    /// Memory that the server shares with one worker process
    #[arg(long, default_value_t = WorkerConfig::default().shared_bytes_max, value_name = "BYTES")]
    worker_shared_bytes_max: u64,
    /// Milliseconds after a deadline until a worker process that does not answer is killed
    #[arg(long, default_value_t = WorkerConfig::default().grace.as_millis() as u64, value_name = "MS")]
    worker_grace_ms: u64,
    /// Seconds until a worker process that nobody calls is ended
    #[arg(long, default_value_t = WorkerConfig::default().idle_max.as_secs(), value_name = "SECONDS")]
    worker_idle_seconds_max: u64,
    /// Control groups around worker processes: `auto` (below the server's own group, if it is delegated to
    /// it), `off`, or the folder of a subtree of cgroup v2 that must serve
    #[arg(long, default_value = "auto", value_name = "WHERE", value_parser = cgroup_use)]
    worker_cgroup: CgroupUse,
}

fn cgroup_use(text: &str) -> Result<CgroupUse, String> {
    match text {
        "auto" => Ok(CgroupUse::Auto),
        "off" => Ok(CgroupUse::Off),
        path if path.starts_with('/') => Ok(CgroupUse::Below(path.into())),
        other => Err(format!("expected `auto`, `off` or an absolute path, got `{other}`")),
    }
}

impl PluginFlags {
    /// Sets the limits of plugins.
    pub(crate) fn apply(&self, config: &mut EngineConfig) {
        config.load_retry = Duration::from_secs(self.load_retry_seconds);
        let sandbox = &mut config.sandbox;
        sandbox.instances_max = self.instances_max;
        sandbox.limits = Limits {
            memory_bytes_max: self.plugin_memory_bytes_max.min(Limits::default().memory_bytes_max),
            host_bytes_max: self.plugin_host_bytes_max,
            output_bytes_max: self.plugin_output_bytes_max,
            host_calls_max: self.plugin_host_calls_max,
            handles_max: self.plugin_handles_max,
            host_copy_bytes_max: self.plugin_copy_bytes_max,
            log_bytes_max: self.plugin_log_bytes_max,
            image_pixels_max: self.image_pixels_max,
            audio_samples_max: self.audio_samples_max,
            wall_max: Duration::from_secs(self.plugin_seconds_max),
            init_wall_max: Duration::from_secs(self.plugin_init_seconds_max),
            load_wall_max: Duration::from_secs(self.plugin_load_seconds_max),
            ..Limits::default()
        };
        sandbox.child_start_max = Duration::from_secs(self.child_start_seconds_max);
        sandbox.compile = CompileLimits {
            cpu_max: Duration::from_secs(self.compile_cpu_seconds_max),
            wall_max: Duration::from_secs(self.compile_seconds_max),
            memory_bytes_max: self.compile_memory_bytes_max,
            children_max: self.compile_children_max,
        };
        sandbox.worker = WorkerConfig {
            workers_max: self.workers_max,
            instances_max: self.worker_instances_max,
            memory_bytes_max: self.worker_memory_bytes_max,
            shared_bytes_max: self.worker_shared_bytes_max,
            grace: Duration::from_millis(self.worker_grace_ms),
            idle_max: Duration::from_secs(self.worker_idle_seconds_max),
            cgroups: self.worker_cgroup.clone(),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_sandbox::SandboxConfig;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        plugins: PluginFlags,
    }

    fn config(line: &[&str]) -> EngineConfig {
        let mut config = EngineConfig::new("data");
        Line::parse_from(["serve"].iter().chain(line)).plugins.apply(&mut config);
        config
    }

    #[test]
    fn flags_become_limits_and_defaults_are_those_of_the_sandbox() {
        let plain = config(&[]);
        assert_eq!(plain.sandbox.limits, Limits::default());
        assert_eq!(plain.sandbox.compile, CompileLimits::default());
        assert_eq!(plain.sandbox.worker, WorkerConfig::default());
        assert_eq!(plain.load_retry, EngineConfig::new("data").load_retry);
        assert_eq!(plain.sandbox.child_start_max, SandboxConfig::new("").child_start_max);
        let line = ["--plugin-host-calls-max", "7", "--compile-seconds-max", "3"];
        let config = config(&[&line[..], &["--plugin-memory-bytes-max", "999999999"]].concat());
        assert_eq!(config.sandbox.limits.host_calls_max, 7);
        let below = CgroupUse::Below("/sys/fs/cgroup/aimass".into());
        assert_eq!(cgroup_use("/sys/fs/cgroup/aimass"), Ok(below));
        assert_eq!(cgroup_use("off"), Ok(CgroupUse::Off));
        assert!(cgroup_use("on").unwrap_err().contains("absolute path, got `on`"));
        assert_eq!(config.sandbox.compile.wall_max, Duration::from_secs(3));
        assert_eq!(config.sandbox.limits.memory_bytes_max, 256 << 20, "a slot has no more");
    }
}
