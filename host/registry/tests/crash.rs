//! What a registry holds after its process is killed, and with several processes at once.
//!
//! The tests start this test binary again as a child ([`child`]), which works on a registry and
//! prints a line before and after every call. The parent kills it and compares the registry with
//! what the child had acknowledged.

#![expect(clippy::unwrap_used, reason = "a test stops at its first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aimass_registry::{
    FailPoint, FailPoints, InitialState, Limits, ModelRelease, NoFailPoints, PluginRelease,
    Registry, RegistryError, Selector, SignedRelease, VersionState,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const CHILD: &str = "AIMASS_REGISTRY_TEST_CHILD";
const FILES: u64 = 3;

/// A small repeatable random generator (SplitMix64).
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Content of file `index` of the version with this id: up to 300 bytes, derived from both.
fn content(id: u64, index: u64) -> Vec<u8> {
    let mut seeded = Seeded(id.wrapping_mul(31).wrapping_add(index));
    let bytes = seeded.below(300);
    (0..bytes).map(|_| seeded.next().to_le_bytes()[0]).collect()
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1)
}

fn publish(registry: &Registry, id: u64, state: InitialState) -> Result<u64, RegistryError> {
    let mut staged = registry.stage_model("minilm")?;
    staged.add_bytes("id", id.to_string().as_bytes())?;
    for index in 0..FILES {
        staged.add_bytes(&format!("part/{index}"), &content(id, index))?;
    }
    let model_toml = format!("id = {id}");
    let locks = BTreeMap::new();
    let release = ModelRelease {
        model_toml: &model_toml,
        statement: b"{}",
        signed: SignedRelease { name: "acme/minilm", sequence: 1, digest: [1; 32] },
        locks,
        state,
        fixture_report: None,
    };
    staged.commit(release, now())
}

fn publish_plugin(registry: &Registry, wasm: &[u8], sequence: u64) -> Result<(), RegistryError> {
    let release = PluginRelease {
        wasm,
        dsse: &sequence.to_le_bytes(),
        name: "acme/upper",
        version: &format!("0.0.{}", wasm.len()),
        digest: Sha256::digest(wasm).into(),
        world: "w",
        publisher: "acme",
        sequence,
    };
    registry.publish_plugin(release, now()).map(|_| ())
}

/// Checks every visible version byte by byte, every label and every plugin; returns the id and
/// state of each version.
fn check_whole(registry: &Registry) -> BTreeMap<u64, (u64, VersionState)> {
    let snapshot = registry.snapshot().unwrap();
    let mut versions = BTreeMap::new();
    for model in &snapshot.models {
        for record in &model.versions {
            let version =
                registry.resolve(&model.name, &Selector::Version(record.version)).unwrap();
            version.verify().unwrap();
            let id = version.open("id").unwrap();
            let id: u64 = std::str::from_utf8(&id).unwrap().parse().unwrap();
            assert_eq!(version.files().len() as u64, FILES + 1);
            for index in 0..FILES {
                let part = version.open(&format!("part/{index}")).unwrap();
                assert_eq!(part[..], content(id, index), "version {} part {index}", record.version);
            }
            assert_eq!(version.model_toml().unwrap(), format!("id = {id}"));
            versions.insert(record.version, (id, record.state.clone()));
        }
        for (label, version) in &model.labels {
            let (_, state) = &versions[version];
            assert_eq!(*state, VersionState::Ready, "label {label}");
        }
    }
    for plugin in &snapshot.plugins {
        registry.read_plugin(&plugin.digest).unwrap();
    }
    versions
}

/// After a sweep nothing lies on the disk but the visible versions and plugins.
fn check_no_leftovers(registry: &Registry) {
    registry.sweep().unwrap();
    check_folders(registry);
}

/// What lies on the disk must be exactly the visible versions and plugins.
fn check_folders(registry: &Registry) {
    let names = |path: &str| -> BTreeSet<String> {
        let Ok(entries) = std::fs::read_dir(registry.dir().join(path)) else {
            return BTreeSet::new();
        };
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert_eq!(names("staging"), BTreeSet::new());
    assert_eq!(names("trash"), BTreeSet::new());
    let snapshot = registry.snapshot().unwrap();
    assert_eq!(names("plugins").len(), snapshot.plugins.len());
    let versions = snapshot.models.iter().flat_map(|model| &model.versions);
    let expected: BTreeSet<String> = versions.map(|v| v.version.to_string()).collect();
    assert_eq!(names("models/minilm"), expected);
}

// ---- The child -------------------------------------------------------------------------------

/// Runs as a test, but does something only as a child: `<what>:<folder>:<seed>`.
#[test]
fn child() {
    let Ok(task) = std::env::var(CHILD) else {
        return;
    };
    let [what, dir, seed] = task.split(':').collect::<Vec<_>>()[..] else { panic!("{task}") };
    let seed = seed.parse().unwrap();
    match what {
        "work" => work(Path::new(dir), seed),
        "publish" => publish_many(Path::new(dir), seed),
        other => die_at(Path::new(dir), other.parse().unwrap(), seed),
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "\n#{line}").and_then(|()| out.flush()).unwrap();
}

/// Publishes, labels, rolls back and removes until somebody kills it.
fn work(dir: &Path, seed: u64) {
    let mut seeded = Seeded(seed);
    let registry = Registry::open(dir, Limits::default()).unwrap();
    say("open");
    loop {
        let models = registry.models().unwrap();
        let versions = models.first().map_or(&[][..], |m| &m.versions);
        let ready: Vec<u64> =
            versions.iter().filter(|v| v.state == VersionState::Ready).map(|v| v.version).collect();
        let any = |seeded: &mut Seeded| ready[seeded.below(ready.len() as u64) as usize];
        match seeded.below(10) {
            0..4 if versions.len() < 12 => publish_one(&registry, &mut seeded),
            4..7 if !ready.is_empty() => {
                let version = any(&mut seeded);
                say(&format!("label? {version}"));
                registry.set_label("minilm", "stable", version, now()).unwrap();
                say(&format!("label {version}"));
            }
            7..9 => {
                say("rollback?");
                match registry.rollback("minilm", "stable", now()) {
                    Ok(version) => say(&format!("label {version}")),
                    Err(_) => say("unchanged"),
                }
            }
            0..4 | 9 if versions.len() > 4 => {
                let at = seeded.below(versions.len() as u64);
                let version = versions[at as usize].version;
                say(&format!("remove? {version}"));
                match registry.remove("minilm", version) {
                    Ok(()) => say(&format!("remove {version}")),
                    Err(_) => say("unchanged"),
                }
                registry.sweep().unwrap();
            }
            _ => {}
        }
    }
}

fn publish_one(registry: &Registry, seeded: &mut Seeded) {
    let id = seeded.next();
    if seeded.below(2) == 0 {
        let version = publish(registry, id, InitialState::Ready).unwrap();
        say(&format!("publish {version} {id}"));
        return;
    }
    let version = publish(registry, id, InitialState::Pending).unwrap();
    say(&format!("publish {version} {id}"));
    registry.mark_ready("minilm", version, "passed").unwrap();
    say(&format!("ready {version}"));
}

fn publish_many(dir: &Path, seed: u64) {
    let mut seeded = Seeded(seed);
    let registry = Registry::open(dir, Limits::default()).unwrap();
    for _ in 0..20 {
        publish_one(&registry, &mut seeded);
    }
}

struct AbortAt {
    point: FailPoint,
    after: AtomicU64,
}

impl FailPoints for AbortAt {
    fn hit(&self, point: FailPoint) -> io::Result<()> {
        if point == self.point && self.after.fetch_sub(1, Ordering::SeqCst) == 0 {
            // As a kill does: no destructor runs and nothing is flushed.
            std::process::abort();
        }
        Ok(())
    }
}

fn die_at(dir: &Path, point: usize, after: u64) {
    let points = AbortAt { point: FailPoint::ALL[point], after: AtomicU64::new(after) };
    let registry = Registry::open_with(dir, Limits::default(), Arc::new(points)).unwrap();
    script(&registry, say).unwrap();
    say("end");
}

/// One of everything that writes; `done` hears of each step after it returned.
fn script(registry: &Registry, mut done: impl FnMut(&str)) -> Result<(), RegistryError> {
    publish(registry, 10, InitialState::Ready)?;
    done("publish 1 10");
    publish(registry, 20, InitialState::Pending)?;
    done("publish 2 20");
    registry.mark_ready("minilm", 2, "")?;
    done("ready 2");
    registry.set_label("minilm", "stable", 1, now())?;
    done("label 1");
    registry.set_label("minilm", "stable", 2, now())?;
    done("label 2");
    registry.rollback("minilm", "stable", now())?;
    done("label 1");
    publish_plugin(registry, b"a", 1)?;
    done("plugin 1");
    publish_plugin(registry, b"a", 2)?;
    done("plugin 2");
    publish_plugin(registry, b"bb", 3)?;
    done("plugin 3");
    registry.remove("minilm", 2)?;
    done("remove 2");
    registry.sweep()?;
    Ok(())
}

// ---- The parent ------------------------------------------------------------------------------

/// A folder in memory where there is one: a killed process loses no page cache, so that waiting
/// for a disk would prove nothing more.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn start(what: &str, dir: &Path, seed: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{what}:{}:{seed}", dir.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lines that a child said, up to its end. A line cut by the kill has no `\n` and is dropped.
fn said(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let out = BufReader::new(child.stdout.take().unwrap());
    out.split(b'\n').map_while(Result::ok).filter_map(|line| {
        let line = String::from_utf8(line).unwrap();
        line.strip_prefix('#').map(str::to_owned)
    })
}

/// What the child acknowledged, and what it had begun when it died.
#[derive(Default)]
struct Acknowledged {
    versions: BTreeMap<u64, u64>,
    ready: BTreeSet<u64>,
    removed: BTreeSet<u64>,
    label: Option<u64>,
    plugin_sequence: u64,
    begun: String,
}

impl Acknowledged {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        self.begun.clear();
        match words[0] {
            "publish" => assert_eq!(self.versions.insert(number(1), number(2)), None, "{line}"),
            "ready" => assert!(self.ready.insert(number(1))),
            "label" => self.label = Some(number(1)),
            "remove" => assert!(self.removed.insert(number(1))),
            "plugin" => self.plugin_sequence = number(1),
            "label?" | "rollback?" | "remove?" => self.begun = line.to_owned(),
            "open" | "unchanged" | "end" => {}
            other => panic!("{other}"),
        }
    }

    /// Compares the registry with the acknowledgements; an unacknowledged call may have happened.
    fn check(&mut self, registry: &Registry) {
        let visible = check_whole(registry);
        for (version, id) in &self.versions {
            let begun_removal = self.begun == format!("remove? {version}");
            match visible.get(version) {
                Some((found, state)) => {
                    assert_eq!(found, id, "version {version}");
                    assert!(!self.removed.contains(version), "{version} came back");
                    if self.ready.contains(version) {
                        assert_eq!(*state, VersionState::Ready, "version {version}");
                    }
                }
                None if begun_removal => {
                    self.removed.insert(*version);
                }
                None => assert!(self.removed.contains(version), "version {version} is lost"),
            }
        }
        let label = registry.resolve("minilm", &Selector::Label("stable".into()));
        let label = label.map(|v| v.version()).ok();
        let may_have_moved = match self.begun.split_once("label? ") {
            Some((_, to)) => label == Some(to.parse().unwrap()),
            None => self.begun == "rollback?",
        };
        assert!(label == self.label || may_have_moved, "{label:?}, acknowledged {:?}", self.label);
        self.label = label;
        // What was published just before the kill is there, whole, and counts from now on.
        for (version, (id, _)) in visible {
            self.versions.insert(version, id);
        }
    }
}

#[test]
fn two_hundred_kills_lose_nothing_acknowledged_and_show_nothing_half() {
    let dir = folder();
    let mut seeded = Seeded(1);
    let mut acknowledged = Acknowledged::default();
    let mut published = 0;
    for round in 0..200 {
        let mut child = start("work", dir.path(), round);
        let mut lines = said(&mut child);
        assert_eq!(lines.next().as_deref(), Some("open"), "round {round}");
        // A few calls later, at a moment somewhere within the next one.
        for line in lines.by_ref().take(seeded.below(8) as usize) {
            acknowledged.hear(&line);
        }
        std::thread::sleep(Duration::from_micros(seeded.below(3_000)));
        child.kill().unwrap();
        for line in lines {
            acknowledged.hear(&line);
        }
        child.wait().unwrap();
        let registry = Registry::open(dir.path(), Limits::default()).unwrap();
        acknowledged.check(&registry);
        check_no_leftovers(&registry);
        published = acknowledged.versions.len();
    }
    eprintln!("{published} versions published, {} removed", acknowledged.removed.len());
    assert!(
        published > 100,
        "only {published} versions: the kills came too early to mean anything"
    );
    assert!(!acknowledged.removed.is_empty() && acknowledged.label.is_some());
}

/// Runs the child once for every point and every time that the script passes it.
#[test]
fn a_death_at_every_named_point_loses_nothing_acknowledged() {
    for (index, point) in FailPoint::ALL.into_iter().enumerate() {
        let mut deaths = 0;
        loop {
            let dir = folder();
            let mut child = start(&index.to_string(), dir.path(), deaths);
            let mut acknowledged = Acknowledged::default();
            let mut ended = false;
            for line in said(&mut child) {
                acknowledged.hear(&line);
                ended |= line == "end";
            }
            let status = child.wait().unwrap();
            if ended {
                assert!(status.success() && deaths > 0, "{point:?} was never passed");
                break;
            }
            assert!(!status.success());
            deaths += 1;
            check_after_death(dir.path(), acknowledged, point);
        }
    }
}

fn check_after_death(dir: &Path, mut acknowledged: Acknowledged, point: FailPoint) {
    let registry = Registry::open(dir, Limits::default()).unwrap();
    // Every step of the script after the last acknowledged one may be the one that was cut.
    let label = registry.resolve("minilm", &Selector::Label("stable".into())).ok();
    acknowledged.label = label.map(|v| v.version()).or(acknowledged.label);
    acknowledged.begun = "remove? 2".into();
    acknowledged.check(&registry);
    check_no_leftovers(&registry);
    let highest = registry.highest_sequence("acme/upper").unwrap().unwrap_or(0);
    let next = acknowledged.plugin_sequence + 1;
    assert!((acknowledged.plugin_sequence..=next).contains(&highest), "{point:?}: {highest}");
    let count = registry.versions("minilm").map_or(0, |v| v.len() as u64);
    let version = publish(&registry, 99, InitialState::Ready).unwrap();
    assert!(version > count, "{point:?}: version {version} was used before");
    check_whole(&registry);
}

struct FailAt {
    point: FailPoint,
    after: AtomicU64,
}

impl FailPoints for FailAt {
    fn hit(&self, point: FailPoint) -> io::Result<()> {
        if point == self.point && self.after.fetch_sub(1, Ordering::SeqCst) == 0 {
            return Err(io::Error::other("no space left on the test's device"));
        }
        Ok(())
    }
}

#[test]
fn a_failure_at_every_named_point_leaves_a_registry_that_goes_on() {
    for point in FailPoint::ALL {
        for after in 0.. {
            let dir = folder();
            Registry::open(dir.path(), Limits::default()).unwrap();
            let points = Arc::new(FailAt { point, after: AtomicU64::new(after) });
            let opened = Registry::open_with(dir.path(), Limits::default(), points);
            let mut acknowledged = Acknowledged::default();
            let result = opened.and_then(|registry| {
                let result = script(&registry, |step| acknowledged.hear(step));
                result.inspect_err(|_| {
                    // The same process goes on, and has cleaned up what its publish left.
                    check_whole(&registry);
                    if acknowledged.plugin_sequence < 3 {
                        check_folders(&registry);
                    }
                    check_no_leftovers(&registry);
                })
            });
            if let Err(error) = &result {
                assert!(error.to_string().contains("the test's device"), "{point:?}: {error}");
            }
            if result.is_ok() {
                assert!(after > 0, "{point:?} was never passed");
                break;
            }
            check_after_death(dir.path(), acknowledged, point);
        }
    }
}

#[test]
fn processes_that_publish_at_once_get_versions_of_their_own() {
    let dir = folder();
    let points = Arc::new(NoFailPoints);
    let registry = Registry::open_with(dir.path(), Limits::default(), points).unwrap();
    let mut children: Vec<Child> = (0..3).map(|seed| start("publish", dir.path(), seed)).collect();
    let readers: Vec<_> = children
        .iter_mut()
        .map(|child| {
            let lines = said(child);
            std::thread::spawn(move || lines.collect::<Vec<String>>())
        })
        .collect();
    // Commands come and go meanwhile; each sweeps, and none may take a publish under way.
    let mut sweeps = 0;
    while !readers.iter().all(std::thread::JoinHandle::is_finished) {
        Registry::open(dir.path(), Limits::default()).unwrap();
        check_whole(&registry);
        sweeps += 1;
    }
    let mut acknowledged = Acknowledged::default();
    for (mut child, reader) in children.into_iter().zip(readers) {
        reader.join().unwrap().iter().for_each(|line| acknowledged.hear(line));
        assert!(child.wait().unwrap().success());
    }
    let versions: Vec<u64> = acknowledged.versions.keys().copied().collect();
    assert_eq!(versions, (1..=60).collect::<Vec<u64>>());
    assert!(sweeps > 0);
    acknowledged.check(&registry);
    check_no_leftovers(&registry);
}
