//! A small sample of every campaign, so that what was found stays found. `AIMASS_ALL` runs more of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use aimass_fuzz::{
    Campaign, Format, Outcome, TrustParser, graph, identity, media, requests, trust,
};

/// The campaign of one target: executions, ten times as many with `AIMASS_ALL`, and its seed.
fn campaign(target: &str, executions: u64) -> Campaign {
    let all = std::env::var_os("AIMASS_ALL").is_some_and(|all| !all.is_empty());
    let seed = std::env::var("AIMASS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("{target}: seed {seed}; AIMASS_SEED chooses another");
    Campaign {
        corpus: Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target),
        findings: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(target),
        executions: if all { 10 * executions } else { executions },
        time_max: Duration::from_secs(3_600),
        hang_max: Duration::from_secs(300),
        bytes_max: usize::MAX,
        seed,
    }
}

fn nothing_crashed(campaign: &Campaign, outcome: &Outcome) {
    nothing_crashed_in(campaign, outcome, 10);
}

/// As [`nothing_crashed`], with more than so many ways to end.
fn nothing_crashed_in(campaign: &Campaign, outcome: &Outcome, events_min: usize) {
    let Outcome { crashes, kinds, events, executions, .. } = outcome;
    assert_eq!(*crashes, 0, "{kinds:?}; the inputs are in {}", campaign.findings.display());
    assert!(*executions > campaign.executions, "the corpus was read, too");
    println!("{}: {events} events", campaign.corpus.display());
    assert!(*events > events_min, "{events} events");
}

#[test]
fn bytes_of_the_trust_layer_are_refused_or_read() {
    for parser in TrustParser::ALL {
        let campaign = campaign(parser.name(), 3_000);
        let outcome = campaign.run(&mut |bytes| (trust(parser, bytes), 0));
        // A refusal is one event, whatever it says: small parsers have few, the smallest these two.
        let events_min = if parser.name() == "trust-revocations" { 1 } else { 2 };
        nothing_crashed_in(&campaign, &outcome.expect("files are written"), events_min);
    }
}

#[test]
fn graphs_are_refused_or_run() {
    let campaign = campaign("graph", 5_000);
    let outcome = campaign.run(&mut |bytes| (graph(bytes), 0)).expect("files are written");
    nothing_crashed(&campaign, &outcome);
}

#[test]
fn credentials_key_files_and_key_sets_are_refused_or_read() {
    let campaign = campaign("identity", 20_000);
    let outcome = campaign.run(&mut |bytes| (identity(bytes), 0)).expect("files are written");
    nothing_crashed(&campaign, &outcome);
}

#[test]
fn pictures_and_sounds_are_refused_or_decoded() {
    let campaign = campaign("media", 5_000);
    let outcome = campaign.run(&mut |bytes| (media(bytes), 0)).expect("files are written");
    nothing_crashed(&campaign, &outcome);
}

#[test]
fn requests_are_refused_or_echoed() {
    let campaign = campaign("requests", 200_000);
    let outcome = campaign.run(&mut |bytes| (requests(bytes), 0)).expect("files are written");
    nothing_crashed(&campaign, &outcome);
}

#[test]
fn model_files_are_refused_or_served_in_the_sandbox() {
    let Some(folder) = std::env::var_os("AIMASS_PLUGINS_DIR") else {
        println!("AIMASS_PLUGINS_DIR is not set: `cargo xtask test` sets it");
        return;
    };
    for target in ["onnx", "bert"] {
        let component = PathBuf::from(&folder).join(target).with_extension("wasm");
        let format = Format::open(&component).unwrap_or_else(|error| panic!("{error:#}"));
        let campaign = campaign(target, 50);
        let outcome = campaign.run(&mut |bytes| (format.execute(bytes), 0));
        nothing_crashed(&campaign, &outcome.expect("files are written"));
    }
}
