//! `aimass model compare`: a model beside ONNX Runtime, on the same inputs in the same minute.

mod difference;
mod onnxruntime;

use super::figures::median;
use super::open::{Address, Opened};
use super::request::{Request, RequestInputs};
use crate::home::{Home, runtime};
use aimass_tensor::Tensor;
use anyhow::{bail, ensure};
use clap::Args;
use difference::Difference;
use onnxruntime::{Peer, PeerOptions};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Run a model beside ONNX Runtime: same inputs, alternating runs, times and differences.
///
/// The ONNX file is run by ONNX Runtime in a Python of your choice, which needs the packages
/// `onnxruntime` and `numpy` (`pip install onnxruntime numpy`). The model's inputs must be those of
/// the file, by name. Both get the same number of threads, and runs are 50 ms apart, so that threads of
/// the one that spin on do not slow the other down. The time of the model is that of its whole
/// pipeline, as `aimass infer` would take; `aimass model profile` says where it goes. With --device the
/// model runs there, and ONNX Runtime on the CPU as before.
///
/// Examples:
///   aimass model compare detector --onnx detector.onnx --shape x=1x3x640x640
///   aimass model compare detector --onnx detector.onnx --device cuda:0
///   aimass model compare detector --onnx detector.onnx --threads 1 --python ./venv/bin/python3
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Compare {
    #[command(flatten)]
    address: Address,
    /// The ONNX file
    #[arg(long, value_name = "FILE")]
    onnx: PathBuf,
    /// Python with the packages onnxruntime and numpy
    #[arg(long, default_value = "python3", value_name = "PATH")]
    python: PathBuf,
    #[command(flatten)]
    inputs: RequestInputs,
    /// Runs of each that are measured
    #[arg(long, default_value_t = 20, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Runs of each before that
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    warmup: u32,
    /// Seconds that one answer of the Python process may take
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    peer_timeout: u64,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

/// A finished comparison.
struct Compared {
    model: String,
    version: u64,
    inputs: String,
    source: String,
    threads: usize,
    device: String,
    peer_version: String,
    /// Microseconds of every run, in the order in which they ran.
    own_us: Vec<f64>,
    peer_us: Vec<f64>,
    /// By output, or why it cannot be compared.
    outputs: Vec<(Arc<str>, Result<Difference, String>)>,
}

impl Compare {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        ensure!(self.onnx.is_file(), "--onnx: there is no file {}", self.onnx.display());
        let runtime = runtime()?;
        let opened = runtime.block_on(self.address.open(home, None))?;
        let request = self.inputs.of(&opened.model)?;
        let threads = self.address.kernel_threads();
        let mut peer = Peer::start(PeerOptions {
            python: &self.python,
            onnx: &self.onnx,
            threads,
            timeout: Duration::from_secs(self.peer_timeout),
        })?;
        check_inputs(&request, &peer)?;
        peer.send_inputs(&request.inputs)?;
        let compared = runtime.block_on(self.compare(&opened, &request, &mut peer, threads))?;
        match self.json {
            true => println!("{:#}", compared.json()),
            false => print!("{}", compared.text()),
        }
        Ok(())
    }

    async fn compare(
        &self,
        opened: &Opened,
        request: &Request,
        peer: &mut Peer,
        threads: usize,
    ) -> anyhow::Result<Compared> {
        eprintln!("warming up on {}", request.describe());
        let mut answer = None;
        for _ in 0..self.warmup {
            let own = opened.model.infer(request.now()).await;
            answer = Some(own.map_err(|error| request.failed(error))?);
            peer.run()?;
        }
        eprintln!("running both {} times, in turn", self.runs);
        let (mut own_us, mut peer_us) = (Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let start = Instant::now();
            let own = opened.model.infer(request.now()).await;
            own_us.push(start.elapsed().as_secs_f64() * 1e6);
            answer = Some(own.map_err(|error| request.failed(error))?);
            peer_us.push(peer.run()?);
        }
        let own = answer.map(|answer| answer.outputs).unwrap_or_default();
        let metadata = opened.model.metadata();
        Ok(Compared {
            model: metadata.name.to_string(),
            version: metadata.version,
            inputs: request.describe(),
            source: request.source.clone(),
            threads,
            device: self.address.device().to_string(),
            peer_version: peer.version().to_owned(),
            own_us,
            peer_us,
            outputs: differences(own, peer.outputs()?),
        })
    }
}

/// Both must take inputs of the same names.
fn check_inputs(request: &Request, peer: &Peer) -> anyhow::Result<()> {
    let mut own: Vec<&str> = request.inputs.iter().map(|(name, _)| &**name).collect();
    let mut theirs: Vec<&str> = peer.inputs().iter().map(String::as_str).collect();
    own.sort_unstable();
    theirs.sort_unstable();
    if own != theirs {
        bail!(
            "the model takes {}, the ONNX file {}; compare with a model whose inputs are those of \
             the file",
            own.join(", "),
            theirs.join(", ")
        );
    }
    Ok(())
}

/// Pairs outputs by name, or by place where the names differ and the numbers agree.
fn differences(
    own: Vec<(Arc<str>, Tensor)>,
    theirs: Vec<(String, Tensor)>,
) -> Vec<(Arc<str>, Result<Difference, String>)> {
    let by_name = own.iter().all(|(name, _)| theirs.iter().any(|(other, _)| **other == **name));
    let by_place = !by_name && own.len() == theirs.len();
    let pair = |(index, (name, own)): (usize, (Arc<str>, Tensor))| {
        let found = match by_place {
            true => theirs.get(index),
            false => theirs.iter().find(|(other, _)| **other == *name),
        };
        let known = || theirs.iter().map(|(other, _)| &**other).collect::<Vec<_>>().join(", ");
        let difference = match found {
            Some((_, theirs)) => Difference::of(&own, theirs),
            None => Err(format!("the ONNX file has no such output; it has {}", known())),
        };
        (name, difference)
    };
    own.into_iter().enumerate().map(pair).collect()
}

impl Compared {
    fn medians(&self) -> (f64, f64) {
        (median(&mut self.own_us.clone()), median(&mut self.peer_us.clone()))
    }

    /// The median of the ratios of runs that followed each other: ONNX Runtime's time over ours.
    fn ratio(&self) -> f64 {
        let pairs = self.own_us.iter().zip(&self.peer_us);
        let mut ratios: Vec<f64> = pairs.map(|(own, theirs)| theirs / own.max(1e-3)).collect();
        median(&mut ratios)
    }

    fn text(&self) -> String {
        let (own, theirs) = self.medians();
        let mut text = format!("{} version {}\n", self.model, self.version);
        text.push_str(&format!("inputs  {}  ({})\n", self.inputs, self.source));
        let (runs, threads) = (self.own_us.len(), self.threads);
        text.push_str(&format!("runs    {runs} of each, in turn, on {threads} threads\n"));
        text.push_str(&format!("aimass       {own:10.1} µs  (on {})\n", self.device));
        text.push_str(&format!("onnxruntime  {theirs:10.1} µs  ({})\n", self.peer_version));
        let ratio = self.ratio();
        let word = if ratio >= 1.0 { "as fast as" } else { "as fast as (slower than)" };
        text.push_str(&format!("aimass is {ratio:.2} times {word} onnxruntime\n\n"));
        for (name, difference) in &self.outputs {
            let said = match difference {
                Ok(difference) => difference.text(),
                Err(reason) => reason.clone(),
            };
            text.push_str(&format!("output  {name}: {said}\n"));
        }
        text
    }

    fn json(&self) -> Value {
        let (own, theirs) = self.medians();
        let outputs = self.outputs.iter().map(|(name, difference)| match difference {
            Ok(difference) => json!({ "name": name, "difference": difference.json() }),
            Err(reason) => json!({ "name": name, "error": reason }),
        });
        json!({
            "model": self.model,
            "version": self.version,
            "inputs": self.inputs,
            "source": self.source,
            "runs": self.own_us.len(),
            "threads": self.threads,
            "device": self.device,
            "onnxruntime": self.peer_version,
            "aimass_us": own,
            "onnxruntime_us": theirs,
            "ratio": self.ratio(),
            "outputs": outputs.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Tensor {
        Tensor::from_slice(&[values.len()], values).unwrap()
    }

    #[test]
    fn outputs_are_paired_by_name_else_by_place() {
        let own = || vec![(Arc::from("a"), floats(&[1.0])), (Arc::from("b"), floats(&[2.0]))];
        let named = vec![("b".to_owned(), floats(&[2.0])), ("a".to_owned(), floats(&[1.0]))];
        let equal = |pairs: &[(Arc<str>, Result<Difference, String>)]| {
            pairs.iter().all(|(_, found)| found.as_ref().is_ok_and(|d| d.absolute == 0.0))
        };
        assert!(equal(&differences(own(), named)));
        let placed = vec![("x".to_owned(), floats(&[1.0])), ("y".to_owned(), floats(&[2.0]))];
        assert!(equal(&differences(own(), placed)));
        let one = differences(own(), vec![("a".to_owned(), floats(&[1.0]))]);
        assert!(one[0].1.is_ok());
        assert!(one[1].1.as_ref().unwrap_err().contains("it has a"));
    }
}
