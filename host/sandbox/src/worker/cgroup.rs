//! Control groups (cgroup v2) around worker processes, where a subtree is this server's to divide.
//!
//! A subtree is ours if the kernel gives it the controllers `memory` and `pids`, if it can be written, and if
//! nobody but this server is in it: systemd's `Delegate=yes` makes one, and many containers have one. The
//! server moves into the child `server`, since a group with processes cannot have children with limits, and
//! each worker into a child of its own. Elsewhere the limits of the jail hold alone.

use crate::limits::WorkerConfig;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Threads of a worker: one for guests, one that ticks, and those of compilations, as many as processors.
const THREADS_MAX: u32 = 512;
/// Where cgroup v2 is mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// What the name of a worker's group begins with.
const PREFIX: &str = "worker-";
/// Controllers that a worker's limits need.
const CONTROLLERS: [&str; 2] = ["memory", "pids"];

/// A subtree in which workers get groups.
pub(crate) struct Cgroups {
    root: PathBuf,
    /// Held while a group is made: an empty one is taken for one that is left over.
    making: Mutex<()>,
}

/// The group of one worker, which is removed with the value if its process has ended by then; else when
/// the next one is made.
pub(crate) struct Cgroup {
    folder: PathBuf,
}

impl Cgroups {
    /// The subtree that this process is in, or the one that is configured.
    ///
    /// # Errors
    /// In words: why there is none to use.
    pub(crate) fn open(configured: Option<&Path>) -> Result<Cgroups, String> {
        let root = match configured {
            Some(root) => root.to_owned(),
            None => own_group()?,
        };
        let cgroups = Cgroups { root, making: Mutex::new(()) };
        cgroups.check()?;
        cgroups.take().map_err(|error| cgroups.failed(&error.to_string()))?;
        Ok(cgroups)
    }

    /// A group with the limits of a worker, with this process in it.
    ///
    /// # Errors
    /// In words: what the kernel does not let us do.
    pub(crate) fn around(&self, pid: u32, config: &WorkerConfig) -> Result<Cgroup, String> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove_empty();
        let group = Cgroup { folder: self.root.join(format!("{PREFIX}{pid}")) };
        // Pages of shared memory are charged to whoever touches them first.
        let memory = config.memory_bytes_max.saturating_add(config.shared_bytes_max);
        let limits = [
            ("memory.max", memory.to_string()),
            ("memory.oom.group", "1".to_owned()),
            ("pids.max", THREADS_MAX.to_string()),
            ("cgroup.procs", pid.to_string()),
        ];
        let made = match fs::create_dir(&group.folder) {
            // Of a worker that an earlier server left behind, and something is still in it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        made.map_err(|error| self.failed(&error.to_string()))?;
        for (file, value) in limits {
            let written = fs::write(group.folder.join(file), value);
            written.map_err(|error| self.failed(&format!("{PREFIX}{pid}/{file}: {error}")))?;
        }
        Ok(group)
    }

    /// Removes groups of workers that have ended since; the kernel keeps those in which somebody is.
    fn remove_empty(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                let _ = fs::remove_dir(entry.path());
            }
        }
    }

    /// Whether the subtree has what workers need, and nobody else in it.
    fn check(&self) -> Result<(), String> {
        let read = |file: &str| {
            let text = fs::read_to_string(self.root.join(file));
            text.map_err(|error| self.failed(&format!("{file}: {error}")))
        };
        let controllers = read("cgroup.controllers")?;
        let has = |wanted: &&str| controllers.split_whitespace().any(|one| one == *wanted);
        if let Some(missing) = CONTROLLERS.iter().find(|wanted| !has(wanted)) {
            return Err(self.failed(&format!("it has no controller `{missing}`")));
        }
        let own = std::process::id().to_string();
        match read("cgroup.procs")?.split_whitespace().filter(|pid| *pid != own).count() {
            0 => Ok(()),
            others => Err(self.failed(&format!("{others} other processes are in it"))),
        }
    }

    /// Makes room for groups with limits: a group that has some holds no process itself.
    fn take(&self) -> io::Result<()> {
        let server = self.root.join("server");
        match fs::create_dir(&server) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) | Ok(()) => {}
        }
        fs::write(server.join("cgroup.procs"), std::process::id().to_string())?;
        fs::write(self.root.join("cgroup.subtree_control"), "+memory +pids")
    }

    fn failed(&self, why: &str) -> String {
        format!("the control group {}: {why}", self.root.display())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Its process may not be quite gone yet.
        let _ = fs::remove_dir(&self.folder);
    }
}

/// The group of this process, as `/proc/self/cgroup` tells it.
fn own_group() -> Result<PathBuf, String> {
    let text = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
    let path = path_in(&text).ok_or("this process is in no group of cgroup v2")?;
    // Another server of this subtree moved into the child before.
    let path = path.strip_suffix("/server").unwrap_or(path);
    Ok(Path::new(MOUNT).join(path.trim_start_matches('/')))
}

/// The path of cgroup v2, which is number 0 of a list that may name groups of version 1, too.
fn path_in(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a subtree.
    fn subtree(controllers: &str, processes: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), controllers).unwrap();
        fs::write(root.path().join("cgroup.procs"), processes).unwrap();
        root
    }

    #[test]
    fn a_worker_gets_a_group_with_its_limits_which_ends_with_it() {
        let own = std::process::id();
        let root = subtree("cpu memory pids\n", &format!("{own}\n"));
        let read = |file: &str| fs::read_to_string(root.path().join(file)).unwrap();
        let cgroups = Cgroups::open(Some(root.path())).unwrap();
        assert_eq!(read("server/cgroup.procs"), own.to_string());
        assert_eq!(read("cgroup.subtree_control"), "+memory +pids");
        let config = WorkerConfig {
            memory_bytes_max: 1 << 20,
            shared_bytes_max: 1 << 10,
            ..WorkerConfig::default()
        };
        let ended = root.path().join("worker-4710");
        fs::create_dir(&ended).unwrap();
        let group = cgroups.around(4711, &config).unwrap();
        assert!(!ended.exists(), "a group that nobody is in any more is removed with the next one");
        assert!(root.path().join("server").exists());
        let _other = cgroups.around(4712, &config).unwrap();
        assert_eq!(read("worker-4711/memory.max"), "1049600");
        assert_eq!(read("worker-4711/memory.oom.group"), "1");
        assert_eq!(read("worker-4711/pids.max"), "512");
        assert_eq!(read("worker-4711/cgroup.procs"), "4711");
        // In a real subtree the files are the kernel's and go with the folder.
        for file in fs::read_dir(root.path().join("worker-4711")).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        drop(group);
        assert!(!root.path().join("worker-4711").exists());
    }

    #[test]
    fn a_subtree_that_is_not_ours_is_left_alone_and_told() {
        let own = std::process::id();
        for (controllers, processes, expected) in [
            ("cpu memory", format!("{own}\n"), "no controller `pids`"),
            ("", format!("{own}\n"), "no controller `memory`"),
            ("memory pids", format!("{own}\n1\n2\n"), "2 other processes"),
        ] {
            let root = subtree(controllers, &processes);
            let error = Cgroups::open(Some(root.path())).err().unwrap();
            assert!(error.contains(expected), "{error}");
            assert!(!root.path().join("server").exists());
        }
        let error = Cgroups::open(Some(Path::new("/nowhere"))).err().unwrap();
        assert!(error.starts_with("the control group /nowhere: "), "{error}");
    }

    #[test]
    fn the_group_of_version_2_is_found_among_others() {
        assert_eq!(
            path_in("8:pids:/a\n1:cpu:/b\n0::/system.slice/aimass.service\n"),
            Some("/system.slice/aimass.service")
        );
        assert_eq!(path_in("8:pids:/a\n"), None);
    }
}
