//! Every bound of the sandbox, with its default.

use std::path::PathBuf;
use std::time::Duration;

/// How the sandbox is set up: where it keeps compiled components, and its limits.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// Folder of compiled components and of the key that authenticates them. Made if missing.
    pub cache_dir: PathBuf,
    /// Bytes that the folder may hold; the entries used longest ago go first. Default 8 GiB.
    pub cache_bytes_max: u64,
    /// Instances that may be live at once; `None` derives it from `vm.max_map_count`, at most 1,000.
    pub instances_max: Option<u32>,
    /// Whether guests' instructions are counted. It slows them (28 % were measured), so that only tools
    /// turn it on; deadlines do not need it. Default no.
    pub metering: bool,
    /// Bounds of one call.
    pub limits: Limits,
    /// Bounds of a component before it is compiled.
    pub admission: AdmissionLimits,
    /// Bounds of compiling it.
    pub compile: CompileLimits,
    /// The program of child processes: one that answers the hidden subcommands as `aimass` does.
    /// `None` compiles in this process, where only the admission limits hold a bomb: for tools and tests that
    /// run code of their own.
    pub child_program: Option<PathBuf>,
    /// Time in which a child must have closed its jail, the worker's its engine built, too. A machine that
    /// cannot do that is busy: what waited for the child may be tried again. Default 30 seconds.
    pub child_start_max: Duration,
    /// Worker processes of the untrusted tier, which need a `child_program`.
    pub worker: WorkerConfig,
}

/// How plugins of the untrusted tier run: in processes of their own, one for each tenant and publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerConfig {
    /// Worker processes at once, the spare one not counted. Default 32.
    pub workers_max: usize,
    /// Instances that may be live at once in one worker. Default 64.
    pub instances_max: u32,
    /// Memory of one worker in bytes, shared memory not counted. Default 4 GiB.
    pub memory_bytes_max: u64,
    /// Bytes of memory that the host shares with one worker for the messages of its calls. Default 1 GiB.
    pub shared_bytes_max: u64,
    /// Time after a call's deadline in which its worker must answer; one that does not is killed. Default
    /// 250 ms.
    pub grace: Duration,
    /// Time after which a worker that nobody calls is ended. Default 5 minutes.
    pub idle_max: Duration,
    /// Control groups around workers, beside the limits of their jail.
    pub cgroups: CgroupUse,
}

/// Whether workers get control groups (cgroup v2) of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum CgroupUse {
    /// If the group that this process is in is delegated to it: the default.
    #[default]
    Auto,
    /// No.
    Off,
    /// In this subtree, or workers do not start.
    Below(PathBuf),
}

impl Default for WorkerConfig {
    fn default() -> WorkerConfig {
        WorkerConfig {
            workers_max: 32,
            instances_max: 64,
            memory_bytes_max: 4 << 30,
            shared_bytes_max: 1 << 30,
            grace: Duration::from_millis(250),
            idle_max: Duration::from_secs(300),
            cgroups: CgroupUse::Auto,
        }
    }
}

impl SandboxConfig {
    /// The defaults, with this cache folder.
    pub fn new(cache_dir: impl Into<PathBuf>) -> SandboxConfig {
        SandboxConfig {
            cache_dir: cache_dir.into(),
            cache_bytes_max: 8 << 30,
            instances_max: None,
            metering: false,
            limits: Limits::default(),
            admission: AdmissionLimits::default(),
            compile: CompileLimits::default(),
            child_program: None,
            child_start_max: Duration::from_secs(30),
            worker: WorkerConfig::default(),
        }
    }
}

/// What compiling one component may take, in the child process that does it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileLimits {
    /// Processor time of a child, over all of its threads; a component that takes more is refused as too
    /// complex, however fast the machine is. Default 240 seconds.
    pub cpu_max: Duration,
    /// Wall time of one compilation, waiting for a turn not included. One that takes longer without its
    /// processor time shows a busy machine, not a bad component. Default 10 minutes.
    pub wall_max: Duration,
    /// Memory of a child in bytes. Default 2 GiB.
    pub memory_bytes_max: u64,
    /// Children at work at once; further loads wait. Default 2.
    pub children_max: usize,
}

impl Default for CompileLimits {
    fn default() -> CompileLimits {
        CompileLimits {
            cpu_max: Duration::from_secs(240),
            wall_max: Duration::from_secs(600),
            memory_bytes_max: 2 << 30,
            children_max: 2,
        }
    }
}

/// What one call of a plugin may use. A manifest can lower a bound, never raise it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of the instance in bytes. Default 256 MiB, which is also the most.
    pub memory_bytes_max: usize,
    /// Host memory of tensors that the call made and still holds, in bytes. Default 1 GiB.
    pub host_bytes_max: u64,
    /// Bytes of all outputs together. Default 256 MiB.
    pub output_bytes_max: u64,
    /// Handles held at once. Default 1,000.
    pub handles_max: usize,
    /// Calls of host functions. Default 1,000,000.
    pub host_calls_max: u64,
    /// Bytes that one host call may take out of the guest: the largest tensor that a plugin can
    /// create at once. Default 16 MiB.
    pub host_copy_bytes_max: usize,
    /// Bytes that one read may give to the guest. Default 64 MiB.
    pub read_bytes_max: u64,
    /// Pixels of a picture that `media` decodes, width times height. Default 64 Mi. Decoding is charged
    /// to `host_bytes_max` beside, working memory included.
    pub image_pixels_max: u64,
    /// Samples of a sound that `media` decodes, of all channels together. Default 64 Mi.
    pub audio_samples_max: u64,
    /// Bytes of log messages; more is dropped and counted. Default 64 KiB.
    pub log_bytes_max: u64,
    /// Wall time of a call, beside the deadline of the request. Default 5 minutes.
    pub wall_max: Duration,
    /// Wall time of `init`. Default 30 seconds.
    pub init_wall_max: Duration,
    /// Wall time of `load` of the world `format`, compilation of its graphs not included. Default 10
    /// minutes.
    pub load_wall_max: Duration,
    /// Wall time of one `trace` or `resume` of the world `tracing-format`, compilation not included.
    /// Default 1 minute.
    pub trace_wall_max: Duration,
    /// Stages of one trace. Default 4,096.
    pub trace_stages_max: usize,
    /// Graphs under construction or finished that the call holds at once. Default 64.
    pub graphs_max: usize,
}

/// Most linear memory that any instance can have; the size of a slot of the pool.
pub(crate) const MEMORY_BYTES_MAX: usize = 256 << 20;

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes_max: MEMORY_BYTES_MAX,
            host_bytes_max: 1 << 30,
            output_bytes_max: 256 << 20,
            handles_max: 1_000,
            host_calls_max: 1_000_000,
            host_copy_bytes_max: 16 << 20,
            read_bytes_max: 64 << 20,
            image_pixels_max: 64 << 20,
            audio_samples_max: 64 << 20,
            log_bytes_max: 64 << 10,
            wall_max: Duration::from_secs(300),
            init_wall_max: Duration::from_secs(30),
            load_wall_max: Duration::from_secs(600),
            trace_wall_max: Duration::from_secs(60),
            trace_stages_max: 4_096,
            graphs_max: 64,
        }
    }
}

/// What a component may look like. Compilation time grows far faster than size (32 KB of nested
/// loops over many locals took 69 s), so these are checked before the compiler sees a byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Bytes of the component. Default 64 MiB.
    pub component_bytes_max: usize,
    /// Core modules inside. Default 64: a Python plugin is an interpreter of shared libraries, 38 modules
    /// with the stubs that stand in for WASI.
    pub modules_max: u32,
    /// Core instances and component instances, those that only rename exports included. Default 256; a
    /// Python plugin has 114. Instances that hold code are bounded by the pool as well, at 64.
    pub instances_max: u32,
    /// Nested components. Default 16: adapters of a few interfaces.
    pub components_max: u32,
    /// Functions with code, of all modules together. Default 50,000.
    pub functions_max: u32,
    /// Bytes of one function body. Default 512 KiB.
    pub function_bytes_max: usize,
    /// Locals of one function beside its parameters. Default 5,000.
    pub locals_max: u32,
    /// Blocks, loops and ifs inside one another. Default 1,000.
    pub nesting_max: u32,
    /// Loops inside one another. Default 40.
    pub loop_nesting_max: u32,
    /// Deepest loop nesting times locals of one function. Default 20,000.
    pub loop_locals_max: u64,
    /// Branch targets of one function's branch tables. Default 20,000.
    pub branch_targets_max: u32,
    /// Types of all kinds together. Default 20,000.
    pub types_max: u32,
    /// Steps of holding a configuration against the manifest's schema: schemas, keywords and values that
    /// meet. Default 1,000,000.
    pub config_steps_max: u64,
}

impl Default for AdmissionLimits {
    fn default() -> AdmissionLimits {
        AdmissionLimits {
            component_bytes_max: 64 << 20,
            modules_max: 64,
            instances_max: 256,
            components_max: 16,
            functions_max: 50_000,
            function_bytes_max: 512 << 10,
            locals_max: 5_000,
            nesting_max: 1_000,
            loop_nesting_max: 40,
            loop_locals_max: 20_000,
            branch_targets_max: 20_000,
            types_max: 20_000,
            config_steps_max: 1_000_000,
        }
    }
}
