//! What the sandbox costs, each figure beside its goal: `cargo xtask bench sandbox`, which builds plugins,
//! the example `child` and this program in the release profile.
//!
//! `costs [--plugins FOLDER] [--tokenizer FILE --python PROGRAM] [--only PART,..]`; the parts are `calls`, `plans`,
//! `pictures`, `tokenizers`, `workers`, `density`, `deadlines` and `neighbor`, all of them unless some are
//! named. `--plugins` is the folder of built components (`pictures`, `tokenizers`), `--tokenizer` the
//! `tokenizer.json` of MiniLM and `--python` a Python with `tokenizers`.
//!
//! Figures of two sides are taken in rounds that alternate. A row is the median over its rounds unless it says
//! otherwise.
#![allow(clippy::unwrap_used, reason = "an example for people who measure")]

#[path = "../../tests/support/mod.rs"]
mod support;

mod calls;
mod deadlines;
mod density;
mod neighbor;
mod pictures;
mod plans;
mod row;
mod tokenizers;
mod workers;

use std::path::PathBuf;

/// What the program was started with.
#[derive(Default)]
struct Setup {
    plugins: PathBuf,
    tokenizer: PathBuf,
    python: PathBuf,
    parts: Vec<String>,
}

impl Setup {
    fn of(mut arguments: impl Iterator<Item = String>) -> Setup {
        let mut setup = Setup::default();
        while let Some(argument) = arguments.next() {
            let mut path = || PathBuf::from(arguments.next().expect("a path after the option"));
            match argument.as_str() {
                "--plugins" => setup.plugins = path(),
                "--tokenizer" => setup.tokenizer = path(),
                "--python" => setup.python = path(),
                "--only" => {
                    let parts = arguments.next().expect("parts after `--only`");
                    setup.parts = parts.split(',').map(str::to_owned).collect();
                }
                other => panic!("expected --plugins, --tokenizer, --python or --only, got {other}"),
            }
        }
        setup
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}

fn main() {
    let setup = Setup::of(std::env::args().skip(1));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    // On the threads that serve: the one that waits here is none of them.
    let running = async { tokio::spawn(run(setup)).await.unwrap() };
    runtime.unwrap().block_on(running);
}

async fn run(setup: Setup) {
    if setup.wants("calls") {
        calls::rows().await;
    }
    if setup.wants("plans") {
        plans::rows().await;
    }
    if setup.wants("pictures") {
        pictures::rows(&setup.plugins).await;
    }
    if setup.wants("tokenizers") {
        tokenizers::rows(&setup).await;
    }
    if setup.wants("workers") {
        workers::rows().await;
    }
    if setup.wants("deadlines") {
        deadlines::rows().await;
    }
    if setup.wants("neighbor") {
        neighbor::rows().await;
    }
    if setup.wants("density") {
        density::rows().await;
    }
}
