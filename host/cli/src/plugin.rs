//! `aimass plugin`: an author's loop from an empty folder to a published plugin.

mod build;
mod inspect;
mod install;
mod list;
mod manifest;
mod new;
mod publish;
mod sign;
mod submit;
mod test;
mod test_traced;
mod verify;

use crate::home::Home;
use clap::Subcommand;

/// Make, test, sign and publish plugins; install those of others.
///
/// An author's usual way: `new`, `build`, `test`, `sign`, `publish` on this host or `submit` to a
/// marketplace. An operator's: `install`, `list`, `update`.
#[derive(Subcommand)]
pub(crate) enum Plugin {
    /// Start a project: `aimass plugin new acme/hello`
    New(new::New),
    /// Build a project to a component
    Build(build::Build),
    /// Run a plugin's fixtures in the real sandbox
    Test(test::Test),
    /// Sign a built component
    Sign(sign::Sign),
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
            Plugin::Sign(sign) => sign.run(home),
            Plugin::Verify(verify) => verify.run(home),
            Plugin::Inspect(inspect) => inspect.run(),
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
