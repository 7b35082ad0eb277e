//! `cargo xtask fuzz`: a campaign of one fuzz target.

use std::process::Command;

use anyhow::Context;

use crate::{plugins, repository, run};

/// Builds the driver, and the plugins where the target is one, and runs the campaign; fails if anything
/// crashed.
///
/// The driver is built with overflow checks and debug assertions, as tests are: a wrapped number is a
/// finding.
pub(crate) fn fuzz(target: &str, arguments: &[String]) -> anyhow::Result<()> {
    let mut build = repository::cargo();
    run::check(build.args(["build", "--workspace", "--bin", "aimass-fuzz"]))?;
    let folder = repository::target_dir()?;
    let mut driver = Command::new(folder.join("debug/aimass-fuzz"));
    driver.args(["--target", target]).arg("--findings").arg(folder.join("fuzz"));
    let plain = ["graph", "identity", "media", "requests"].contains(&target);
    if !plain && !target.starts_with("trust-") {
        let components = plugins::build_all(&repository::build_aimass()?)?;
        driver.arg("--plugins").arg(components);
    }
    let status = driver.args(arguments).status().with_context(|| format!("{driver:?}"))?;
    anyhow::ensure!(status.success(), "the campaign ended with {status}");
    Ok(())
}
