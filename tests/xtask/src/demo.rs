//! `cargo xtask demo`: from a clone to real embeddings, shown step by step.

use std::time::Instant;

use aimass_testkit::{Answer, Server};
use anyhow::{Context, bail};
use serde::Deserialize;

use crate::installation::Installation;
use crate::{fetch, repository};

/// Pairs whose similarity is shown, from near to far.
const PAIRS: &[(&str, &str)] = &[
    ("A man is playing a guitar on stage.", "Someone performs music with a guitar."),
    ("How do I reset my password?", "I forgot my login credentials."),
    ("The cat sleeps on the sofa.", "A kitten naps on the couch."),
    ("The cat sleeps on the sofa.", "Quarterly revenue rose by nine percent."),
];

#[derive(Deserialize)]
struct Embeddings {
    data: Vec<Embedding>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Embedding {
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
}

/// Fetches, builds, signs, publishes, serves, asks; with `keep` the server stays.
pub(crate) fn demo(keep: bool) -> anyhow::Result<()> {
    let fetched = fetch::fetch()?;
    println!("{}", fetched.summary());
    let folder = repository::target_dir()?.join("demo");
    let aimass = repository::build_aimass()?;
    let installation = Installation::make(&fetched, &aimass, &folder)?;
    let start = Instant::now();
    let log = folder.join("server.log");
    let server = Server::start(&installation.aimass, &installation.data, &[], &log)?;
    println!(
        "\nserving {} on {} after {:.0?}",
        names(&installation),
        server.url(),
        start.elapsed()
    );
    show_answers(&server)?;
    println!("\nTry it:\n{}", curl(&server));
    if !keep {
        return Ok(());
    }
    let (url, api_key) = (server.url(), server.api_key.clone());
    if let Some(process) = server.leave_running() {
        println!("\nThe server goes on as process {process}; `kill {process}` drains and ends it.");
    }
    let line = serde_json::json!({ "url": url, "api_key": api_key, "models": installation.models });
    println!("{line}");
    Ok(())
}

fn names(installation: &Installation) -> String {
    installation.models.join(" and ")
}

fn show_answers(server: &Server) -> anyhow::Result<()> {
    let texts: Vec<&str> = PAIRS.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let body = serde_json::json!({ "model": "minilm", "input": texts, "encoding_format": "float" });
    let key = format!("Bearer {}", server.api_key);
    let headers =
        [("authorization", &*key), ("content-type", "application/json"), ("x-aimass-timing", "1")];
    let body = body.to_string();
    let answer = server.send("POST", "/v1/embeddings", &headers, body.as_bytes())?;
    if answer.status != 200 {
        bail!("the server answered {}: {}", answer.status, answer.text());
    }
    let vectors: Embeddings = serde_json::from_slice(&answer.body).context("embeddings")?;
    println!("\nsimilarity");
    for ((a, b), pair) in PAIRS.iter().zip(vectors.data.chunks(2)) {
        let similarity: f32 =
            pair[0].embedding.iter().zip(&pair[1].embedding).map(|(x, y)| x * y).sum();
        println!("  {similarity:>6.3}  {a} | {b}");
    }
    println!("\n{} tokens; time in each room:", vectors.usage.prompt_tokens);
    show_rooms(&answer);
    Ok(())
}

/// The steps of the pipeline, as the `Server-Timing` header lists them.
fn show_rooms(answer: &Answer) {
    let header = answer.header("server-timing").unwrap_or_default();
    for room in header.split(',') {
        if let Some((name, took)) = room.trim().split_once(";dur=") {
            println!("  {took:>9} ms  {name}");
        }
    }
}

fn curl(server: &Server) -> String {
    format!(
        "curl -s {}/v1/embeddings -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' \
         -d '{{\"model\": \"minilm\", \"input\": \"Hello, world\"}}'",
        server.url(),
        server.api_key
    )
}
