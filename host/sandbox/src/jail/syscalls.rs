//! The system calls that are left in the jail: an allow-list, everything else answers `EPERM`.
//!
//! What the list is made of: memory, threads of this process, time, and descriptors that are open
//! already. Not on it: opening or naming any file, sockets, other processes, execution of programs,
//! tracing, mounts, keys, modules, `io_uring`, `userfaultfd`, `perf_event_open`, `bpf`. Some calls are
//! allowed for some arguments only: `clone` for threads, `prctl` for names, `ioctl` for what wasmtime's
//! pool asks of its own memory, `tgkill` for this process, and executable memory not for the compiler.

use super::{JailError, Role, failed};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// `PAGEMAP_SCAN` on `/proc/self/pagemap`, which wasmtime opened before the jail was closed.
const PAGEMAP_SCAN: u64 = 0xc060_6610;
/// `prctl` that names a mapping.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// Allowed whatever the arguments, in both roles.
const ALLOWED: &[i64] = &[
    // Memory; `mmap` and `mprotect` are below.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    // Descriptors that are open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_fcntl,
    libc::SYS_lseek,
    libc::SYS_ppoll,
    // Threads; `clone` is below, and `clone3` answers ENOSYS so that libc falls back to it.
    libc::SYS_clone3,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_membarrier,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals of this process, such as wasmtime's traps.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
];

/// What running plugins needs beside that: a socket that was given, and an event loop.
const ALLOWED_WORKER: &[i64] = &[
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_dup,
    libc::SYS_dup3,
];

/// The same calls under the older names of this architecture.
#[cfg(target_arch = "x86_64")]
const ALLOWED_ON_THIS_ARCHITECTURE: &[i64] = &[libc::SYS_poll, libc::SYS_epoll_wait];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_ON_THIS_ARCHITECTURE: &[i64] = &[];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs the filters on every thread of this process.
///
/// # Errors
/// [`JailError::Wall`] if the kernel refuses them.
pub(super) fn filter(role: Role) -> Result<(), JailError> {
    let errno = |number: i32| SeccompAction::Errno(number.unsigned_abs());
    let rules = rules(role).map_err(wall)?;
    let no_clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    install(no_clone3, SeccompAction::Allow, errno(libc::ENOSYS))?;
    install(rules, errno(libc::EPERM), SeccompAction::Allow)
}

fn install(rules: Rules, others: SeccompAction, these: SeccompAction) -> Result<(), JailError> {
    let architecture: TargetArch = std::env::consts::ARCH.try_into().map_err(wall)?;
    let filter = SeccompFilter::new(rules, others, these, architecture).map_err(wall)?;
    let program: BpfProgram = filter.try_into().map_err(wall)?;
    seccompiler::apply_filter_all_threads(&program).map_err(wall)
}

fn wall(error: impl std::fmt::Display) -> JailError {
    failed("the filter of system calls", error)
}

fn rules(role: Role) -> Result<Rules, seccompiler::BackendError> {
    let plain = ALLOWED.iter().chain(ALLOWED_ON_THIS_ARCHITECTURE);
    let mut rules: Rules = plain.map(|&call| (call, Vec::new())).collect();
    let process = u64::from(std::process::id());
    let thread = only_if(0, masked(libc::CLONE_THREAD), libc::CLONE_THREAD)?;
    rules.insert(libc::SYS_clone, vec![thread]);
    rules.insert(libc::SYS_tgkill, vec![equal(0, process)?]);
    let names = [libc::PR_SET_NAME.unsigned_abs().into(), PR_SET_VMA];
    let names: Result<Vec<_>, _> = names.map(|option| equal(0, option)).into_iter().collect();
    rules.insert(libc::SYS_prctl, names?);
    match role {
        Role::Compiler => {
            let not_executable = || only_if(2, masked(libc::PROT_EXEC), 0);
            rules.insert(libc::SYS_mmap, vec![not_executable()?]);
            rules.insert(libc::SYS_mprotect, vec![not_executable()?]);
        }
        Role::Worker => {
            rules.extend(ALLOWED_WORKER.iter().map(|&call| (call, Vec::new())));
            rules.insert(libc::SYS_mmap, Vec::new());
            rules.insert(libc::SYS_mprotect, Vec::new());
            let own = [PAGEMAP_SCAN, libc::FIONBIO, libc::FIOCLEX];
            let own: Result<Vec<_>, _> = own.map(|command| equal(1, command)).into_iter().collect();
            rules.insert(libc::SYS_ioctl, own?);
        }
    }
    Ok(rules)
}

fn masked(bits: i32) -> SeccompCmpOp {
    SeccompCmpOp::MaskedEq(u64::from(bits.unsigned_abs()))
}

fn only_if(
    argument: u8,
    compare: SeccompCmpOp,
    value: i32,
) -> Result<SeccompRule, seccompiler::BackendError> {
    let value = u64::from(value.unsigned_abs());
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)?;
    SeccompRule::new(vec![condition])
}

fn equal(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    let compare = SeccompCmpOp::Eq;
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)?;
    SeccompRule::new(vec![condition])
}
