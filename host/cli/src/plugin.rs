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
pub(crate) use sign::{days, write_whole};

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
    New(new::New),
    Build(build::Build),
    Test(test::Test),
    Bench(bench::Bench),
    Fmt(fmt::Fmt),
    Watch(watch::Watch),
    Sign(sign::Sign),
    Review(review::Review),
    Verify(verify::Verify),
    Inspect(inspect::Inspect),
    Publish(publish::Publish),
    Submit(submit::Submit),
    Install(install::Install),
    Update(install::Update),
    List(list::List),
    Hold(list::Hold),
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
