//! `aimass batch`: jobs of batch inference, which the running server of this data folder works on.

use crate::home::Home;
use aimass_engine::{JobRecord, JobStore, JobsConfig};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Ask a model many times: a file of requests becomes a file of answers.
///
/// The running server of this data folder works on jobs, one after the other. A job that is
/// interrupted goes on where it was at the server's next start.
#[derive(Subcommand)]
pub(crate) enum Batch {
    /// Leave a job for the server
    ///
    /// Example: `aimass batch submit --model minilm questions.jsonl answers.jsonl`, where a line of the first file is
    /// `{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["a cat"]}]}`
    Submit(Submit),
    /// Show one job
    ///
    /// Example: `aimass batch status JOB`
    Status(Named),
    /// Stop a job; what it has answered stays
    ///
    /// Example: `aimass batch cancel JOB`
    Cancel(Named),
    /// Show all jobs, oldest first
    ///
    /// Example: `aimass batch list`
    List(List),
}

#[derive(Args)]
pub(crate) struct Submit {
    /// Model, as `name`, `name@label` or `name@version`
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Who pays
    #[arg(long, default_value = "default", value_name = "TENANT")]
    tenant: String,
    /// File of requests: a body of OIP v2's `infer` in JSON on each line
    input: PathBuf,
    /// File for the answers, line by line; it must not exist
    output: PathBuf,
}

#[derive(Args)]
pub(crate) struct Named {
    /// Name of the job, as `submit` printed it
    job: String,
    /// One JSON object instead of a sentence
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct List {
    /// One JSON object a job instead of a sentence
    #[arg(long)]
    json: bool,
}

impl Batch {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        let store = JobStore::open(&home.jobs(), JobsConfig::default())?;
        match self {
            Batch::Submit(submit) => submit.run(&store),
            Batch::Status(named) => show(&store.get(&named.job)?, named.json),
            Batch::Cancel(named) => {
                store.cancel(&named.job)?;
                show(&store.get(&named.job)?, named.json)
            }
            Batch::List(list) => store.list()?.iter().try_for_each(|job| show(job, list.json)),
        }
    }
}

impl Submit {
    fn run(self, store: &JobStore) -> anyhow::Result<()> {
        let input = std::path::absolute(&self.input)?;
        std::fs::File::open(&input).with_context(|| input.display().to_string())?;
        let output = std::path::absolute(&self.output)?;
        if output.exists() {
            bail!("{} exists; choose another file for the answers", output.display());
        }
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if !(1..=64).contains(&self.tenant.len()) || !self.tenant.chars().all(allowed) {
            bail!("--tenant: expected 1 to 64 of [a-z0-9._-], got {:?}", self.tenant);
        }
        let spec = serde_json::json!({ "model": self.model, "input": input, "output": output });
        println!("{}", store.submit("batch", &self.tenant, spec)?.id);
        Ok(())
    }
}

fn show(job: &JobRecord, json: bool) -> anyhow::Result<()> {
    let text = if json { serde_json::to_string(job)? } else { sentence(job) };
    println!("{text}");
    Ok(())
}

fn sentence(job: &JobRecord) -> String {
    let total = job.total.map_or_else(|| "?".to_owned(), |total| total.to_string());
    let model = job.spec["model"].as_str().unwrap_or("?");
    let error = job.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
    let (id, tenant, state) = (&job.id, &job.tenant, job.state.name());
    format!(
        "{id}  {state:<9}  {}/{total} done, {} failed  {model}  {tenant}{error}",
        job.done, job.failed
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let store = JobStore::open(folder.path(), JobsConfig::default()).unwrap();
        let spec = serde_json::json!({ "model": "m@2" });
        let mut job = store.submit("batch", "acme", spec).unwrap();
        job.total = Some(7);
        let expected = format!("{}  queued     0/7 done, 0 failed  m@2  acme", job.id);
        assert_eq!(sentence(&job), expected);
    }
}
