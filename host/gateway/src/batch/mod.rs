//! Batch inference: a file of OIP infer requests, one a line, becomes a file of answers, in the same order.
//!
//! A [`Job`]: it goes on behind the last whole line of its output when a server stopped in the middle, and stops
//! when it is cancelled. Each line is metered as kind `batch`, counts as a request of the job's tenant, and waits
//! for its turn as long as the tenant's limits and the load want it. A line that fails leaves its error in its
//! place; what may pass by itself is tried again first.

mod line;
mod lines;
mod turn;

use crate::router::Gateway;
use crate::routes::model_id;
use aimass_engine::{EngineError, Family, Job, JobEnd, JobRunner, JobStore, JobsConfig, Progress};
use line::{Line, is_error};
use lines::{Source, Target};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How often progress is saved.
const REPORT: Duration = Duration::from_secs(1);
/// How long a model may be missing after the start, while the registry is read.
const MODEL_WAIT: Duration = Duration::from_secs(30);

/// Batch inference: `[gateway.batch]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchConfig {
    /// Folder of the jobs; by default `jobs` in the data folder.
    pub dir: Option<PathBuf>,
    /// Lines of one job that are worked on at once. Default 8. Jobs run one after the other.
    pub parallel_max: usize,
    /// Longest line. Default 16 MiB.
    pub line_bytes_max: usize,
}

impl Default for BatchConfig {
    fn default() -> BatchConfig {
        BatchConfig { dir: None, parallel_max: 8, line_bytes_max: 16 << 20 }
    }
}

impl BatchConfig {
    /// Every number with its name, least and greatest value.
    pub(crate) fn ranges(&self) -> [(&'static str, u64, u64, u64); 2] {
        [
            ("batch.parallel_max", self.parallel_max as u64, 1, 1024),
            ("batch.line_bytes_max", self.line_bytes_max as u64, 1 << 10, 1 << 30),
        ]
    }
}

/// What `aimass batch submit` asks for: [`aimass_engine::JobRecord::spec`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchSpec {
    /// `name`, `name@label` or `name@version`.
    model: String,
    /// File of requests.
    input: PathBuf,
    /// File of answers.
    output: PathBuf,
}

/// The job kind `batch` of a gateway.
pub(crate) struct BatchInference {
    gateway: Arc<Gateway>,
}

/// Runs the batch jobs of this gateway's folder for good; nothing if it has none.
///
/// # Errors
/// The folder cannot be made.
pub(crate) fn runner(gateway: &Arc<Gateway>) -> Result<Option<JobRunner>, EngineError> {
    let Some(dir) = &gateway.config.batch.dir else { return Ok(None) };
    let store = JobStore::open(dir, JobsConfig::default())?;
    let job = BatchInference { gateway: gateway.clone() };
    Ok(Some(JobRunner::new(store, vec![Arc::new(job)])))
}

impl Job for BatchInference {
    fn kind(&self) -> &'static str {
        "batch"
    }

    fn run<'a>(&'a self, progress: &'a mut Progress) -> JobEnd<'a> {
        Box::pin(self.all_lines(progress))
    }
}

impl BatchInference {
    async fn all_lines(&self, progress: &mut Progress) -> Result<(), EngineError> {
        let spec: BatchSpec = serde_json::from_value(progress.record().spec.clone())
            .map_err(|error| EngineError::invalid(format!("batch job: {error}")))?;
        self.wait_for_model(&spec.model).await?;
        let config = &self.gateway.config.batch;
        let mut target = Target::open(&spec.output)?;
        let (mut written, mut failed) = (target.lines, target.failed);
        let mut source = Source::open(spec.input.clone(), config.line_bytes_max, written).await?;
        let total = Some(source.total);
        let line = Line::new(&self.gateway, &spec.model, progress.record());
        let (mut running, mut finished) = (JoinSet::new(), BTreeMap::new());
        let (mut read, mut reported) = (written, Instant::now());
        loop {
            while read < written + config.parallel_max as u64
                && let Some(text) = source.next().await?
            {
                let (line, number) = (line.clone(), read);
                running.spawn(async move { (number, line.answer(number, text).await) });
                read += 1;
            }
            let Ok(ended) = tokio::time::timeout(REPORT, running.join_next()).await else {
                // Lines that wait for their turn must not keep a job from being cancelled.
                if progress.is_cancelled() {
                    break;
                }
                continue;
            };
            let Some(ended) = ended else { break };
            let (number, answer) = ended.map_err(|error| {
                EngineError::new(Family::Unavailable, "batch", format!("a line ended: {error}"))
            })?;
            finished.insert(number, answer);
            while let Some(answer) = finished.remove(&written) {
                target.write(&answer)?;
                failed += u64::from(is_error(&answer));
                written += 1;
            }
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                progress.report(written, failed, total)?;
                if progress.is_cancelled() {
                    break;
                }
            }
        }
        target.sync()?;
        progress.report(written, failed, total)
    }

    /// Waits while the model is not known yet.
    async fn wait_for_model(&self, model: &str) -> Result<(), EngineError> {
        let path = model_id(model).map_err(|failure| EngineError::invalid(failure.message))?;
        let until = Instant::now() + MODEL_WAIT;
        loop {
            match self.gateway.engine.model(&path.name, &path.selector) {
                Err(error) if error.family() == Family::NotFound && Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Err(error) if error.family() == Family::NotFound => return Err(error),
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }
}
