//! `cargo xtask demo`: from a clone to real embeddings, shown step by step.

use anyhow::bail;

use crate::{fetch, plugins};

/// Fetches, builds, signs, publishes, serves, asks; with `keep` the server stays.
pub(crate) fn demo(keep: bool) -> anyhow::Result<()> {
    let fetched = fetch::fetch()?;
    println!("{}", fetched.summary());
    let components = plugins::build_all()?;
    bail!(
        "unsupported: demo stops after building {} (keep: {keep})",
        components.display()
    )
}
