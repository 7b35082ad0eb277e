//! What a host and a marketplace do, killed at every file that is written or removed: nothing is lost, nothing is
//! half there, and the next attempt succeeds.

mod bazaar;

use std::path::PathBuf;

use aimass_market::desk::Desk;
use aimass_market::host::{Evidence, MarketHost, Standing};
use aimass_market::mirror::FetchLimits;
use aimass_market::{MarketError, kill_after};
use aimass_trust::publishing::bundles::make_bundle;
use aimass_trust::publishing::storage::Folder;
use aimass_trust::{Limits, Revocation, Revoked, Timestamp, TrustPolicy};
use bazaar::{Bazaar, DAY, NOW, approve, at, install, name, plugin, plugin_with, standing};

/// A host with the release 1.0.0 installed, as often as one is wanted.
struct Hosts<'a> {
    bazaar: &'a Bazaar,
    policy: TrustPolicy,
}

impl Hosts<'_> {
    fn fresh(&self) -> (PathBuf, MarketHost, Evidence) {
        let _ = std::fs::remove_dir_all(self.bazaar.folder.path().join("data"));
        let (dir, host) = self.bazaar.host(FetchLimits::default());
        let first = self.bazaar.policy(&[&self.first()], "");
        let evidence = install(&host, &first, &Standing::default(), NOW);
        (dir, host, evidence.expect("admitted").expect("new"))
    }

    /// Where the marketplace lies as it was with one release.
    fn first(&self) -> String {
        self.bazaar.folder.path().join("first").display().to_string()
    }

    /// Whether a release loads on the host as it is after the kill.
    fn loads(&self, host: &MarketHost, evidence: &Evidence, now: u64) -> Result<(), &'static str> {
        let package = evidence.admitted.package();
        let files = (package.digest(), &package.component()[..], &evidence.dsse[..]);
        let judged = host.verify_load(&self.policy, files, at(now)).expect("of a marketplace");
        judged.map(drop).map_err(|error| error.code())
    }

    /// Does something on a fresh host, killed after no write, after one, and so on until it is done, and
    /// looks at what there is after each. Returns how many writes it took.
    fn killed_everywhere(
        &self,
        act: impl Fn(&MarketHost, &Evidence, u64) -> Result<Option<Evidence>, MarketError>,
    ) -> u64 {
        for writes in 0..200 {
            let (dir, host, first) = self.fresh();
            kill_after(Some(writes));
            let outcome = act(&host, &first, NOW + 10);
            kill_after(None);
            let host = MarketHost::open(&dir, FetchLimits::default());
            host.audit().verify().unwrap_or_else(|error| panic!("after {writes}: {error}"));
            assert_eq!(self.loads(&host, &first, NOW + 11), Ok(()), "after {writes}: lost");
            for record in host.admitted("bazaar").expect("whole records") {
                assert!(["1.0.0", "1.1.0", "2.0.0"].contains(&record.version.as_str()));
            }
            host.held("bazaar").expect("a whole list");
            if outcome.is_ok() {
                return writes;
            }
            let again = act(&host, &first, NOW + 12);
            let again = again.unwrap_or_else(|error| panic!("after {writes}: {error}"));
            let second = again.unwrap_or_else(|| panic!("after {writes}: nothing new"));
            assert_eq!(self.loads(&host, &second, NOW + 13), Ok(()), "after {writes}");
            host.audit().verify().unwrap_or_else(|error| panic!("after {writes}: {error}"));
        }
        panic!("it writes without an end")
    }
}

/// A marketplace with 1.0.0, as a copy has it, and then with another release.
fn marketplace(version: &str, limits: Limits) -> Bazaar {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let copy = bazaar.folder.path().join("first");
    let mut copied = std::process::Command::new("cp");
    let copied = copied.arg("-r").arg(bazaar.location()).arg(copy).status();
    assert!(copied.expect("cp").success());
    bazaar.release(&plugin_with(&bazaar, version, 2, limits), NOW + 5);
    bazaar
}

#[test]
fn an_install_killed_at_every_write_is_whole_or_not_there() {
    let bazaar = marketplace("1.1.0", Limits::default());
    let policy = bazaar.policy(&[&bazaar.location()], "");
    let hosts = Hosts { bazaar: &bazaar, policy: policy.clone() };
    let writes =
        hosts.killed_everywhere(|host, first, now| install(host, &policy, &standing(first), now));
    assert!(writes >= 8, "{writes} writes");
}

#[test]
fn an_approval_killed_at_every_write_is_whole_or_not_there() {
    let more = Limits { wall_ms_max: Some(200), ..Limits::default() };
    let bazaar = marketplace("2.0.0", more);
    let policy = bazaar.policy(&[&bazaar.location()], "");
    let hosts = Hosts { bazaar: &bazaar, policy: policy.clone() };
    let writes = hosts.killed_everywhere(|host, first, now| {
        approve(host, &policy, &standing(first), now).map(Some)
    });
    assert!(writes >= 8, "{writes} writes");
}

#[test]
fn a_bundle_killed_at_every_write_is_whole_or_not_there() {
    let bazaar = marketplace("1.1.0", Limits::default());
    let policy = bazaar.policy(&["/nowhere"], "");
    let hosts = Hosts { bazaar: &bazaar, policy: policy.clone() };
    let public = Folder::new(&bazaar.desk.public_dir());
    let version = "1.1.0".parse().expect("a version");
    let bundle = make_bundle(&public, &name(), &version, 1).expect("a bundle");
    let writes = hosts.killed_everywhere(|host, first, now| {
        let market = &policy.subscriptions()[0];
        let evidence =
            host.admit_bundle(&policy, market, &bundle, (&standing(first), false), at(now))?;
        host.remember(market, &evidence, at(now))?;
        Ok(Some(evidence))
    });
    assert!(writes >= 5, "{writes} writes");
}

#[test]
fn a_refresh_killed_at_every_write_never_brings_back_what_was_revoked() {
    let bazaar = marketplace("1.1.0", Limits::default());
    let policy = bazaar.policy(&[&bazaar.location()], "");
    let hosts = Hosts { bazaar: &bazaar, policy: policy.clone() };
    let (_, _, first) = hosts.fresh();
    let entry = Revocation {
        what: Revoked::File(*first.admitted.package().digest()),
        reason: "test".to_owned(),
        at: Timestamp::from_unix(NOW + 60),
    };
    bazaar.revoke(entry, NOW + 60);
    let market = &policy.subscriptions()[0];
    for writes in 0..200 {
        let (dir, host, first) = hosts.fresh();
        kill_after(Some(writes));
        let outcome = host.refresh(market, Some(&name()), at(NOW + 70)).map(drop);
        kill_after(None);
        let host = MarketHost::open(&dir, FetchLimits::default());
        let loads = hosts.loads(&host, &first, NOW + 71);
        if outcome.is_ok() {
            assert_eq!(loads, Err("AMT-REVOKED"));
            assert!(writes >= 5, "{writes} writes");
            return;
        }
        assert!(matches!(loads, Ok(()) | Err("AMT-REVOKED")), "after {writes}: {loads:?}");
        host.refresh(market, Some(&name()), at(NOW + 72))
            .unwrap_or_else(|error| panic!("after {writes}: {error}"));
        assert_eq!(hosts.loads(&host, &first, NOW + 73), Err("AMT-REVOKED"), "after {writes}");
    }
    panic!("it writes without an end");
}

/// Submitting, accepting, publishing and revoking at the marketplace's own desk.
#[test]
fn a_desk_killed_at_every_write_goes_on_where_it_was() {
    for writes in 0..200 {
        let bazaar = Bazaar::open();
        let good = plugin(&bazaar, "1.0.0", 1);
        let reviewer = &bazaar.people.reviewers[0];
        let everything = |desk: &Desk, now: u64| -> Result<(), MarketError> {
            // What was done before the kill need not be done again.
            if desk.log_entries()?.is_empty() {
                let id = match desk.inbox()?.first() {
                    Some(waiting) => waiting.id.clone(),
                    None => bazaar.submit(&good, now)?,
                };
                desk.accept(&id, reviewer, &bazaar.keys, at(now))?;
                desk.publish(&bazaar.keys, at(now))?;
            }
            if desk.revoked()?.entries().is_empty() {
                let entry = Revocation {
                    what: Revoked::Publisher("other".to_owned()),
                    reason: "test".to_owned(),
                    at: Timestamp::from_unix(now),
                };
                desk.draft_revocation(entry, Timestamp::from_unix(now))?;
                for key in &bazaar.people.targets {
                    aimass_market::desk::sign_draft(&desk.dir().join("drafts/targets.json"), key)?;
                }
            }
            desk.publish(&bazaar.keys, at(now)).map(drop)
        };
        kill_after(Some(writes));
        let outcome = everything(&bazaar.desk, NOW + DAY);
        kill_after(None);
        let desk = Desk::open(bazaar.desk.dir()).expect("opened");
        desk.log_entries().unwrap_or_else(|error| panic!("after {writes}: {error}"));
        if outcome.is_ok() {
            assert!(writes >= 8, "{writes} writes");
            return;
        }
        everything(&desk, NOW + DAY + 1).unwrap_or_else(|error| panic!("after {writes}: {error}"));
        assert_eq!(desk.log_entries().expect("whole").len(), 1, "after {writes}: logged once");
        assert_eq!(desk.revoked().expect("whole").entries().len(), 1, "after {writes}");
        let (_, host) = bazaar.host(FetchLimits::default());
        let policy = bazaar.policy(&[&bazaar.location()], "");
        let found = install(&host, &policy, &Standing::default(), NOW + DAY + 2);
        assert!(found.unwrap_or_else(|error| panic!("after {writes}: {error}")).is_some());
    }
    panic!("it writes without an end");
}
