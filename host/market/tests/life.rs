//! A marketplace's life as its three parties see it, on one disk.

mod bazaar;

use aimass_market::desk::{Desk, PUSH_MAX};
use aimass_market::host::audit::{AuditLine, Event};
use aimass_market::host::{HeldUpdate, Standing};
use aimass_market::mirror::FetchLimits;
use aimass_trust::publishing::bundles::make_bundle;
use aimass_trust::publishing::storage::Folder;
use aimass_trust::{Limits, RefusalCode, Revocation, Revoked, Timestamp};
use bazaar::{Bazaar, DAY, NOW, approve, at, install, name, plugin, plugin_with, standing};

#[test]
fn a_release_goes_from_submission_to_a_loaded_plugin_and_ends_with_its_revocation() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let (dir, host) = bazaar.host(FetchLimits::default());
    let policy = bazaar.policy(&[&bazaar.location()], "");
    let evidence = install(&host, &policy, &Standing::default(), NOW).expect("ok").expect("new");
    let package = evidence.admitted.package();
    let load = |now| {
        let files = (package.digest(), &package.component()[..], &evidence.dsse[..]);
        let judged = host.verify_load(&policy, files, at(now)).expect("of a marketplace");
        judged.map(|package| package.name().clone()).map_err(|error| error.code())
    };
    assert_eq!(load(NOW), Ok(name()));
    assert!(install(&host, &policy, &standing(&evidence), NOW + 1).expect("ok").is_none());

    let entry = Revocation {
        what: Revoked::File(*package.digest()),
        reason: "test".to_owned(),
        at: Timestamp::from_unix(NOW + 60),
    };
    bazaar.revoke(entry, NOW + 60);
    assert_eq!(load(NOW + 61), Ok(name()), "the host has not looked yet");
    host.refresh(&policy.subscriptions()[0], None, at(NOW + 62)).expect("refreshed");
    assert_eq!(load(NOW + 62), Err("AMT-REVOKED"));
    let error = install(&host, &policy, &Standing::default(), NOW + 63).expect_err("revoked");
    assert_eq!(error.code(), "AMT-REVOKED");

    let lines = host.audit().verify().expect("whole");
    let events: Vec<Event> = lines.iter().map(|line| line.event).collect();
    let expected =
        [Event::Trusted, Event::Refreshed, Event::Admitted, Event::Refreshed, Event::Refused];
    assert_eq!(events, expected);
    assert_eq!(lines[4].code.as_deref(), Some("AMT-REVOKED"));
    assert!(dir.join("markets/bazaar/state.json").exists());
}

#[test]
fn an_update_that_asks_for_more_is_held_until_it_is_approved() {
    let bazaar = Bazaar::open();
    let few = Limits { wall_ms_max: Some(100), ..Limits::default() };
    bazaar.release(&plugin_with(&bazaar, "1.0.0", 1, few), NOW);
    let (_, host) = bazaar.host(FetchLimits::default());
    let policy = bazaar.policy(&[&bazaar.location()], "");
    let first = install(&host, &policy, &Standing::default(), NOW).expect("ok").expect("new");
    let more = Limits { wall_ms_max: Some(200), ..Limits::default() };
    bazaar.release(&plugin_with(&bazaar, "1.1.0", 2, few), NOW + 5);
    bazaar.release(&plugin_with(&bazaar, "2.0.0", 3, more), NOW + 5);
    let second = install(&host, &policy, &standing(&first), NOW + 6).expect("ok").expect("new");
    assert_eq!(second.admitted.package().version().as_str(), "1.1.0", "the newest allowed");
    let error = install(&host, &policy, &standing(&second), NOW + 7).expect_err("held");
    assert_eq!(error.code(), "AMT-CAP");
    let held = host.held("bazaar").expect("read");
    assert_eq!(held[&name()].version, "2.0.0");
    approve(&host, &policy, &standing(&second), NOW + 8).expect("approved");
    assert!(host.held("bazaar").expect("read").is_empty());
    let events: Vec<Event> =
        host.audit().verify().expect("whole").iter().map(|line| line.event).collect();
    assert!(events.contains(&Event::Held) && events.contains(&Event::Approved), "{events:?}");
}

#[test]
fn holding_a_package_and_letting_it_go_on_are_recorded_once() {
    let bazaar = Bazaar::open();
    let (_, host) = bazaar.host(FetchLimits::default());
    let (reason, since) = ("held by the operator".to_owned(), Timestamp::from_unix(NOW));
    let held = HeldUpdate { version: String::new(), reason, since };
    for update in [Some(held.clone()), Some(held), None, None] {
        host.set_held("bazaar", &name(), update).expect("written");
    }
    let lines = host.audit().verify().expect("whole");
    let of = |line: &AuditLine| (line.event, line.subject.clone());
    let expected = [Event::Held, Event::Unheld].map(|event| (event, name().to_string()));
    assert_eq!(lines.iter().skip(1).map(of).collect::<Vec<_>>(), expected);
}

#[test]
fn submissions_are_turned_down_with_their_code() {
    let bazaar = Bazaar::open();
    let greedy = Limits { wall_ms_max: Some(9999), ..Limits::default() };
    let id = bazaar.submit(&plugin_with(&bazaar, "1.0.0", 1, greedy), NOW).expect("in the inbox");
    let accept = |id: &str| {
        let reviewer = &bazaar.people.reviewers[0];
        bazaar.desk.accept(id, reviewer, &bazaar.keys, at(NOW)).map_err(|error| error.code())
    };
    assert_eq!(accept(&id).expect_err("asks for too much"), "AMT-CAP");
    let waiting = bazaar.publish(NOW).waiting;
    assert!(waiting[0].reason.contains("AMT-CAP"), "{waiting:?}");
    assert_eq!(bazaar.desk.reject(&id, "too greedy").expect("rejected"), "acme/resize@1.0.0");
    assert!(bazaar.desk.inbox().expect("read").is_empty());

    let good = plugin(&bazaar, "1.0.0", 1);
    let id = bazaar.submit(&good, NOW).expect("in the inbox");
    assert_eq!(bazaar.publish(NOW).waiting[0].reason, "0 of 1 reviews");
    let stranger = &bazaar.people.acme;
    let refused = bazaar.desk.accept(&id, stranger, &bazaar.keys, at(NOW));
    assert!(refused.expect_err("no reviewer").to_string().contains("a reviewer's key"));
    accept(&id).expect("accepted");
    assert_eq!(bazaar.publish(NOW).releases, [("acme/resize@1.0.0".to_owned(), 0)]);
    let again = bazaar.submit(&good, NOW).expect_err("published").to_string();
    assert!(again.contains("new version"), "{again}");
    let old = bazaar.submit(&plugin(&bazaar, "0.9.0", 1), NOW).expect("in the inbox");
    assert_eq!(accept(&old).expect_err("not newer"), "AMT-ROLLBACK");
    let entries = bazaar.desk.log_entries().expect("whole");
    assert_eq!(entries[0].release.as_deref(), Some("acme/resize@1.0.0"));
    assert_eq!(bazaar.desk.catalog().expect("read").len(), 1);
}

#[test]
fn a_bundle_is_admitted_without_a_network_and_grows_stale_before_it_ends() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let version = "1.0.0".parse().expect("a version");
    let public = Folder::new(&bazaar.desk.public_dir());
    let bundle = make_bundle(&public, &name(), &version, 1).expect("a bundle");
    let (_, host) = bazaar.host(FetchLimits::default());
    let policy = bazaar.policy(&["/nowhere"], "");
    let market = &policy.subscriptions()[0];
    let admit = |now| {
        let standing = Standing::default();
        host.admit_bundle(&policy, market, &bundle, (&standing, false), at(now))
    };
    assert_eq!(admit(NOW + 20 * DAY).expect_err("too old").code(), "AMT-EXPIRED");
    let evidence = admit(NOW + 3 * DAY).expect("admitted");
    host.remember(market, &evidence, at(NOW + 3 * DAY)).expect("remembered");
    assert!(host.stale(market, at(NOW + 3 * DAY)).expect("known"));
    let package = evidence.admitted.package();
    let load = |now| {
        let files = (package.digest(), &package.component()[..], &evidence.dsse[..]);
        host.verify_load(&policy, files, at(now)).expect("of a marketplace").map(|_| ())
    };
    load(NOW + 7 * DAY).expect("stale, and serving");
    assert_eq!(load(NOW + 9 * DAY).expect_err("over").code(), "AMT-EXPIRED");
    let cut = host.admit_bundle(
        &policy,
        market,
        &bundle[..bundle.len() - 512],
        (&Standing::default(), false),
        at(NOW),
    );
    assert_eq!(cut.expect_err("cut").code(), RefusalCode::Format.as_str());
    let lines = host.audit().verify().expect("whole");
    let last = lines.last().expect("recorded");
    assert_eq!((last.event, last.code.as_deref()), (Event::Refused, Some("AMT-FORMAT")));
    assert_eq!((&*last.market, &*last.subject), ("bazaar", ""), "of what it is cannot be read");
}

#[test]
fn a_clock_that_is_a_year_off_revives_nothing() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let (_, host) = bazaar.host(FetchLimits::default());
    let policy = bazaar.policy(&[&bazaar.location()], "");
    let forward = install(&host, &policy, &Standing::default(), NOW + 365 * DAY);
    assert_eq!(forward.expect_err("expired").code(), "AMT-EXPIRED");
    install(&host, &policy, &Standing::default(), NOW).expect("ok").expect("new");
    // A year back: the floor holds, so that what has expired since stays so.
    bazaar.desk.refresh(&bazaar.keys, at(NOW + 2 * DAY)).expect("refreshed");
    bazaar.release(&plugin(&bazaar, "1.1.0", 2), NOW + 2 * DAY);
    let market = &policy.subscriptions()[0];
    host.refresh(market, None, at(NOW + 2 * DAY)).expect("refreshed");
    let back = host.known(market, Some("acme"), at(NOW - 365 * DAY)).expect("known");
    assert!(back.time().clock_is_behind);
    assert_eq!(back.time().now, Timestamp::from_unix(NOW + 2 * DAY));
    let early = bazaar.host(FetchLimits::default()).1.refresh(market, None, at(NOW + 10 * DAY));
    assert_eq!(early.expect_err("expired").code(), "AMT-EXPIRED");
}

#[test]
fn a_publisher_that_was_dropped_ends_alone() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let (_, host) = bazaar.host(FetchLimits::default());
    let policy = bazaar.policy(&[&bazaar.location()], "");
    let evidence = install(&host, &policy, &Standing::default(), NOW).expect("ok").expect("new");
    bazaar.desk.draft_removal("acme", Timestamp::from_unix(NOW)).expect("drafted");
    bazaar.sign("targets", &bazaar.people.targets);
    bazaar.publish(NOW + 5);
    host.refresh(&policy.subscriptions()[0], None, at(NOW + 6)).expect("the others go on");
    let package = evidence.admitted.package();
    let files = (package.digest(), &package.component()[..], &evidence.dsse[..]);
    let judged = host.verify_load(&policy, files, at(NOW + 6)).expect("of a marketplace");
    assert_eq!(judged.expect_err("dropped").code(), "AMT-NAME");
}

#[test]
fn an_inbox_holds_as_many_submissions_as_market_toml_says() {
    let bazaar = Bazaar::open();
    let config = bazaar.desk.dir().join("market.toml");
    let text = std::fs::read_to_string(&config).expect("a marketplace");
    std::fs::write(&config, format!("inbox_max = 2\n{text}")).expect("written");
    let desk = Desk::open(bazaar.desk.dir()).expect("opened");
    let submission = |version: &str, sequence| {
        bazaar.submission(&plugin(&bazaar, version, sequence), NOW).expect("prepared")
    };
    let second = submission("1.1.0", 2);
    desk.submit(&submission("1.0.0", 1)).expect("the first");
    desk.submit(&second).expect("as many as may be");
    let error = desk.submit(&submission("1.2.0", 3)).expect_err("one more").to_string();
    assert!(error.contains("at most 2 submissions") && error.contains("inbox_max"), "{error}");
    desk.submit(&second).expect("instead of itself");
    assert_eq!(desk.inbox().expect("read").len(), 2);
}

#[test]
fn one_command_at_a_time_changes_a_marketplace_and_the_next_waits_for_it() {
    let bazaar = Bazaar::open();
    let dir = bazaar.desk.dir().to_owned();
    let config = dir.join("market.toml");
    let text = std::fs::read_to_string(&config).expect("a marketplace");
    let desk = |lines: &str| {
        std::fs::write(&config, format!("{lines}\n{text}")).expect("written");
        Desk::open(&dir)
    };
    let held = desk("").expect("opened").lock().expect("free");
    let impatient = desk("lock_seconds_max = 0").expect("opened");
    let error = impatient.lock().expect_err("another at work").to_string();
    assert!(error.contains("lock_seconds_max"), "{error}");
    let waiting = std::thread::spawn({
        let desk = desk("lock_seconds_max = 600").expect("opened");
        move || desk.lock().map(drop).map_err(|error| error.to_string())
    });
    drop(held);
    waiting.join().expect("ended").expect("free again");

    let push = |count: usize| {
        let locations: Vec<_> = (0..count).map(|at| format!("\"oci://r{at}.example/m\"")).collect();
        desk(&format!("push = [{}]", locations.join(", ")))
    };
    assert_eq!(push(PUSH_MAX).expect("as many as may be").config().push.len(), PUSH_MAX);
    let error = push(PUSH_MAX + 1).expect_err("one more").to_string();
    assert!(error.contains("at most 8 locations") && error.contains('9'), "{error}");
}
