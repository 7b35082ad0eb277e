//! Marketplaces in registries: pushed, followed, and registries that lie, lead astray or never end.

mod bazaar;
mod registry;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aimass_market::MarketError;
use aimass_market::host::Standing;
use aimass_market::mirror::{FetchLimits, Mirror};
use aimass_market::oci::{self, Credentials, Location, MANIFEST_BYTES_MAX, OciMirror, Pushed};
use aimass_testkit::Peak;
use aimass_trust::{Revocation, Revoked, Timestamp};
use bazaar::{Bazaar, NOW, at, install, name, plugin, standing};
use registry::{Fault, Guard, Registry, Request};
use serde_json::{Value, json};

#[global_allocator]
static MEMORY: Peak = Peak::new();

fn limits() -> FetchLimits {
    FetchLimits {
        connect: Duration::from_secs(5),
        file: Duration::from_millis(900),
        bytes_per_second_min: 1 << 24,
        files_max: 64,
    }
}

fn patient() -> FetchLimits {
    FetchLimits { files_max: 64, ..FetchLimits::default() }
}

fn push_as(
    bazaar: &Bazaar,
    location: &str,
    credentials: Option<Credentials>,
) -> Result<Pushed, MarketError> {
    let location = Location::parse(location).expect("a location");
    oci::push(&bazaar.desk, &location, credentials, patient())
}

fn push(bazaar: &Bazaar, registry: &Registry) -> Pushed {
    push_as(bazaar, &registry.location(), None).expect("pushed")
}

/// A marketplace with one release, in a registry.
fn pushed(referrers: bool) -> (Bazaar, Arc<Registry>) {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let registry = Registry::start(referrers, Guard::Open);
    push(&bazaar, &registry);
    registry.requests();
    (bazaar, registry)
}

/// The code, or the text, with which a host refuses what is at `location`.
fn refused(bazaar: &Bazaar, location: &str) -> String {
    let (dir, host) = bazaar.host(limits());
    let policy = bazaar.policy(&[location], "");
    let error = install(&host, &policy, &Standing::default(), NOW).expect_err("refused");
    let lines = host.audit().verify().expect("whole");
    let last = lines.last().expect("a line");
    assert_eq!(last.code.as_deref(), Some(error.code()).filter(|code| *code != "market"));
    std::fs::remove_dir_all(dir).expect("removed");
    if error.code() == "market" { error.to_string() } else { error.code().to_owned() }
}

#[test]
fn a_marketplace_is_followed_in_a_registry_with_referrers_and_without() {
    for referrers in [true, false] {
        let (bazaar, registry) = pushed(referrers);
        let fallbacks =
            registry.kept().tags.keys().filter(|tag| tag.starts_with("sha256-")).count();
        assert_eq!(fallbacks, usize::from(!referrers));
        assert!(registry.kept().tags.contains_key("release.acme.resize.1.0.0"));
        let (_, host) = bazaar.host(patient());
        let policy = bazaar.policy(&[&registry.location()], "");
        let first = install(&host, &policy, &Standing::default(), NOW).expect("ok").expect("new");

        bazaar.release(&plugin(&bazaar, "1.1.0", 2), NOW + 1);
        let standing = standing(&first);
        let none = install(&host, &policy, &standing, NOW + 2).expect("ok");
        assert!(none.is_none(), "not pushed yet");
        let pushed = push(&bazaar, &registry);
        assert_eq!(pushed.releases, ["acme/resize@1.1.0"]);
        let second = install(&host, &policy, &standing, NOW + 3).expect("ok").expect("new");
        assert_eq!(second.admitted.package().manifest().version.to_string(), "1.1.0");

        let sha256 = *second.admitted.package().digest();
        let (reason, date) = ("bad".to_owned(), Timestamp::from_unix(NOW + 4));
        bazaar.revoke(Revocation { what: Revoked::File(sha256), reason, at: date }, NOW + 4);
        push(&bazaar, &registry);
        host.refresh(&policy.subscriptions()[0], None, at(NOW + 5)).expect("refreshed");
        let package = second.admitted.package();
        let files = (package.digest(), &package.component()[..], &second.dsse[..]);
        let judged = host.verify_load(&policy, files, at(NOW + 5)).expect("of a marketplace");
        assert_eq!(judged.expect_err("revoked").code(), "AMT-REVOKED");
    }
}

#[test]
fn what_is_there_is_not_sent_again() {
    for referrers in [true, false] {
        let (bazaar, registry) = pushed(referrers);
        let again = push(&bazaar, &registry);
        assert_eq!((again.blobs, again.bytes, again.changed), (0, 0, false), "{again:?}");
        assert!(again.releases.is_empty() && again.files > 5, "{again:?}");
        let requests = registry.requests();
        assert!(requests.iter().all(|one| matches!(&*one.method, "GET" | "HEAD")), "{requests:?}");
        bazaar.desk.refresh(&bazaar.keys, at(NOW + 60)).expect("refreshed");
        let fresh = push(&bazaar, &registry);
        assert_eq!((fresh.blobs, fresh.changed), (2, true), "timestamp and snapshot: {fresh:?}");
    }
}

#[test]
fn a_blob_that_the_registry_lost_is_sent_again() {
    let (bazaar, registry) = pushed(false);
    let lost = layer(&registry, "1.root.json");
    registry.kept().blobs.remove(&lost).expect("a blob");
    assert_eq!(push(&bazaar, &registry).blobs, 1);
    assert!(registry.kept().blobs.contains_key(&lost));
}

/// A push that is broken off at its n-th writing request, for every n and both ways.
#[test]
fn a_push_that_is_killed_anywhere_leaves_the_state_of_before_and_the_next_one_ends_it() {
    for (referrers, fault) in [(true, Fault::Drop), (false, Fault::Drop), (false, Fault::DoneDrop)]
    {
        let bazaar = Bazaar::open();
        bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
        let registry = Registry::start(referrers, Guard::Open);
        push(&bazaar, &registry);
        let old = registry.kept().tags["market"].clone();
        bazaar.release(&plugin(&bazaar, "1.1.0", 2), NOW + 1);
        let mut writes = 0;
        loop {
            let seen = AtomicUsize::new(0);
            let fault = fault.clone();
            registry.break_by(move |request: &Request| {
                let is_write = !matches!(&*request.method, "GET" | "HEAD");
                (is_write && seen.fetch_add(1, Ordering::SeqCst) == writes).then(|| fault.clone())
            });
            let ended = push_as(&bazaar, &registry.location(), None);
            registry.mend();
            let moved = registry.kept().tags["market"] != old;
            let (dir, host) = bazaar.host(patient());
            let policy = bazaar.policy(&[&registry.location()], "");
            let found = install(&host, &policy, &Standing::default(), NOW + 2).expect("whole");
            let version = found.expect("new").admitted.package().manifest().version.to_string();
            assert_eq!(version, if moved { "1.1.0" } else { "1.0.0" }, "after {writes} writes");
            std::fs::remove_dir_all(dir).expect("removed");
            if ended.is_ok() {
                assert!(moved, "a push that ended is seen");
                break;
            }
            writes += 1;
        }
        // What an unfinished push left is used by the next, so each has fewer writes before its fault.
        assert!(writes > 2, "{writes} writes");
    }
}

/// Which request the body of a file answers.
fn of_blob(digest: &str) -> impl Fn(&Request) -> bool + Send + Sync + 'static {
    let path = format!("blobs/{digest}");
    move |request| request.method == "GET" && request.path.ends_with(&path)
}

/// Digest of the layer whose title ends so, in any manifest that is there.
fn layer(registry: &Registry, ending: &str) -> String {
    let kept = registry.kept();
    let manifests = kept.manifests.values();
    let layers = manifests.flat_map(|(_, bytes)| {
        let manifest: Value = serde_json::from_slice(bytes).unwrap_or_default();
        manifest["layers"].as_array().cloned().unwrap_or_default()
    });
    let mut found = layers.filter(|layer| {
        let title = layer["annotations"]["org.opencontainers.image.title"].as_str();
        title.is_some_and(|title| title.ends_with(ending))
    });
    let layer = found.next().unwrap_or_else(|| panic!("a layer {ending}"));
    layer["digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn registries_that_lie_are_refused_by_code() {
    let (bazaar, registry) = pushed(false);
    for (ending, gone) in [
        (".wasm", "AMT-MIX"),
        ("dsse.json", "AMT-MIX"),
        ("tlog-proof", "AMT-MIX"),
        ("2.targets.json", "AMT-MIX"),
        ("2.acme.json", "AMT-MIX"),
        (".snapshot.json", "AMT-MIX"),
        ("timestamp.json", "AMT-MIX"),
        ("revocations.json", "AMT-DIGEST"),
    ] {
        let ending = if ending == "2.acme.json" { ".acme.json" } else { ending };
        let digest = layer(&registry, ending);
        let mut bytes = registry.kept().blobs[&digest].clone();
        *bytes.last_mut().expect("a byte") ^= 1;
        let is_it = of_blob(&digest);
        registry.break_by(move |request| is_it(request).then(|| Fault::Body(bytes.clone())));
        assert_eq!(refused(&bazaar, &registry.location()), "AMT-DIGEST", "{ending} flipped");
        let is_it = of_blob(&digest);
        registry.break_by(move |request| is_it(request).then_some(Fault::Status(404)));
        let got = refused(&bazaar, &registry.location());
        assert!(got == gone || (gone == "AMT-DIGEST" && got == "AMT-FORMAT"), "{ending}: {got}");
        let is_it = of_blob(&digest);
        registry.break_by(move |request| is_it(request).then_some(Fault::Cut));
        let got = refused(&bazaar, &registry.location());
        assert!(!got.starts_with("AMT-"), "{ending} cut: {got}");
    }
}

#[test]
fn a_state_of_other_files_under_right_digests_is_refused_as_from_any_mirror() {
    let (bazaar, registry) = pushed(true);
    let swap = |from: &'static str, to: &'static str| {
        let (registry, kept) = (registry.clone(), registry.kept().tags["market"].clone());
        registry.change_manifest("market", |bytes| {
            let mut manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
            let layers = manifest["layers"].as_array_mut().expect("layers");
            let title = "org.opencontainers.image.title";
            let at = |ending: &str| {
                let ends = |one: &Value| {
                    one["annotations"][title].as_str().is_some_and(|it| it.ends_with(ending))
                };
                layers.iter().position(ends).expect("a layer")
            };
            let (from, to) = (at(from), at(to));
            for part in ["digest", "size"] {
                layers[from][part] = layers[to][part].clone();
            }
            serde_json::to_vec(&manifest).expect("JSON")
        });
        let got = refused(&bazaar, &registry.location());
        registry.kept().tags.insert("market".to_owned(), kept);
        got
    };
    assert_eq!(swap("timestamp.json", ".snapshot.json"), "AMT-THRESHOLD");
    assert_eq!(swap(".snapshot.json", "2.targets.json"), "AMT-MIX");
    assert_eq!(swap("revocations.json", "1.root.json"), "AMT-DIGEST");
}

#[test]
fn an_old_state_is_a_rollback_and_a_lost_log_is_noticed() {
    let (bazaar, registry) = pushed(true);
    let old = registry.kept().tags["market"].clone();
    let (_, host) = bazaar.host(patient());
    let policy = bazaar.policy(&[&registry.location()], "");
    let market = &policy.subscriptions()[0];
    bazaar.release(&plugin(&bazaar, "1.1.0", 2), NOW + 1);
    push(&bazaar, &registry);
    host.refresh(market, Some(&name()), at(NOW + 2)).expect("refreshed");
    let new = registry.kept().tags.insert("market".to_owned(), old).expect("a state");
    let error = host.refresh(market, None, at(NOW + 3)).expect_err("older");
    assert_eq!(error.code(), "AMT-ROLLBACK");
    registry.kept().tags.insert("market".to_owned(), new);
    registry.change_manifest("market", |bytes| {
        String::from_utf8(bytes).expect("JSON").replace("log/checkpoint", "log/other").into_bytes()
    });
    let error = host.refresh(market, None, at(NOW + 4)).expect_err("withheld");
    assert_eq!(error.code(), "AMT-LOG");
}

#[test]
fn registries_that_trickle_or_never_end_are_cut() {
    let (bazaar, registry) = pushed(true);
    let timestamp = layer(&registry, "timestamp.json");
    for (fault, code) in
        [(Fault::Endless, "AMT-SIZE"), (Fault::Trickle, "timeout"), (Fault::Silent, "timeout")]
    {
        let own = fault.clone();
        registry.break_by(move |request| {
            request.path.ends_with("manifests/market").then(|| own.clone())
        });
        let got = refused(&bazaar, &registry.location());
        assert!(got.contains(code), "manifest {fault:?}: {got}");
        let (is_it, own) = (of_blob(&timestamp), fault.clone());
        registry.break_by(move |request| is_it(request).then(|| own.clone()));
        let got = refused(&bazaar, &registry.location());
        assert!(got.contains(code), "blob {fault:?}: {got}");
    }
}

#[test]
fn claimed_sizes_are_believed_in_no_direction() {
    let (bazaar, registry) = pushed(true);
    let timestamp = layer(&registry, "timestamp.json");
    let size = registry.kept().blobs[&timestamp].len();
    let kept = registry.kept().tags["market"].clone();
    let claim = |claimed: u64| {
        registry.kept().tags.insert("market".to_owned(), kept.clone());
        registry.change_manifest("market", |bytes| {
            let text = String::from_utf8(bytes).expect("JSON");
            let (before, after) = text.split_once("metadata/timestamp.json").expect("its layer");
            let at = before.rfind("\"size\":").expect("a size");
            let rest = &before[at..].replacen(
                &format!("\"size\":{size}"),
                &format!("\"size\":{claimed}"),
                1,
            );
            format!("{}{rest}metadata/timestamp.json{after}", &before[..at]).into_bytes()
        });
        registry.requests();
    };
    claim(1 << 40);
    assert_eq!(refused(&bazaar, &registry.location()), "AMT-SIZE");
    let asked = registry.requests();
    assert!(asked.iter().all(|one| !one.path.contains("blobs/")), "nothing was fetched: {asked:?}");
    // One byte above what a metadata file may have, and exactly that.
    claim((1 << 20) + 1);
    assert_eq!(refused(&bazaar, &registry.location()), "AMT-SIZE");
    claim(1 << 20);
    let (_, host) = bazaar.host(patient());
    let policy = bazaar.policy(&[&registry.location()], "");
    install(&host, &policy, &Standing::default(), NOW).expect("ok").expect("new");
}

/// Half a gibibyte of zeros in less than a mebibyte: members of a gzip file one after the other.
fn zip_bomb() -> Vec<u8> {
    let mut member = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    member.write_all(&vec![0; 1 << 20]).expect("packed");
    member.finish().expect("packed").repeat(512)
}

#[test]
fn a_layer_that_is_a_zip_bomb_is_never_unpacked_and_refused() {
    let (bazaar, registry) = pushed(true);
    let bomb = zip_bomb();
    assert!(bomb.len() < 1 << 20, "{} bytes", bomb.len());
    let ((), most) = MEMORY.during(|| {
        // Of a component the signed release says the size, of other files there is a limit.
        for (ending, code) in [(".wasm", "AMT-SIZE"), ("timestamp.json", "AMT-DIGEST")] {
            let (is_it, own) = (of_blob(&layer(&registry, ending)), bomb.clone());
            registry.break_by(move |request| is_it(request).then(|| Fault::Packed(own.clone())));
            assert_eq!(refused(&bazaar, &registry.location()), code, "{ending} packed");
        }
        registry.break_by(|_| None);
        // The same as a packed layer under its own digest and size.
        let digest = registry.keep(&bomb);
        registry.change_manifest("market", |bytes| {
            let mut manifest: Value = serde_json::from_slice(&bytes).expect("JSON");
            for layer in manifest["layers"].as_array_mut().expect("layers") {
                let title = &layer["annotations"]["org.opencontainers.image.title"];
                if title.as_str().is_some_and(|title| title.ends_with("timestamp.json")) {
                    layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip");
                    (layer["digest"], layer["size"]) = (json!(digest), json!(bomb.len()));
                }
            }
            serde_json::to_vec(&manifest).expect("JSON")
        });
        assert_eq!(refused(&bazaar, &registry.location()), "AMT-FORMAT");
    });
    // What other tests of this program hold meanwhile is in it.
    assert!(most < 128 << 20, "{most} bytes held of a layer that unpacks to 512 MiB");
}

#[test]
fn a_manifest_of_four_mebibytes_is_read_and_one_byte_more_is_not() {
    let (bazaar, registry) = pushed(true);
    let pad = |length: usize| {
        registry.change_manifest("market", |mut bytes| {
            bytes.resize(length, b' ');
            bytes
        });
    };
    pad(MANIFEST_BYTES_MAX);
    let mut mirror =
        OciMirror::new(Location::parse(&registry.location()).expect("one"), None, patient())
            .expect("an agent");
    assert!(mirror.fetch("log.policy", 1 << 16).expect("read").is_some());
    pad(MANIFEST_BYTES_MAX + 1);
    assert_eq!(refused(&bazaar, &registry.location()), "AMT-SIZE");
}

#[test]
fn redirects_are_followed_to_named_hosts_alone_and_without_credentials() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let me = || Some(Credentials::new("me", "secret"));
    let home = Registry::start(true, Guard::Basic);
    push_as(&bazaar, &home.location(), me()).expect("pushed");
    // Where the blobs really are: an open registry of the same content.
    let store = Registry::start(true, Guard::Open);
    push(&bazaar, &store);
    store.requests();
    let origin = format!("http://{}", store.address());
    home.break_by(move |request| {
        let is_blob = request.method == "GET" && request.path.contains("/blobs/");
        is_blob.then(|| Fault::Redirect(format!("{origin}{}", request.path)))
    });
    let open = |location: &str| {
        OciMirror::new(Location::parse(location).expect("a location"), me(), patient())
            .expect("an agent")
    };
    let error = open(&home.location()).fetch("log.policy", 1 << 16).expect_err("elsewhere");
    assert!(error.to_string().contains(&format!("?also={}", store.address())), "{error}");
    assert!(store.requests().is_empty(), "nobody went there");
    let also = format!("{}?also={}", home.location(), store.address());
    assert!(open(&also).fetch("log.policy", 1 << 16).expect("read").is_some());
    let there = store.requests();
    assert!(!there.is_empty());
    assert!(there.iter().all(|one| !one.headers.contains_key("authorization")), "{there:?}");
    // In a circle it ends; each hop is one request.
    let origin = format!("http://{}", home.address());
    home.break_by(move |request| Some(Fault::Redirect(format!("{origin}{}", request.path))));
    home.requests();
    let error = open(&home.location()).fetch("log.policy", 1 << 16).expect_err("a circle");
    assert!(error.to_string().contains("redirects"), "{error}");
    assert_eq!(home.requests().len(), 5, "the request and four redirects");
}

#[test]
fn uploads_are_not_sent_elsewhere() {
    let bazaar = Bazaar::open();
    let home = Registry::start(true, Guard::Open);
    let other = Registry::start(true, Guard::Open);
    let origin = format!("http://{}", other.address());
    home.break_by(move |request| {
        (request.method != "GET" && request.method != "HEAD")
            .then(|| Fault::Redirect(format!("{origin}{}", request.path)))
    });
    let error = push_as(&bazaar, &home.location(), None).expect_err("led astray");
    assert!(error.to_string().contains("307"), "{error}");
    assert!(other.requests().is_empty());
}

#[test]
fn a_registry_is_told_who_one_is_when_it_asks() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let fetch = |location: &str, credentials: Option<Credentials>| {
        let location = Location::parse(location).expect("a location");
        OciMirror::new(location, credentials, patient())
            .expect("an agent")
            .fetch("log.policy", 1 << 16)
    };
    let me = || Some(Credentials::new("me", "secret"));
    let wrong = || Some(Credentials::new("me", "guess"));

    let basic = Registry::start(true, Guard::Basic);
    let error = push_as(&bazaar, &basic.location(), None).expect_err("nobody");
    assert!(error.to_string().contains("docker login"), "{error}");
    let error = push_as(&bazaar, &basic.location(), wrong()).expect_err("another");
    assert!(error.to_string().contains("401 UNAUTHORIZED"), "{error}");
    push_as(&bazaar, &basic.location(), me()).expect("pushed");
    assert!(fetch(&basic.location(), me()).expect("read").is_some());
    assert!(fetch(&basic.location(), None).is_err());

    let bearer = Registry::start(false, Guard::Bearer);
    let error = push_as(&bazaar, &bearer.location(), None).expect_err("nobody");
    assert!(error.to_string().contains("401"), "{error}");
    push_as(&bazaar, &bearer.location(), me()).expect("pushed");
    bearer.requests();
    assert!(fetch(&bearer.location(), None).expect("anybody reads").is_some());
    let asked = bearer.requests();
    let to_token = |one: &&Request| one.path == "/token";
    assert_eq!(asked.iter().filter(to_token).count(), 1, "one token is enough: {asked:?}");

    let shut = Registry::start(true, Guard::Shut);
    let error = fetch(&shut.location(), me()).expect_err("never enough");
    assert!(error.to_string().contains("401"), "{error}");
    assert_eq!(shut.requests().len(), 3, "the request, a token, the request");
}

#[test]
fn tokens_are_asked_of_named_hosts_alone() {
    let home = Registry::start(true, Guard::Bearer);
    let elsewhere = Registry::start(true, Guard::Bearer);
    // A registry that names another as the one that gives tokens, and so would get the password.
    let fetch = |location: &str| {
        let location = Location::parse(location).expect("a location");
        let me = Some(Credentials::new("me", "secret"));
        OciMirror::new(location, me, patient()).expect("an agent").fetch("log.policy", 1 << 16)
    };
    let lying = Registry::start(true, Guard::Shut);
    let origin = format!("http://{}", elsewhere.address());
    lying.break_by(move |request| {
        (request.path == "/token").then(|| Fault::Redirect(format!("{origin}/token")))
    });
    assert!(fetch(&lying.location()).expect_err("led astray").to_string().contains("307"));
    assert!(elsewhere.requests().is_empty());
    for body in [&b""[..], b"{}", b"{\"token\":\"\"}", b"{\"token\":\"a b\"}", b"[]"] {
        home.break_by(move |one| (one.path == "/token").then(|| Fault::Body(body.to_vec())));
        let error = fetch(&home.location()).expect_err("no token").to_string();
        assert!(error.contains("token"), "{error}");
    }
}

#[test]
fn an_older_marketplace_is_not_pushed_over_a_newer_one() {
    let (bazaar, registry) = pushed(true);
    let backup = bazaar.desk.public_dir().join("metadata/timestamp.json");
    let kept = std::fs::read(&backup).expect("a timestamp");
    bazaar.desk.refresh(&bazaar.keys, at(NOW + 60)).expect("refreshed");
    push(&bazaar, &registry);
    let new = registry.kept().tags["market"].clone();
    std::fs::write(&backup, kept).expect("restored");
    let error = push_as(&bazaar, &registry.location(), None).expect_err("older").to_string();
    assert!(error.contains("timestamp of version"), "{error}");
    assert_eq!(registry.kept().tags["market"], new);
}

#[test]
fn evidence_of_others_is_passed_over_and_a_second_of_ours_is_not_guessed_among() {
    let (bazaar, registry) = pushed(false);
    let fallback = {
        let kept = registry.kept();
        kept.tags.keys().find(|tag| tag.starts_with("sha256-")).expect("a fallback").clone()
    };
    let add = |kind: &'static str| {
        registry.change_manifest(&fallback, |bytes| {
            let mut index: Value = serde_json::from_slice(&bytes).expect("JSON");
            let mut other = index["manifests"][0].clone();
            other["artifactType"] = json!(kind);
            other["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
            index["manifests"].as_array_mut().expect("a list").push(other);
            serde_json::to_vec(&index).expect("JSON")
        });
    };
    add("application/vnd.others.signature");
    let (dir, host) = bazaar.host(patient());
    let policy = bazaar.policy(&[&registry.location()], "");
    install(&host, &policy, &Standing::default(), NOW).expect("ok").expect("new");
    std::fs::remove_dir_all(dir).expect("removed");
    add("application/vnd.aimass.evidence.v1");
    let got = refused(&bazaar, &registry.location());
    assert!(got.contains("expected one") && got.contains("got 2"), "{got}");
}

#[test]
fn an_empty_repository_is_no_marketplace() {
    let bazaar = Bazaar::open();
    let registry = Registry::start(true, Guard::Open);
    assert_eq!(refused(&bazaar, &registry.location()), "AMT-MIX");
    let other = format!("oci://{}/other", registry.address());
    assert_eq!(refused(&bazaar, &other), "AMT-MIX");
    let error = aimass_market::mirror::post_submission(&other, b"", limits()).expect_err("no desk");
    assert!(error.to_string().contains("--out"), "{error}");
}
