//! What a host admits of a marketplace, loads again, follows and remembers.

mod market;

use aimass_trust::publishing::drafts::draft_root;
use aimass_trust::publishing::log_writer::StoredTiles;
use aimass_trust::{
    Admission, Admitted, Bundle, Capabilities, Capability, Current, Manifest, MarketBounds,
    MarketPolicy, MarketState, MetadataSource, Purpose, Refusal, RefusalCode, ReleaseFiles,
    Revocation, Revocations, Revoked, Tier, Timestamp,
};
use market::{Chain, Memory, NOW, Scene, at, keys, log_in, role, root, root_content};
use serde_json::{Value, json};

#[test]
fn a_good_bundle_is_admitted_with_everything_that_it_says() {
    let (bytes, host) = Scene::new().stage();
    let (admitted, state) = host.verify(&bytes).expect("admitted");
    assert_eq!(admitted.package().name().as_str(), "acme/resize-norm");
    assert_eq!(admitted.package().sequence(), 17);
    assert_eq!(admitted.package().limits().wall_ms_max, Some(1000));
    assert_eq!((admitted.log_index(), admitted.checkpoint().size), (2, 3));
    assert_eq!(admitted.signers()[0], keys().acme[0].public());
    assert_eq!(admitted.signers().len(), 3);
    assert_eq!(state.floor, Timestamp::from_unix(NOW - 30));
    assert_eq!(state.checkpoints, [admitted.checkpoint().clone()]);
    let kept = MarketState::from_bytes(&state.to_bytes().expect("text")).expect("read");
    assert_eq!(kept, state);
    let bundle = Bundle::parse(&bytes).expect("a bundle");
    assert_eq!(&admitted.package().component()[..], bundle.get("plugin.wasm").expect("there"));
}

#[test]
fn states_of_another_form_are_refused() {
    let good = Scene::new().state.to_bytes().expect("text");
    let text = String::from_utf8(good.clone()).expect("text");
    assert!(MarketState::from_bytes(&good).is_ok());
    for wrong in [
        String::new(),
        text.replace("\"format\":1", "\"format\":2"),
        text.replace("\"checkpoints\":[]", "\"checkpoints\":[\"x\"]"),
        text.replace("\"floor\"", "\"roof\""),
    ] {
        assert!(MarketState::from_bytes(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(MarketState::from_bytes(&vec![b' '; (8 << 20) + 1]).is_err());
    assert_eq!(MarketState::of_root(b"{}").expect_err("no root").code, RefusalCode::Format);
    let unsigned = root(1, &root_content(), &keys().root[..2]).bytes();
    assert_eq!(MarketState::of_root(&unsigned).expect_err("two keys").code, RefusalCode::Root);
}

#[test]
fn a_chain_of_roots_is_followed_and_kept() {
    let mut scene = Scene::new();
    scene.chain = Some(Box::new(|chain| {
        let mut content = root_content();
        content.root = role(&keys().evil, 3);
        let both: Vec<_> = [&keys().root[2..], &keys().evil[..3]].concat();
        chain.roots.push(root(2, &content, &both));
        chain.roots.push(root(3, &content, &keys().evil[2..]));
    }));
    let (_, state) = scene.verify().expect("admitted");
    assert!(String::from_utf8(state.root).expect("text").contains("\"version\":3"));
}

#[test]
fn thirty_two_new_roots_are_followed() {
    let mut scene = Scene::new();
    scene.chain = Some(Box::new(|chain| {
        for version in 2..=33 {
            chain.roots.push(root(version, &root_content(), &keys().root[..3]));
        }
    }));
    assert!(scene.verify().is_ok());
}

#[test]
fn versions_that_were_seen_are_forgotten_with_the_keys_that_signed_them() {
    // An attacker with the timestamp's key had made hosts believe in a far version; a new root with
    // another key sets them free (TUF 1.0, 5.3.11).
    let scene = |rotated: bool| {
        let mut scene = Scene::new();
        let mut far = Chain::new(b"x", &market::manifest(), 1);
        far.timestamp.signed()["version"] = serde_json::json!(4_000_000_000u64);
        scene.state.timestamp = far.files().remove("timestamp.json");
        scene.chain = Some(Box::new(move |chain| {
            let mut content = root_content();
            if rotated {
                content.timestamp = role(&keys().evil[..1], 1);
                chain.timestamp.signers = vec![keys().evil[0]];
            }
            chain.roots.push(root(2, &content, &keys().root[..3]));
        }));
        scene.verify()
    };
    assert!(scene(true).is_ok());
    assert_eq!(scene(false).expect_err("seen").code, RefusalCode::Rollback);
}

#[test]
fn an_update_that_asks_for_more_waits_for_the_operator() {
    let running = Scene::new().verify().expect("admitted").0;
    let mut scene = Scene::new();
    scene.manifest.limits.wall_ms_max = Some(1500);
    let (bytes, host) = scene.stage();
    let name = "acme/resize-norm".parse().expect("a name");
    let mut admission = Admission {
        name: &name,
        last_sequence: Some(16),
        running: Some(running.package().manifest()),
        approved: false,
        admitted_at: None,
    };
    let verify = |admission: &Admission<'_>| {
        host.policy.verify_bundle(&host.state, &bytes, admission, host.wall)
    };
    let refusal = verify(&admission).expect_err("held");
    assert!(refusal.code == RefusalCode::Cap && refusal.remedy.contains("approve"), "{refusal}");
    admission.approved = true;
    assert!(verify(&admission).is_ok());
}

#[test]
fn an_update_may_use_what_the_running_release_was_granted_and_no_name_more() {
    let asking = |grant: Value| {
        let capabilities = serde_json::from_value(json!({ "models": grant }));
        Manifest { capabilities: capabilities.expect("a grant"), ..market::manifest() }
    };
    for (had, asked, holds) in [
        (json!(["minilm", "ocr"]), json!(["ocr"]), true),
        (json!(["minilm"]), json!(["minilm", "ocr"]), false),
        (json!(["minilm"]), json!({}), false),
        (json!({}), json!(["ocr"]), true),
        (json!({}), json!({}), true),
    ] {
        let running = asking(had);
        let all = models(&["minilm", "ocr", "*"]);
        let admitted = admit_within(asking(asked), [&all, &all], Some(&running));
        assert_eq!(admitted.err(), (!holds).then_some(RefusalCode::Cap), "{running:?}");
    }
}

fn models(names: &[&str]) -> MarketBounds {
    let mut bounds = market::bounds();
    bounds.capabilities.push(Capability::Models);
    bounds.models = names.iter().map(|&name| name.to_owned()).collect();
    bounds
}

/// Admits a release of this manifest within what the marketplace's delegation and the operator allow.
fn admit_within(
    manifest: Manifest,
    [delegated, operator]: [&MarketBounds; 2],
    running: Option<&Manifest>,
) -> Result<Admitted, RefusalCode> {
    let mut scene = Scene::new();
    scene.component = wat::parse_str("(component)").expect("a component");
    scene.manifest = manifest;
    let names = vec!["acme/*".to_owned()];
    scene.policy = MarketPolicy::new(market::log_policy(), names, operator.clone());
    let delegated = serde_json::to_value(delegated).expect("json");
    scene.chain = Some(Box::new(move |chain| {
        let roles = &mut chain.targets.signed()["delegations"]["roles"];
        let roles = roles.as_array_mut().expect("roles").iter_mut();
        roles
            .filter(|role| role["name"] == "acme")
            .for_each(|role| role["aimass"] = delegated.clone());
    }));
    let (bytes, host) = scene.stage();
    let name = "acme/resize-norm".parse().expect("a name");
    let admission = Admission { running, ..market::admission(&name) };
    let admitted = host.policy.verify_bundle(&host.state, &bytes, &admission, host.wall);
    admitted.map(|(admitted, _)| admitted).map_err(|refusal| refusal.code)
}

#[test]
fn delegation_and_operator_both_bound_what_a_release_may_have() {
    let capabilities = serde_json::from_value(json!({ "models": ["ocr"] })).expect("a grant");
    let limits = aimass_trust::Limits { wall_ms_max: None, ..market::manifest().limits };
    let asking = || Manifest {
        capabilities: Capabilities::clone(&capabilities),
        limits,
        ..market::manifest()
    };
    let (any, ocr, minilm) = (models(&["*"]), models(&["ocr"]), models(&["minilm"]));
    let none = market::bounds();
    for (bounds, holds) in [
        ([&any, &any], true),
        ([&ocr, &any], true),
        ([&any, &ocr], true),
        ([&minilm, &any], false),
        ([&any, &minilm], false),
        ([&none, &any], false),
        ([&any, &none], false),
    ] {
        let refused = admit_within(asking(), bounds, None).err();
        assert_eq!(refused, (!holds).then_some(RefusalCode::Cap), "{bounds:?}");
    }
    for (delegated, operator, holds) in [(700, 2000, 700), (2000, 700, 700)] {
        let within = |wall_ms_max| {
            let limits = aimass_trust::Limits { wall_ms_max: Some(wall_ms_max), ..limits };
            MarketBounds { limits, ..any.clone() }
        };
        let bounds = [&within(delegated), &within(operator)];
        let admitted = admit_within(asking(), bounds, None).expect("admitted");
        assert_eq!(admitted.package().limits().wall_ms_max, Some(holds));
    }
}

#[test]
fn files_beside_one_another_are_admitted_as_their_bundle_is_and_reviews_are_counted() {
    let (bytes, host) = Scene::new().stage();
    let bundle = Bundle::parse(&bytes).expect("a bundle");
    let member = |name| bundle.get(name).expect("a member");
    let (dsse, proof) = (member("release.dsse.json"), member("release.tlog-proof"));
    let mut source = Bundle::parse(&bytes).expect("a bundle");
    let asked = market::asked(member("revocations.json"), Purpose::Admission, at(NOW));
    let (now, _) = host.policy.update(&host.state, &mut source, &asked).expect("current");
    let reviewers: Vec<_> = keys().reviewers[..2].iter().map(|key| key.public()).collect();
    let (mut signed, needed) = now.reviews(dsse).expect("an envelope");
    signed.sort_by_key(|key| reviewers.iter().position(|one| one == key));
    assert_eq!((signed, needed), (reviewers, 2));
    let name = "acme/resize-norm".parse().expect("a name");
    let admission = market::admission(&name);
    let verify = |wasm: &[u8]| {
        let files = ReleaseFiles { wasm: wasm.into(), dsse, proof };
        host.policy.verify_release(&now, files, &admission)
    };
    let admitted = verify(member("plugin.wasm")).expect("admitted");
    assert_eq!(&admitted.package().component()[..], member("plugin.wasm"));
    let mut other = member("plugin.wasm").to_vec();
    *other.last_mut().expect("a byte") ^= 1;
    assert_eq!(verify(&other).expect_err("changed").code, RefusalCode::Digest);
    let mut forged = dsse.to_vec();
    let at = String::from_utf8_lossy(&forged).rfind("\"sig\":\"").expect("a signature") + 8;
    forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(now.reviews(&forged).expect_err("no signature").code, RefusalCode::Sig);
}

/// The metadata of a chain at `wall`, as a bundle of it has it.
fn current(chain: &mut Chain, wall: u64, purpose: Purpose) -> Result<Current, RefusalCode> {
    let files = chain.files();
    let bytes = aimass_trust::bundle_bytes(&files).expect("a bundle");
    let mut bundle = Bundle::parse(&bytes).expect("a bundle");
    let asked = market::asked(&files["revocations.json"], purpose, at(wall));
    let scene = Scene::new();
    let updated = scene.policy.update(&scene.state, &mut bundle, &asked);
    updated.map(|(current, _)| current).map_err(|refusal| refusal.code)
}

fn admitted() -> (Admitted, Chain) {
    let (bytes, host) = Scene::new().stage();
    let admitted = host.verify(&bytes).expect("admitted").0;
    let chain = Chain::new(admitted.package().component(), &market::manifest(), 17);
    (admitted, chain)
}

#[test]
fn what_was_admitted_is_loaded_again_until_something_changes() {
    let (admitted, mut chain) = admitted();
    let policy = Scene::new().policy;
    let wasm = admitted.package().component().to_vec();
    let now = current(&mut chain, NOW, Purpose::Serving).expect("current");
    let again = policy.verify_reload(&now, &admitted, &wasm).expect("reloaded");
    assert_eq!(again.limits(), admitted.package().limits());
    let mut walled = policy.clone();
    walled.tier = Tier::Worker;
    walled.bounds.limits.handles_max = Some(7);
    let walled = walled.verify_reload(&now, &admitted, &wasm).expect("reloaded");
    assert_eq!((again.tier(), walled.tier()), (Tier::InProcess, Tier::Worker));
    assert_eq!((again.limits().handles_max, walled.limits().handles_max), (None, Some(7)));
    assert_eq!(again.digest(), admitted.package().digest());
    assert_eq!(again.limits(), admitted.package().limits());
    let code = |chain: &mut Chain, wasm: &[u8], policy: &aimass_trust::MarketPolicy| {
        let now = current(chain, NOW, Purpose::Serving).expect("current");
        policy.verify_reload(&now, &admitted, wasm).map(|_| ()).map_err(|refusal| refusal.code)
    };
    let mut flipped = wasm.clone();
    flipped[200] ^= 1;
    assert_eq!(code(&mut chain, &flipped, &policy), Err(RefusalCode::Digest));
    let mut withdrawn = Chain::new(b"another", &market::manifest(), 17);
    assert_eq!(code(&mut withdrawn, &wasm, &policy), Err(RefusalCode::Digest));
    let mut rotated = chain.clone();
    let second = aimass_trust::publishing::drafts::key_id(keys().acme[1].public());
    let roles = &mut rotated.targets.signed()["delegations"]["roles"];
    roles[1]["keyids"] = serde_json::json!([second]);
    rotated.publisher.signers = vec![keys().acme[1]];
    assert_eq!(code(&mut rotated, &wasm, &policy), Err(RefusalCode::Key));
    let mut dismissed = chain.clone();
    let third = aimass_trust::publishing::drafts::key_id(keys().reviewers[2].public());
    let roles = &mut dismissed.targets.signed()["delegations"]["roles"];
    roles[0]["keyids"] = serde_json::json!([third]);
    roles[0]["threshold"] = serde_json::json!(1);
    assert_eq!(code(&mut dismissed, &wasm, &policy), Err(RefusalCode::Review));
    let mut stolen = chain.clone();
    let mut list = Revocations::default();
    let what = Revoked::Key { key: keys().reviewers[1].public(), from_log_index: None };
    list.push(Revocation { what, reason: "test".to_owned(), at: Timestamp::from_unix(NOW) });
    stolen.revocations = list.to_json().expect("json");
    assert_eq!(code(&mut stolen, &wasm, &policy), Err(RefusalCode::Review));
    let mut revoked = chain.clone();
    let mut list = Revocations::default();
    let what = Revoked::Publisher("acme".to_owned());
    list.push(Revocation { what, reason: "test".to_owned(), at: Timestamp::from_unix(NOW) });
    revoked.revocations = list.to_json().expect("json");
    assert_eq!(code(&mut revoked, &wasm, &policy), Err(RefusalCode::Revoked));
    let mut narrow = policy.clone();
    narrow.bounds.capabilities.clear();
    assert_eq!(code(&mut chain, &wasm, &narrow), Err(RefusalCode::Cap));
    narrow.names.clear();
    assert_eq!(code(&mut chain, &wasm, &narrow), Err(RefusalCode::Name));
}

/// A bundle that notes what is asked of it.
struct Noting<'a>(Bundle<'a>, Vec<String>);

impl MetadataSource for Noting<'_> {
    fn metadata(&mut self, path: &str, bytes_max: usize) -> Result<Option<Vec<u8>>, Refusal> {
        self.1.push(path.to_owned());
        self.0.metadata(path, bytes_max)
    }
}

#[test]
fn a_mirror_is_asked_for_the_versions_that_the_files_above_name() {
    let (bytes, host) = Scene::new().stage();
    let bundle = Bundle::parse(&bytes).expect("a bundle");
    let asked =
        market::asked(bundle.get("revocations.json").expect("a list"), Purpose::Admission, at(NOW));
    let mut mirror = Noting(Bundle::parse(&bytes).expect("a bundle"), Vec::new());
    host.policy.update(&host.state, &mut mirror, &asked).expect("current");
    let paths =
        ["2.root.json", "timestamp.json", "7.snapshot.json", "3.targets.json", "5.acme.json"];
    assert_eq!(mirror.1, paths);
}

#[test]
fn metadata_that_was_seen_is_taken_again_and_nothing_older() {
    let seen = Scene::new().verify().expect("admitted").1;
    let again = |change: fn(&mut Chain)| {
        let mut scene = Scene::new();
        scene.state = seen.clone();
        scene.chain = Some(Box::new(change));
        scene.verify().map(|_| ()).map_err(|refusal| refusal.code)
    };
    assert_eq!(again(|_| ()), Ok(()));
    assert_eq!(again(|chain| chain.timestamp.signed()["version"] = json!(12)), Ok(()));
    let fall = |chain: &mut Chain| chain.timestamp.signed()["version"] = json!(10);
    assert_eq!(again(fall), Err(RefusalCode::Rollback));
    let fall = |chain: &mut Chain| chain.snapshot.signed()["version"] = json!(6);
    assert_eq!(again(fall), Err(RefusalCode::Rollback));
    let fall = |chain: &mut Chain| chain.targets.signed()["version"] = json!(2);
    assert_eq!(again(fall), Err(RefusalCode::Rollback));
}

#[test]
fn a_file_has_the_digest_that_the_file_above_it_states() {
    let other = |link: usize, change: fn(&mut Chain)| {
        let (_, mut chain) = admitted();
        chain.files();
        chain.link[link] = false;
        change(&mut chain);
        current(&mut chain, NOW, Purpose::Admission).map(|_| ())
    };
    assert_eq!(other(2, |_| ()), Ok(()));
    // As long as before, and signed: another second of its expiry.
    let snapshot = |chain: &mut Chain| {
        chain.snapshot.signed()["expires"] = json!(Timestamp::from_unix(NOW + 7 * 86_400 - 1));
    };
    assert_eq!(other(2, snapshot), Err(RefusalCode::Mix));
    let targets = |chain: &mut Chain| {
        chain.targets.signed()["expires"] = json!(Timestamp::from_unix(NOW + 90 * 86_400 - 1));
    };
    assert_eq!(other(1, targets), Err(RefusalCode::Mix));
}

#[test]
fn a_root_alone_that_expired_makes_the_marketplace_stale() {
    let (_, mut chain) = admitted();
    let mut next = root(2, &root_content(), &keys().root[..3]);
    next.signed()["expires"] = json!(Timestamp::from_unix(NOW + 60));
    chain.roots.push(next);
    let mut stale = |wall, purpose| current(&mut chain, wall, purpose).map(|now| now.stale());
    assert_eq!(stale(NOW + 59, Purpose::Serving), Ok(false));
    assert_eq!(stale(NOW + 60, Purpose::Serving), Ok(true));
    assert_eq!(stale(NOW + 60, Purpose::Admission), Err(RefusalCode::Expired));
}

#[test]
fn expiry_ends_admission_first_and_serving_last() {
    let (_, mut chain) = admitted();
    let (day, year) = (86_400, 365 * 86_400);
    for (wall, online, offline, serving) in [
        (NOW, Ok(false), Ok(false), Ok(false)),
        (NOW + day - 1, Ok(false), Ok(false), Ok(false)),
        (NOW + day, Err(()), Ok(true), Ok(true)),
        (NOW + 8 * day - 1, Err(()), Ok(true), Ok(true)),
        (NOW + 8 * day, Err(()), Err(()), Err(())),
        (NOW + year, Err(()), Err(()), Err(())),
    ] {
        let mut stale = |purpose| match current(&mut chain, wall, purpose) {
            Ok(current) => Ok(current.stale()),
            Err(code) => {
                assert_eq!(code, RefusalCode::Expired);
                Err(())
            }
        };
        let found =
            (stale(Purpose::Admission), stale(Purpose::OfflineAdmission), stale(Purpose::Serving));
        assert_eq!(found, (online, offline, serving), "{}", wall - NOW);
    }
    // Delegations have no grace for what is new, but for what was admitted.
    let expires = Timestamp::from_unix(NOW);
    chain.publisher.signed()["expires"] = serde_json::json!(expires);
    assert!(current(&mut chain, NOW, Purpose::OfflineAdmission).is_err());
    assert!(current(&mut chain, NOW, Purpose::Serving).expect("serving").stale());
}

#[test]
fn a_log_is_followed_as_long_as_it_continues() {
    let policy = Scene::new().policy;
    let mut storage = Memory::default();
    let mut states = Vec::new();
    let mut state = Scene::new().state;
    for entry in 0..5u8 {
        let proof = log_in(&mut storage, keys().log, &[entry; 32], &[0, 1, 2], NOW);
        state.saw(&market::checkpoint_of(&proof));
        let note = String::from_utf8(storage.files["log/checkpoint"].clone()).expect("text");
        let next = policy.follow_log(&state, &note, &mut StoredTiles(&storage)).expect("continued");
        assert_eq!(next.checkpoints.len(), 1);
        states.push((state.clone(), note, storage.clone()));
    }
    // Every earlier checkpoint leads to the last one, from which no way leads back.
    let (last, note, storage) = states.last().expect("states").clone();
    assert_eq!(last.checkpoints.len(), 5);
    let (_, old_note, old_storage) = &states[2];
    let back = policy.follow_log(&last, old_note, &mut StoredTiles(old_storage));
    assert_eq!(back.expect_err("shorter").code, RefusalCode::Rollback);
    // A log with another beginning, longer than all that was seen.
    let mut forked = Memory::default();
    for entry in 10..17u8 {
        log_in(&mut forked, keys().log, &[entry; 32], &[0, 1, 2], NOW);
    }
    let fork = String::from_utf8(forked.files["log/checkpoint"].clone()).expect("text");
    let split = policy.follow_log(&last, &fork, &mut StoredTiles(&forked));
    assert_eq!(split.expect_err("forked").code, RefusalCode::Equivocation);
    // Tiles that are not those of the checkpoint prove nothing.
    let mut lying = storage.clone();
    for (path, bytes) in &mut lying.files {
        if path.starts_with("log/tile/0") {
            bytes[0] ^= 1;
        }
    }
    let lie = policy.follow_log(&last, &note, &mut StoredTiles(&lying));
    assert_eq!(lie.expect_err("other tiles").code, RefusalCode::Equivocation);
    let none = policy.follow_log(&last, &note, &mut StoredTiles(&Memory::default()));
    assert_eq!(none.expect_err("no tiles").code, RefusalCode::Log);
}

#[test]
fn a_release_that_was_admitted_in_time_passes_the_whole_check_after_it_expired() {
    let mut scene = Scene::new();
    scene.release.expires = aimass_trust::Timestamp::from_unix(NOW + 3600);
    let (bytes, host) = scene.stage();
    let name = "acme/resize-norm".parse().expect("a name");
    let verify = |admitted_at: Option<u64>| {
        let admission = Admission {
            name: &name,
            last_sequence: None,
            running: None,
            approved: true,
            admitted_at: admitted_at.map(aimass_trust::Timestamp::from_unix),
        };
        let later = at(NOW + 7200);
        host.policy.verify_bundle(&host.state, &bytes, &admission, later).map(|_| ())
    };
    assert_eq!(verify(None).expect_err("expired").code, RefusalCode::Expired);
    assert_eq!(verify(Some(NOW + 3600)).expect_err("expired").code, RefusalCode::Expired);
    verify(Some(NOW)).expect("admitted while it was valid");
}

#[test]
fn a_submission_needs_neither_review_nor_log_but_everything_else() {
    let submit = |change: fn(&mut Scene)| {
        let mut scene = Scene::new();
        scene.reviewers.clear();
        change(&mut scene);
        let (bytes, host) = scene.stage();
        let bundle = Bundle::parse(&bytes).expect("a bundle");
        let name = "acme/resize-norm".parse().expect("a name");
        let proofless = host.verify(&bytes).expect_err("not reviewed").code;
        let (wasm, dsse) = (bundle.get("plugin.wasm"), bundle.get("release.dsse.json"));
        let mut source = Bundle::parse(&bytes).expect("a bundle");
        let asked = market::asked(
            bundle.get("revocations.json").expect("a list"),
            Purpose::Admission,
            at(NOW),
        );
        let (now, _) = host.policy.update(&host.state, &mut source, &asked).expect("current");
        assert_eq!(now.reviews(dsse.expect("a statement")).expect("an envelope"), (vec![], 2));
        let releases = now.releases(&name).expect("listed");
        assert_eq!((releases.len(), releases[0].sequence), (1, 17));
        assert_eq!(now.packages("acme").expect("listed"), std::slice::from_ref(&name));
        let admission = market::admission(&name);
        let (wasm, dsse) = (wasm.expect("a component"), dsse.expect("a statement"));
        let checked = host.policy.verify_submission(&now, wasm, dsse, &admission);
        (proofless, checked.map_err(|refusal| refusal.code).err())
    };
    assert_eq!(submit(|_| ()), (RefusalCode::Review, None));
    let greedy = submit(|scene| scene.manifest.limits.wall_ms_max = Some(9999));
    assert_eq!(greedy.1, Some(RefusalCode::Cap));
    assert_eq!(submit(|scene| scene.signer = market::keys().acme[2]).1, Some(RefusalCode::Key));
    let bent = submit(|scene| {
        scene.plugin = Some(Box::new(|plugin| {
            plugin.dsse =
                aimass_trust::sign_statement(b"{}", &[market::keys().acme[0]]).expect("x");
        }));
        scene.log = Box::new(|_| market::logged(&[[1; 32]], &[0, 1], NOW - 30));
    });
    assert_eq!(bent.1, Some(RefusalCode::Format));
}

#[test]
fn metadata_with_control_characters_is_not_drafted() {
    let root = |protected: &str| {
        let mut content = root_content();
        content.rules.protected = vec![protected.to_owned()];
        draft_root(&content, 1, Timestamp::from_unix(NOW))
    };
    assert!(root("aimass").is_ok() && root("aim\u{7f}ass\u{a0}").is_ok());
    for wrong in ["aim\0ass", "aimass\n", "\u{1f}"] {
        let error = root(wrong).expect_err("it could not be read again").to_string();
        assert!(error.contains("control characters") && error.contains("U+00"), "{error}");
    }
}
