//! A marketplace in a repository of an OCI registry (OCI distribution and image specifications 1.1).
//!
//! | in the registry | what it is |
//! |---|---|
//! | tag `market` | manifest whose layers are metadata, revocations, log and log policy, titled with their paths |
//! | tag `release.<publisher>.<name>.<version>` | manifest whose layer is the component |
//! | referrer of that manifest | manifest whose layers are the release's statement and its proof |
//! | tag `sha256-<digest>` | its referrers, where the registry has no referrers API |
//!
//! A client reads `market` once for an operation, so that it sees one state and never half of a push. The
//! tag is moved last: whatever ends a push before leaves the state that was there. Nothing that a
//! registry says is believed beyond what the trust layer verifies; digests are checked besides.
//!
//! Deliberately absent: running credential helpers, deleting, and whatever images need.

mod auth;
mod client;
mod documents;
mod location;
mod pull;
mod push;

pub use auth::Credentials;
pub use location::Location;
pub use pull::OciMirror;
pub use push::{Pushed, push};

use aimass_trust::{PackageName, Version};
use sha2::{Digest, Sha256};

/// Bytes of a manifest or an index, as the distribution specification asks registries to take.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// The tag of a marketplace's present state.
pub const STATE_TAG: &str = "market";

const TAG_BYTES_MAX: usize = 128;

/// The tag of a release: `release.acme.hello.0.1.0`. Where that is longer than the 128 characters of a
/// tag, the SHA-256 of `<publisher>/<name>@<version>` stands for it.
pub fn release_tag(name: &PackageName, version: &Version) -> String {
    let tag = format!("release.{}.{}.{version}", name.publisher(), name.name());
    match tag.len() <= TAG_BYTES_MAX {
        true => tag,
        false => {
            let digest: [u8; 32] = Sha256::digest(format!("{name}@{version}")).into();
            format!("release.sha256.{}", crate::files::hex(&digest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_readable_and_never_too_long() {
        let tag = |name: &str, version: &str| {
            release_tag(&name.parse().expect("a name"), &version.parse().expect("a version"))
        };
        assert_eq!(tag("acme/hello", "0.1.0-rc.1"), "release.acme.hello.0.1.0-rc.1");
        let name = format!("{}/{}", "p".repeat(40), "n".repeat(60));
        // 8 for `release.`, 40, 60 and two points leave 18 for the version.
        let fits = format!("1.0.0-{}", "a".repeat(12));
        assert_eq!(tag(&name, &fits).len(), TAG_BYTES_MAX);
        let long = tag(&name, &format!("{fits}a"));
        assert!(long.starts_with("release.sha256.") && long.len() <= TAG_BYTES_MAX, "{long}");
    }
}
