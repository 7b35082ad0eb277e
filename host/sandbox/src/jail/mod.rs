//! The jail: what a child process takes from itself before it touches a stranger's bytes.
//!
//! Compiling and, in the untrusted tier, running a plugin happen in children of the server that are
//! this same program again. A child walls itself in on its only thread, before any other exists:
//! namespaces of its own, limits on memory, time and files, no new privileges, Landlock without a
//! single rule (no file, no TCP, no signal to others), and a list of the few system calls that are left
//! (`syscalls`). What it needs it has already: open descriptors and memory.
//!
//! The system call filter must stand, or the child refuses its work, and for workers Landlock too, so that
//! what runs a stranger's code has two walls; namespaces are a third that some machines do not give.
//! [`probe()`] tries the walls from inside.

mod probe;
mod syscalls;

pub use probe::{Attempt, probe};

use landlock::{ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetStatus, Scope};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use std::io;
use std::time::Duration;

/// Newest Landlock that is asked for; older kernels give what they have.
const LANDLOCK: ABI = ABI::V6;
/// Namespaces that a child leaves its parent's for.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWUSER
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWNS)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// What a child is for; its list of system calls follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It compiles components: reads and writes pipes, and never makes memory executable.
    Compiler,
    /// It runs plugins: maps compiled code, and speaks over sockets that it was given.
    Worker,
}

/// How narrow a jail is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walls {
    /// What the child is for.
    pub role: Role,
    /// Private writable memory, in bytes (`RLIMIT_DATA`). Addresses that are only reserved are free.
    pub memory_bytes_max: u64,
    /// Processor time of the child from now on, over all of its threads; `None` does not end it.
    pub cpu_time_max: Option<Duration>,
    /// Descriptors open at once.
    pub files_open_max: u64,
}

/// Which walls stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How much of Landlock the kernel enforces: `full`, `partial` if it is older than what is asked, or
    /// `none`, which a compiler bears.
    pub landlock: &'static str,
    /// Why the child shares namespaces with its parent, if it does.
    pub shared_namespaces: Option<String>,
}

/// A jail that cannot be closed; the child must end without having read anything.
#[derive(Debug, thiserror::Error)]
pub enum JailError {
    /// Landlock covers threads made after it only.
    #[error("expected one thread when the jail closes, got {got}")]
    Threads {
        /// Threads of this process.
        got: usize,
    },
    /// The kernel does not know Landlock, or it is not enabled.
    #[error(
        "this kernel does not enforce Landlock; it needs Linux 5.13 or newer with `landlock` in the \
         boot parameter `lsm=`"
    )]
    NoLandlock,
    /// A wall could not be put up.
    #[error("{wall} could not be put up: {message}")]
    Wall {
        /// Which.
        wall: &'static str,
        /// The operating system's words.
        message: String,
    },
}

/// Closes the jail around this process. There is no way back.
///
/// Call it on the main thread before any other exists.
///
/// # Errors
/// [`JailError`]; some walls may stand already, so that all there is left to do is to end.
pub fn enter(walls: &Walls) -> Result<Report, JailError> {
    let threads = threads().map_err(|error| failed("the count of threads", error))?;
    if threads != 1 {
        return Err(JailError::Threads { got: threads });
    }
    let shared_namespaces = nix::sched::unshare(NAMESPACES).err().map(|error| error.to_string());
    limit(walls)?;
    // Neither siblings under the same user nor core dumps may look into this memory.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| failed("no dumps", error))?;
    let landlock = match (landlock(), walls.role) {
        (Ok(enforced), Role::Compiler | Role::Worker) => enforced,
        // What it would hold, the filter holds for a process that maps no code of its own.
        (Err(_), Role::Compiler) => "none",
        (Err(error), Role::Worker) => return Err(error),
    };
    syscalls::filter(walls.role)?;
    Ok(Report { landlock, shared_namespaces })
}

fn failed(wall: &'static str, error: impl std::fmt::Display) -> JailError {
    JailError::Wall { wall, message: error.to_string() }
}

fn threads() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

fn limit(walls: &Walls) -> Result<(), JailError> {
    let set_both = |resource, (current, maximum): (u64, u64), wall| {
        let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
        rustix::process::setrlimit(resource, limit).map_err(|error| failed(wall, error))
    };
    let set = |resource, most: u64, wall| set_both(resource, (most, most), wall);
    set(Resource::Data, walls.memory_bytes_max, "the memory limit")?;
    set(Resource::Nofile, walls.files_open_max, "the limit of descriptors")?;
    set(Resource::Core, 0, "the limit of core files")?;
    match walls.role {
        Role::Compiler => set(Resource::Fsize, 0, "the limit of file sizes")?,
        // Its only files are those that the host made and sized for its answers.
        Role::Worker => {}
    }
    match walls.cpu_time_max {
        Some(most) => {
            // Both end it by SIGXCPU, which tells it from a child that was killed. The timer is exact, the
            // limit counts whole seconds and cannot be caught beyond the second one.
            end_after(most).map_err(|error| failed("the timer", error))?;
            let seconds = most.as_secs().saturating_add(1);
            set_both(Resource::Cpu, (seconds, seconds.saturating_add(1)), "the time limit")
        }
        None => Ok(()),
    }
}

/// Ends this process by SIGXCPU when it has taken so much more processor time.
fn end_after(most: Duration) -> nix::Result<()> {
    let notify = SigevNotify::SigevSignal { signal: Signal::SIGXCPU, si_value: 0 };
    let mut timer = Timer::new(ClockId::CLOCK_PROCESS_CPUTIME_ID, SigEvent::new(notify))?;
    // A timer of 0 would never ring.
    let most = most.max(Duration::from_millis(1));
    timer.set(Expiration::OneShot(most.into()), TimerSetTimeFlags::empty())?;
    // For the life of the process.
    std::mem::forget(timer);
    Ok(())
}

fn landlock() -> Result<&'static str, JailError> {
    let wall = |error: landlock::RulesetError| failed("Landlock", error);
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(LANDLOCK)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
        .and_then(landlock::Ruleset::create)
        .map_err(wall)?;
    match ruleset.restrict_self().map_err(wall)?.ruleset {
        RulesetStatus::FullyEnforced => Ok("full"),
        RulesetStatus::PartiallyEnforced => Ok("partial"),
        RulesetStatus::NotEnforced => Err(JailError::NoLandlock),
    }
}
