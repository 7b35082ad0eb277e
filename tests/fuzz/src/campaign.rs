//! A campaign: executions of one target, and what they came to.

use crate::{Mutator, digest};
use anyhow::Context;
use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Inputs that a campaign keeps at most.
const CORPUS_MAX: usize = 20_000;
/// What takes longer is run twice, since a busy or paused machine is slow, too.
const SLOW: Duration = Duration::from_millis(50);
/// Exit status of a process whose target did not come back.
const HANG_STATUS: i32 = 3;

/// What is run, how often, and where what it finds goes.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Folder of inputs to start from; those of one name are read in the order of their names.
    pub corpus: PathBuf,
    /// Folder for inputs that crash or hang. Made when it is needed.
    pub findings: PathBuf,
    /// Executions beside those of the corpus.
    pub executions: u64,
    /// No execution begins after this.
    pub time_max: Duration,
    /// An execution that takes longer ends the process, with its input kept.
    pub hang_max: Duration,
    /// An execution that holds more memory at once is a crash.
    pub bytes_max: usize,
    /// Decides every mutation.
    pub seed: u64,
}

/// What a campaign came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Executions, those of the corpus included.
    pub executions: u64,
    /// Executions that crashed.
    pub crashes: u64,
    /// First words of different crashes.
    pub kinds: BTreeSet<String>,
    /// Inputs whose events were new, the first corpus included.
    pub corpus: Vec<Vec<u8>>,
    /// Different events.
    pub events: usize,
    /// Bytes that one execution held at most.
    pub peak_bytes: usize,
    /// The longest that one execution took; one above 50 ms counts by the shorter of two runs.
    pub slowest: Duration,
}

/// A running execution: since when, and what.
type Current = Arc<Mutex<Option<(Instant, Vec<u8>)>>>;

/// Runs the target once: what happened, or the text of a crash, and the bytes it held at most.
type Execute<'a> = dyn FnMut(&[u8]) -> (Vec<u64>, usize) + 'a;

impl Campaign {
    /// Runs the target on the corpus, then on mutations of it.
    ///
    /// # Errors
    /// The corpus cannot be read, or a finding cannot be written.
    pub fn run(&self, execute: &mut Execute<'_>) -> anyhow::Result<Outcome> {
        let seeds = read(&self.corpus)?;
        let longest = seeds.iter().map(Vec::len).max().unwrap_or(0);
        let mut run = Run {
            campaign: self,
            seen: HashSet::new(),
            current: self.watch(),
            outcome: Outcome::default(),
        };
        for seed in seeds {
            run.execute(seed, execute, true)?;
        }
        if run.outcome.corpus.is_empty() {
            run.outcome.corpus.push(vec![0; 16]);
        }
        let (start, mut mutator) = (Instant::now(), Mutator::new(self.seed, longest));
        for _ in 0..self.executions {
            if start.elapsed() > self.time_max {
                break;
            }
            let bytes = run.next(&mut mutator);
            run.execute(bytes, execute, false)?;
        }
        run.outcome.events = run.seen.len();
        Ok(run.outcome)
    }

    /// Ends the process when an execution does not end.
    fn watch(&self) -> Current {
        let current = Current::default();
        let (watched, max, folder) =
            (Arc::downgrade(&current), self.hang_max, self.findings.clone());
        std::thread::spawn(move || {
            while let Some(current) = watched.upgrade() {
                let running = current.lock().unwrap_or_else(PoisonError::into_inner).clone();
                drop(current);
                if let Some((since, bytes)) = running
                    && since.elapsed() > max
                {
                    let kept = keep(&folder, "hang", &bytes);
                    eprintln!("an execution takes more than {max:?}: {kept:?}");
                    std::process::exit(HANG_STATUS);
                }
                std::thread::sleep(max / 20);
            }
        });
        current
    }
}

/// A campaign under way.
struct Run<'a> {
    campaign: &'a Campaign,
    seen: HashSet<u64>,
    current: Current,
    outcome: Outcome,
}

impl Run<'_> {
    /// A mutation of an input of the corpus, of a late one as often as of any.
    fn next(&self, mutator: &mut Mutator) -> Vec<u8> {
        let corpus = &self.outcome.corpus;
        let late = mutator.random().below(2) == 0;
        let span = if late { corpus.len().min(64) } else { corpus.len() };
        let at = corpus.len() - 1 - mutator.random().below(span);
        let other = mutator.random().below(corpus.len());
        let mut bytes = corpus[at].clone();
        mutator.mutate(&mut bytes, &corpus[other]);
        bytes
    }

    fn execute(
        &mut self,
        bytes: Vec<u8>,
        execute: &mut Execute<'_>,
        keep_always: bool,
    ) -> anyhow::Result<()> {
        let now = |running| {
            *self.current.lock().unwrap_or_else(PoisonError::into_inner) = running;
        };
        now(Some((Instant::now(), bytes.clone())));
        let (outcome, took) = timed(|| caught(|| execute(&bytes)));
        if took > self.outcome.slowest {
            let again = if took > SLOW { timed(|| caught(|| execute(&bytes))).1 } else { took };
            self.outcome.slowest = self.outcome.slowest.max(took.min(again));
        }
        now(None);
        self.outcome.executions += 1;
        let crash = match within(outcome, self.campaign.bytes_max) {
            Ok((events, peak)) => {
                self.outcome.peak_bytes = self.outcome.peak_bytes.max(peak);
                let mut fresh = false;
                for event in events {
                    fresh |= self.seen.insert(event);
                }
                if (fresh || keep_always) && self.outcome.corpus.len() < CORPUS_MAX {
                    self.outcome.corpus.push(bytes.clone());
                }
                None
            }
            Err(text) => Some(text),
        };
        let Some(text) = crash else { return Ok(()) };
        self.outcome.crashes += 1;
        if self.outcome.kinds.insert(kind(&text)) {
            let file = keep(&self.campaign.findings, "crash", &bytes)?;
            eprintln!("{}: {text}", file.display());
        }
        Ok(())
    }
}

/// Runs the target on one file: the text of the crash, if it crashes or holds more than `bytes_max`.
///
/// # Errors
/// The file cannot be read.
pub fn replay(
    file: &Path,
    bytes_max: usize,
    execute: &mut Execute<'_>,
) -> anyhow::Result<Option<String>> {
    let bytes = std::fs::read(file).with_context(|| file.display().to_string())?;
    Ok(within(caught(|| execute(&bytes)), bytes_max).err())
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let answer = work();
    (answer, start.elapsed())
}

/// Makes an execution that held too much memory a crash.
fn within(
    outcome: Result<(Vec<u64>, usize), String>,
    max: usize,
) -> Result<(Vec<u64>, usize), String> {
    let (events, peak) = outcome?;
    match peak > max {
        true => Err(format!("an execution may hold {max} bytes, this one held {peak}")),
        false => Ok((events, peak)),
    }
}

/// What `work` answers, or where and why it panicked.
fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static PLACE: Mutex<String> = Mutex::new(String::new());
    static QUIET: std::sync::Once = std::sync::Once::new();
    QUIET.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = panic.to_string();
        }));
    });
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| std::mem::take(&mut *PLACE.lock().unwrap_or_else(PoisonError::into_inner)))
}

/// What tells one crash from another: its first line, digits aside.
fn kind(text: &str) -> String {
    let place = text.lines().next().unwrap_or_default();
    let words = text.lines().nth(1).unwrap_or_default();
    let words: String = words.chars().filter(|c| !c.is_ascii_digit()).take(40).collect();
    format!("{place} {words}")
}

fn read(folder: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut files: Vec<PathBuf> = Vec::new();
    if !folder.exists() {
        return Ok(Vec::new());
    }
    for entry in folder.read_dir().with_context(|| folder.display().to_string())? {
        files.push(entry?.path());
    }
    files.sort();
    let read = |file: PathBuf| std::fs::read(&file).with_context(|| file.display().to_string());
    files.into_iter().map(read).collect()
}

/// Writes an input, named by its content.
pub(crate) fn keep(folder: &Path, word: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let file = folder.join(format!("{word}-{:016x}", digest(bytes)));
    std::fs::write(&file, bytes).with_context(|| file.display().to_string())?;
    Ok(file)
}
