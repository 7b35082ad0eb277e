//! The registry of Debian's package `docker-registry` (distribution 2.8, without a referrers API): what our
//! own registry of the tests says of the specification, said by one that we did not write.
//!
//! `cargo xtask test` gives its binary; without it these tests say that they did nothing.

mod bazaar;

use aimass_market::host::Standing;
use aimass_market::mirror::{FetchLimits, Mirror};
use aimass_market::oci::{self, Credentials, Location, OciMirror};
use aimass_testkit::OciRegistry;
use bazaar::{Bazaar, NOW, at, install, plugin, standing};

fn push(bazaar: &Bazaar, location: &str, credentials: Option<Credentials>) -> oci::Pushed {
    let location = Location::parse(location).expect("a location");
    oci::push(&bazaar.desk, &location, credentials, FetchLimits::default()).expect("pushed")
}

#[test]
fn debians_registry_keeps_a_marketplace_that_hosts_follow() {
    let Some(registry) = OciRegistry::start(false).expect("a registry") else { return };
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let location = format!("oci://{}/acme/market", registry.address());
    let first = push(&bazaar, &location, None);
    assert_eq!(first.releases, ["acme/resize@1.0.0"]);
    let again = push(&bazaar, &location, None);
    assert_eq!((again.blobs, again.changed, again.releases.len()), (0, false, 0), "{again:?}");
    let (_, host) = bazaar.host(FetchLimits::default());
    let policy = bazaar.policy(&[&location], "");
    let one = install(&host, &policy, &Standing::default(), NOW).expect("ok").expect("new");
    bazaar.release(&plugin(&bazaar, "1.1.0", 2), NOW + 1);
    let second = push(&bazaar, &location, None);
    assert_eq!(second.releases, ["acme/resize@1.1.0"]);
    let two = install(&host, &policy, &standing(&one), NOW + 2).expect("ok").expect("new");
    assert_eq!(two.admitted.package().manifest().version.to_string(), "1.1.0");
    bazaar.desk.refresh(&bazaar.keys, at(NOW + 60)).expect("refreshed");
    assert_eq!(push(&bazaar, &location, None).blobs, 2, "timestamp and snapshot");
    let other = format!("oci://{}/acme/other", registry.address());
    let mut none =
        OciMirror::new(Location::parse(&other).expect("one"), None, FetchLimits::default())
            .expect("an agent");
    assert_eq!(none.fetch("log.policy", 1 << 16).expect("read"), None);
}

#[test]
fn debians_registry_with_users_takes_pushes_of_those_alone() {
    let Some(registry) = OciRegistry::start(true).expect("a registry") else { return };
    let bazaar = Bazaar::open();
    let location = format!("oci://{}/market", registry.address());
    let whole = Location::parse(&location).expect("a location");
    let push_as =
        |credentials| oci::push(&bazaar.desk, &whole, credentials, FetchLimits::default());
    let error = push_as(None).expect_err("nobody").to_string();
    assert!(error.contains("docker login"), "{error}");
    let error = push_as(Some(Credentials::new("me", "guess"))).expect_err("another").to_string();
    assert!(error.contains("401 UNAUTHORIZED"), "{error}");
    assert!(push(&bazaar, &location, Some(Credentials::new("me", "secret"))).changed);
}
