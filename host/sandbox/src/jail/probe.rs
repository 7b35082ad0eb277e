//! Trying the walls from inside: what a plugin that broke out of WebAssembly would try first.

use super::Walls;
use std::fs::File;
use std::io;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;

/// Something that must not succeed in the jail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried, in words.
    pub what: &'static str,
    /// Whether it was refused.
    pub refused: bool,
    /// The operating system's answer.
    pub answer: String,
}

/// Tries to get out. Call it in the jail only: outside it would succeed.
pub fn probe(walls: &Walls) -> Vec<Attempt> {
    vec![
        attempt("read a file", || File::open("/etc/passwd")),
        attempt("list a folder", || std::fs::read_dir("/")),
        attempt("write a file", || File::create(std::env::temp_dir().join("aimass-probe"))),
        attempt("read its parent's memory", || File::open(format!("/proc/{}/mem", parent()))),
        attempt("connect by TCP", || TcpStream::connect("127.0.0.1:9")),
        attempt("send by UDP", || UdpSocket::bind("127.0.0.1:0")),
        attempt("connect to a socket file", || UnixStream::connect("/run/aimass-probe")),
        attempt("listen on a socket file", || UnixListener::bind("/tmp/aimass-probe")),
        attempt("make a pair of sockets", UnixStream::pair),
        attempt("run a program", || Command::new("/bin/true").spawn()),
        attempt("signal its parent", signal_parent),
        attempt("raise its own limits", || raise_limit(walls)),
        attempt("enter namespaces", || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).map_err(io::Error::from)
        }),
        attempt("take more memory", || take(walls.memory_bytes_max)),
    ]
}

fn attempt<T>(what: &'static str, act: impl FnOnce() -> io::Result<T>) -> Attempt {
    match act() {
        Ok(_) => Attempt { what, refused: false, answer: "it succeeded".to_owned() },
        Err(error) => {
            // "Connection refused" and "not found" would be answers from outside.
            let kind = error.kind();
            let refused =
                matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::OutOfMemory);
            Attempt { what, refused, answer: error.to_string() }
        }
    }
}

fn parent() -> i32 {
    rustix::process::getppid().map_or(1, |pid| pid.as_raw_nonzero().get())
}

fn signal_parent() -> io::Result<()> {
    let parent = rustix::process::getppid().ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::test_kill_process(parent)?)
}

fn raise_limit(walls: &Walls) -> io::Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let more = walls.files_open_max.saturating_add(1);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: Some(more), maximum: Some(more) })?)
}

fn take(bytes: u64) -> io::Result<Vec<u8>> {
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    let mut memory = Vec::new();
    memory.try_reserve_exact(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    Ok(memory)
}
