//! `aimass plugin`: an author's loop from an empty folder to a published plugin.

mod advice;
mod bench;
mod build;
mod fmt;
mod inspect;
mod install;
mod list;
mod manifest;
mod new;
mod publish;
mod quantity;
mod review;
mod sign;
mod submit;
mod test;
mod test_traced;
mod verify;
mod watch;
mod workbench;

use crate::home::Home;
use clap::Subcommand;

pub(crate) use review::{Reviewing, review_statement};
pub(crate) use sign::write_whole;

/// What `aimass plugin --help` ends with.
pub(crate) const LOOP: &str = "\
An author's loop:
  aimass plugin new acme/hello   a project with unit tests and fixtures
  cargo test                     the plugin against a stub of the host, natively
  aimass plugin test             fixtures in the real sandbox: time, memory, host calls, limits
  aimass plugin bench            fresh and warm calls beside the same code built natively
  aimass plugin watch            all of it on every save, into a running server

Once a release: build, inspect, sign, then publish on this host or submit to a marketplace.
An operator's way: verify, install, list, update.";

/// Make, test, sign and publish plugins; install those of others.
#[derive(Subcommand)]
pub(crate) enum Plugin {
    /// Start a project: `aimass plugin new acme/hello`
    New(new::New),
    /// Build a project to a component
    Build(build::Build),
    /// Run a plugin's fixtures in the real sandbox
    Test(test::Test),
    /// Measure calls in the sandbox beside the same code built natively
    Bench(bench::Bench),
    /// Put plugin.toml and the sources in their usual form
    Fmt(fmt::Fmt),
    /// Build, test and publish on every save; a running server reloads
    Watch(watch::Watch),
    /// Sign a built component
    Sign(sign::Sign),
    /// Look at a signed plugin as a reviewer, and sign it
    Review(review::Review),
    /// Check a signed plugin or a bundle; nothing is installed
    Verify(verify::Verify),
    /// Show what a plugin is and what it asks for
    Inspect(inspect::Inspect),
    /// Admit a signed plugin to this host's registry
    Publish(publish::Publish),
    /// Submit a signed plugin to a marketplace
    Submit(submit::Submit),
    /// Install a plugin from a marketplace or a bundle
    Install(install::Install),
    /// Bring installed plugins to their newest allowed version
    Update(install::Update),
    /// List installed plugins, and updates that wait
    List(list::List),
    /// Keep a plugin as it is, or let its updates go on
    Hold(list::Hold),
    /// Install an update that asks for more than the installed release
    Approve(install::Approve),
}

impl Plugin {
    pub(crate) fn run(self, home: &Home) -> anyhow::Result<()> {
        match self {
            Plugin::New(new) => new.run(),
            Plugin::Build(build) => build.run(),
            Plugin::Test(test) => test.run(),
            Plugin::Bench(bench) => bench.run(),
            Plugin::Fmt(fmt) => fmt.run(),
            Plugin::Watch(watch) => watch.run(home),
            Plugin::Sign(sign) => sign.run(home),
            Plugin::Review(review) => review.run(home),
            Plugin::Verify(verify) => verify.run(home),
            Plugin::Inspect(inspect) => inspect.run(home),
            Plugin::Publish(publish) => publish.run(home),
            Plugin::Submit(submit) => submit.run(home),
            Plugin::Install(install) => install.run(home),
            Plugin::Update(update) => update.run(home),
            Plugin::List(list) => list.run(home),
            Plugin::Hold(hold) => hold.run(home),
            Plugin::Approve(approve) => approve.run(home),
        }
    }
}
