//! Rightly signed packages that the policy does not allow, and the one that it does.

mod acme;

use std::time::{Duration, UNIX_EPOCH};

use acme::{Acme, code, component, component_importing, manifest, now, release, verify};
use aimass_trust::{
    Capability, Grant, Limits, Manifest, RefusalCode, SignedPlugin, SigningKey, Tier, TrustPolicy,
    add_signature, adds_signatures, embed_manifest, read_imports, read_manifest, sign_plugin,
};
use sha2::{Digest, Sha256};

#[test]
fn a_signed_package_is_accepted_with_what_it_says() {
    let acme = Acme::new();
    let plugin = acme.sign(&manifest());
    let package = verify(&acme.policy(), &plugin).expect("accepted");
    assert_eq!(package.name().as_str(), "acme/resize-norm");
    assert_eq!(
        (package.publisher(), package.version().as_str(), package.sequence()),
        ("acme", "1.4.2", 17)
    );
    assert_eq!(&package.component()[..], &plugin.wasm[..]);
    assert_eq!(package.manifest(), &manifest());
    assert_eq!(package.limits().wall_ms_max, Some(1000));
    assert!(!package.local());
    assert_eq!(package.digest()[..], Sha256::digest(&plugin.wasm)[..]);
    assert_eq!(package.capabilities(), &manifest().capabilities);
    assert_eq!((package.expires(), package.tier()), (release().expires, Tier::InProcess));
    assert!(package.check_imports(["aimass:plugin/tensor@0.1.0"]).is_ok());
    assert_eq!(
        package.check_imports(["wasi:io/x@0.2.0"]).expect_err("foreign").code,
        RefusalCode::Cap
    );
    assert!(package.check_sequence(Some(16)).is_ok() && package.check_sequence(None).is_ok());
    assert_eq!(package.check_sequence(Some(17)).expect_err("old").code, RefusalCode::Rollback);
    assert_eq!(read_manifest(&plugin.wasm), Ok(manifest()));
    assert_eq!(read_imports(&plugin.wasm).expect("read").len(), 2);
}

#[test]
fn the_publishers_entry_says_where_its_packages_run_and_whether_its_key_is_for_local_use() {
    let acme = Acme::new();
    let entry = "name = \"acme\"\ntier = \"worker\"\nloopback_only = true";
    let text = acme.policy_text().replace("name = \"acme\"", entry);
    let policy = TrustPolicy::parse(&text).expect("a policy").for_listener(true);
    let package = verify(&policy, &acme.sign(&manifest())).expect("accepted");
    assert_eq!((package.tier(), package.local()), (Tier::Worker, true));
}

#[test]
fn unsigned_packages_have_their_own_code() {
    let acme = Acme::new();
    let (plugin, policy) = (acme.sign(&manifest()), acme.policy());
    let wasm = embed_manifest(&component(), &manifest()).expect("embedded");
    assert_eq!(
        code(verify(&policy, &SignedPlugin { wasm, ..plugin.clone() })),
        RefusalCode::Unsigned
    );
    assert_eq!(
        code(verify(&policy, &SignedPlugin { dsse: Vec::new(), ..plugin })),
        RefusalCode::Unsigned
    );
}

#[test]
fn a_key_that_the_policy_does_not_list_is_a_wrong_publisher() {
    let (acme, evil) = (Acme::new(), Acme::new());
    assert_eq!(code(verify(&acme.policy(), &evil.sign(&manifest()))), RefusalCode::Key);
    assert_eq!(code(verify(&TrustPolicy::default(), &acme.sign(&manifest()))), RefusalCode::Key);
}

#[test]
fn a_listed_publisher_cannot_speak_for_another() {
    let (acme, evil) = (Acme::new(), Acme::new());
    let both = format!("{}{}", acme.policy_text(), evil.policy_text().replace("acme", "evil"));
    let policy = TrustPolicy::parse(&both).expect("a policy");
    assert!(verify(&policy, &acme.sign(&manifest())).is_ok());
    assert_eq!(code(verify(&policy, &evil.sign(&manifest()))), RefusalCode::Key);
    // Component by one, statement by the other: neither is the other's release.
    let (ours, theirs) = (acme.sign(&manifest()), evil.sign(&manifest()));
    let mixed = SignedPlugin { wasm: ours.wasm, dsse: theirs.dsse };
    assert_eq!(code(verify(&policy, &mixed)), RefusalCode::Sig);
    assert_eq!(code(verify(&acme.policy(), &mixed)), RefusalCode::Sig);
}

#[test]
fn names_are_the_publishers_own_and_the_one_asked_for() {
    let acme = Acme::new();
    let plugin = acme.sign(&manifest());
    let narrow = acme.policy_text().replace("acme/*", "acme/other-*");
    assert_eq!(
        code(verify(&TrustPolicy::parse(&narrow).expect("policy"), &plugin)),
        RefusalCode::Name
    );
    for asked in ["acme/resize", "acme/resize-norm2", "evil/resize-norm", "resize-norm", "../x", ""]
    {
        let result =
            acme.policy().verify_plugin(plugin.wasm.clone(), &plugin.dsse, Some(asked), now());
        assert_eq!(code(result), RefusalCode::Name, "{asked}");
    }
    assert!(acme.policy().verify_plugin(plugin.wasm, &plugin.dsse, None, now()).is_ok());
}

#[test]
fn releases_and_publishers_are_trusted_for_a_time() {
    let acme = Acme::new();
    let (plugin, policy) = (acme.sign(&manifest()), acme.policy());
    let at = |policy: &TrustPolicy, seconds: u64| {
        let time = UNIX_EPOCH + Duration::from_secs(seconds);
        policy.verify_plugin(plugin.wasm.clone(), &plugin.dsse, None, time)
    };
    let (first, last) = (acme::NOW - 60, acme::NOW + 365 * 86_400);
    assert!(at(&policy, first).is_ok() && at(&policy, last - 1).is_ok());
    assert_eq!(code(at(&policy, first - 1)), RefusalCode::Expired);
    assert_eq!(code(at(&policy, last)), RefusalCode::Expired);
    let ended = acme.policy_text().replace("2028-01-01T00:00:00Z", "2026-11-20T10:00:00Z");
    assert_eq!(
        code(at(&TrustPolicy::parse(&ended).expect("policy"), acme::NOW)),
        RefusalCode::Expired
    );
    assert_eq!(code(at(&policy, 0)), RefusalCode::Clock);
}

fn over_granted(change: impl FnOnce(&mut Manifest)) -> RefusalCode {
    let acme = Acme::new();
    let mut asked = manifest();
    change(&mut asked);
    code(verify(&acme.policy(), &acme.sign(&asked)))
}

#[test]
fn capabilities_and_limits_beyond_the_policy_are_refused() {
    assert_eq!(
        over_granted(|asked| asked
            .capabilities
            .insert(Capability::Files, Grant::All(Default::default()))),
        RefusalCode::Cap
    );
    assert_eq!(over_granted(|asked| asked.limits.wall_ms_max = Some(2001)), RefusalCode::Cap);
    let acme = Acme::new();
    let check = |more: &str, manifest: &Manifest| {
        let policy = TrustPolicy::parse(&format!("{}{more}", acme.policy_text())).expect("policy");
        verify(&policy, &acme.sign(manifest))
    };
    let limits = Limits { wall_ms_max: Some(2000), ..manifest().limits };
    assert!(check("", &Manifest { limits, ..manifest() }).is_ok(), "as much as is allowed");
    assert_eq!(
        code(check("[operator]\ncapabilities = [\"log\"]\n", &manifest())),
        RefusalCode::Cap
    );
    assert_eq!(
        code(check("[operator]\nlimits = { wall_ms_max = 999 }\n", &manifest())),
        RefusalCode::Cap
    );
    let silent = Manifest { limits: Limits::default(), ..manifest() };
    let package = check("[operator]\nlimits = { wall_ms_max = 999, handles_max = 7 }\n", &silent)
        .expect("accepted");
    assert_eq!((package.limits().wall_ms_max, package.limits().handles_max), (Some(999), Some(7)));
}

#[test]
fn models_are_granted_by_name() {
    let acme = Acme::new();
    let check = |models: &str, grant: Grant| {
        let text =
            acme.policy_text().replace("\"log\"]", &format!("\"models\"], models = {models}"));
        let mut asked = manifest();
        asked.capabilities.insert(Capability::Models, grant);
        verify(&TrustPolicy::parse(&text).expect("policy"), &acme.sign(&asked))
    };
    let only = |name: &str| Grant::Only(vec![name.to_owned()]);
    assert!(check("[\"mini*\"]", only("minilm")).is_ok());
    assert!(check("[\"*\"]", Grant::All(Default::default())).is_ok());
    assert_eq!(code(check("[\"mini*\"]", only("large"))), RefusalCode::Cap);
    assert_eq!(code(check("[\"mini*\"]", Grant::All(Default::default()))), RefusalCode::Cap);
    assert_eq!(code(check("[]", only("minilm"))), RefusalCode::Cap);
}

#[test]
fn imports_beyond_the_manifest_are_refused() {
    let acme = Acme::new();
    for import in [
        "aimass:plugin/log@0.1.0",
        "wasi:clocks/wall-clock@0.2.0",
        "tensor",
        "evil:plugin/tensor@0.1.0",
    ] {
        let embedded = embed_manifest(&component_importing(import), &manifest()).expect("embedded");
        let plugin = sign_plugin(&embedded, &release(), &acme.key).expect("signed");
        assert_eq!(code(verify(&acme.policy(), &plugin)), RefusalCode::Cap, "{import}");
    }
    let wat = "(component (import \"tensor\" (func)) (import \"ty\" (type (sub resource))))";
    let embedded =
        embed_manifest(&wat::parse_str(wat).expect("wat"), &manifest()).expect("embedded");
    assert_eq!(read_imports(&embedded).expect("read"), ["tensor", "ty"]);
    let plugin = sign_plugin(&embedded, &release(), &acme.key).expect("signed");
    assert_eq!(code(verify(&acme.policy(), &plugin)), RefusalCode::Cap);
}

#[test]
fn a_review_adds_to_the_same_statement_and_to_no_other() {
    let acme = Acme::new();
    let signed = |dsse: &[u8]| {
        add_signature(dsse, &SigningKey::generate().expect("randomness")).expect("signed")
    };
    let kept = acme.sign(&manifest()).dsse;
    let reviewed = signed(&kept);
    let adds = |kept: &[u8], other: &[u8]| adds_signatures(kept, other).expect("envelopes");
    assert!(adds(&kept, &reviewed) && adds(&reviewed, &signed(&reviewed)));
    assert!(!adds(&kept, &kept) && !adds(&reviewed, &kept));
    let limits = Limits { wall_ms_max: Some(7), ..manifest().limits };
    let other = acme.sign(&Manifest { limits, ..manifest() }).dsse;
    assert!(!adds(&kept, &signed(&other)), "more signatures, on something else");
    assert_eq!(adds_signatures(&kept, b"{}").expect_err("none").code, RefusalCode::Format);
}

#[test]
fn reviewers_are_counted_by_key() {
    let (acme, plugin_key) = (Acme::new(), SigningKey::generate().expect("randomness"));
    let second = SigningKey::generate().expect("randomness");
    let text = format!(
        "{}[review]\nrequired = 2\nkeys = [\"{}\", \"{}\"]\n",
        acme.policy_text(),
        plugin_key.public(),
        second.public()
    );
    let policy = TrustPolicy::parse(&text).expect("a policy");
    let mut plugin = acme.sign(&manifest());
    assert_eq!(code(verify(&policy, &plugin)), RefusalCode::Review);
    for _ in 0..2 {
        plugin.dsse = add_signature(&plugin.dsse, &plugin_key).expect("signed");
        assert_eq!(code(verify(&policy, &plugin)), RefusalCode::Review);
    }
    plugin.dsse =
        add_signature(&plugin.dsse, &SigningKey::generate().expect("randomness")).expect("signed");
    assert_eq!(code(verify(&policy, &plugin)), RefusalCode::Review);
    plugin.dsse = add_signature(&plugin.dsse, &second).expect("signed");
    assert!(verify(&policy, &plugin).is_ok());
    // A reviewer's line whose signature does not hold is a refusal, not a line less.
    let lenient =
        TrustPolicy::parse(&text.replace("required = 2", "required = 1")).expect("a policy");
    let broken = String::from_utf8(plugin.dsse.clone()).expect("text");
    let keyid = second.public().to_string();
    let at = broken.find(&keyid).expect("there") + keyid.len() + 12;
    let mut dsse = broken.into_bytes();
    dsse[at] = if dsse[at] == b'A' { b'B' } else { b'A' };
    assert_eq!(code(verify(&lenient, &SignedPlugin { dsse, ..plugin })), RefusalCode::Sig);
}
