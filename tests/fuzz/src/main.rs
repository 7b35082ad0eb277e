//! `aimass-fuzz`: campaigns of the fuzz targets on a stable compiler.

use aimass_fuzz::{Campaign, Format, TrustParser, graph, identity, media, replay, requests, trust};
use aimass_testkit::Peak;
use anyhow::Context;
use clap::{Parser, ValueEnum};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[global_allocator]
static PEAK: Peak = Peak::new();

/// Feeds a target with mutations of a corpus.
///
/// Inputs whose events are new join the corpus in memory; what crashes, hangs, or holds too much
/// memory is written down. Ends with 1 if anything crashed, with 3 at the first execution that does
/// not end.
#[derive(Parser)]
struct Options {
    /// What is fuzzed
    #[arg(long)]
    target: Target,
    /// Executions beside those of the corpus
    #[arg(long, default_value_t = 10_000)]
    executions: u64,
    /// Decides every mutation
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds after which no execution begins
    #[arg(long, default_value_t = u32::MAX)]
    time_s_max: u32,
    /// Seconds after which an execution counts as a hang
    #[arg(long, default_value_t = 20)]
    hang_s_max: u64,
    /// Bytes that one execution may hold at once [default: the target's]
    #[arg(long)]
    bytes_max: Option<usize>,
    /// Folder of the unsigned plugins, as `cargo xtask plugins` builds them
    #[arg(long, default_value = "target/plugins")]
    plugins: PathBuf,
    /// Folder to start from [default: the committed corpus of the target]
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// Folder for inputs that crash or hang
    #[arg(long, default_value = "target/fuzz")]
    findings: PathBuf,
    /// Write the inputs whose events were new into this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Run one file, and nothing else
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
enum Target {
    /// Graph check, compiler and executor
    Graph,
    /// Credentials, key files and key sets of the gateway
    Identity,
    /// Files of pictures and sound
    Media,
    /// The ONNX plugin in the sandbox
    Onnx,
    /// The BERT plugin in the sandbox
    Bert,
    /// Requests to the gateway: JSON, binary, raw, gRPC, generate
    Requests,
    /// A parser of the trust layer
    Trust(TrustParser),
}

impl ValueEnum for Target {
    fn value_variants<'a>() -> &'a [Target] {
        const OTHERS: [Target; 6] = [
            Target::Graph,
            Target::Onnx,
            Target::Bert,
            Target::Requests,
            Target::Identity,
            Target::Media,
        ];
        const ALL: [Target; OTHERS.len() + TrustParser::ALL.len()] = {
            let mut all = [Target::Graph; OTHERS.len() + TrustParser::ALL.len()];
            let mut at = 0;
            while at < all.len() {
                all[at] = match at < OTHERS.len() {
                    true => OTHERS[at],
                    false => Target::Trust(TrustParser::ALL[at - OTHERS.len()]),
                };
                at += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::Graph => "graph",
            Target::Identity => "identity",
            Target::Media => "media",
            Target::Onnx => "onnx",
            Target::Bert => "bert",
            Target::Requests => "requests",
            Target::Trust(parser) => parser.name(),
        }
    }

    /// Bytes that one execution may hold at once.
    fn bytes_max(self) -> usize {
        match self {
            Target::Graph | Target::Trust(_) => 64 << 20,
            Target::Requests => 16 << 20,
            // Pixels of the target's own limits, and the code tables of lossless WebP.
            Target::Media => 64 << 20,
            // The largest key file is 4 MiB of text.
            Target::Identity => 64 << 20,
            // What the guest's limits allow the host to hold for it, and a plan's arena.
            Target::Onnx | Target::Bert => 512 << 20,
        }
    }
}

fn main() -> ExitCode {
    match perform(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs what the options say; whether nothing crashed.
fn perform(options: &Options) -> anyhow::Result<bool> {
    let target = options.target;
    let format = match target {
        Target::Graph | Target::Identity | Target::Media | Target::Requests | Target::Trust(_) => {
            None
        }
        Target::Onnx | Target::Bert => {
            Some(Format::open(&options.plugins.join(target.name()).with_extension("wasm"))?)
        }
    };
    let mut execute = |bytes: &[u8]| match (&format, target) {
        (Some(format), _) => PEAK.during(|| format.execute(bytes)),
        (None, Target::Identity) => PEAK.during(|| identity(bytes)),
        (None, Target::Media) => PEAK.during(|| media(bytes)),
        (None, Target::Requests) => PEAK.during(|| requests(bytes)),
        (None, Target::Trust(parser)) => PEAK.during(|| trust(parser, bytes)),
        (None, Target::Graph | Target::Onnx | Target::Bert) => PEAK.during(|| graph(bytes)),
    };
    let bytes_max = options.bytes_max.unwrap_or(target.bytes_max());
    if let Some(file) = &options.replay {
        let crash = replay(file, bytes_max, &mut execute)?;
        println!("{}: {}", file.display(), crash.as_deref().unwrap_or("no crash"));
        return Ok(crash.is_none());
    }
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");
    let committed = PathBuf::from(committed).join(target.name());
    let campaign = Campaign {
        corpus: options.corpus.clone().unwrap_or(committed),
        findings: options.findings.join(target.name()),
        executions: options.executions,
        time_max: Duration::from_secs(options.time_s_max.into()),
        hang_max: Duration::from_secs(options.hang_s_max),
        bytes_max,
        seed: options.seed,
    };
    let start = Instant::now();
    let outcome = campaign.run(&mut execute)?;
    if let Some(folder) = &options.keep {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        for bytes in &outcome.corpus {
            let file = folder.join(format!("{:016x}", aimass_fuzz::digest(bytes)));
            std::fs::write(&file, bytes).with_context(|| file.display().to_string())?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{}: seed {}, {} executions in {seconds:.0} s ({:.0}/s), {} crashes of {} kinds, {} events, \
         corpus {}, at most {} bytes held and {:.1} ms long",
        target.name(),
        options.seed,
        outcome.executions,
        outcome.executions as f64 / seconds,
        outcome.crashes,
        outcome.kinds.len(),
        outcome.events,
        outcome.corpus.len(),
        outcome.peak_bytes,
        1e3 * outcome.slowest.as_secs_f64(),
    );
    Ok(outcome.crashes == 0)
}
