//! `aimass plugin`: an author's loop from an empty folder to a published plugin.

mod build;
mod inspect;
mod manifest;
mod new;
mod publish;
mod sign;
mod test;
mod test_traced;

use crate::home::Home;
use clap::Subcommand;

/// Make, test, sign and publish plugins.
///
/// The usual way: `new`, `build`, `test`, `sign`, `publish`.
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
    /// Check a signed plugin against this host's trust policy
    Verify(publish::Verify),
    /// Show what a plugin is and what it asks for
    Inspect(inspect::Inspect),
    /// Admit a signed plugin to this host's registry
    Publish(publish::Publish),
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
        }
    }
}
