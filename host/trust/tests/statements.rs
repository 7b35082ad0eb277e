//! Statements signed by the publisher's own key, right and wrong, about plugins and models.

mod acme;

use std::collections::BTreeMap;

use acme::{Acme, code, component, manifest, now, release, verify};
use aimass_trust::{
    ChunkList, Dependency, Manifest, ModelRelease, RefusalCode, SignedPlugin, Timestamp,
    TrustPolicy, add_signature, embed_manifest, sign_component, sign_model, sign_plugin,
    sign_statement,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The plugin with its statement changed and signed again by the publisher.
fn restated(
    acme: &Acme,
    plugin: &SignedPlugin,
    change: impl FnOnce(String) -> String,
) -> SignedPlugin {
    let envelope: serde_json::Value = serde_json::from_slice(&plugin.dsse).expect("json");
    let payload = STANDARD.decode(envelope["payload"].as_str().expect("text")).expect("base64");
    let before = String::from_utf8(payload).expect("text");
    let after = change(before.clone());
    assert_ne!(before, after, "the change changes nothing");
    let dsse = sign_statement(after.as_bytes(), &[&acme.key]).expect("signed");
    SignedPlugin { wasm: plugin.wasm.clone(), dsse }
}

#[test]
fn even_the_publisher_must_state_exactly_what_the_component_is() {
    let acme = Acme::new();
    let (plugin, policy) = (acme.sign(&manifest()), acme.policy());
    for (from, to, wanted) in [
        ("\"version\":\"1.4.2\"", "\"version\":\"1.4.3\"", RefusalCode::Bind),
        ("resize-norm@1.4.2", "resize-norm@1.4.3", RefusalCode::Bind),
        ("\"name\":\"resize-norm\"", "\"name\":\"other\"", RefusalCode::Bind),
        ("plugin/processor", "plugin/format", RefusalCode::Bind),
        ("\"tensor\":{}", "", RefusalCode::Bind),
        ("\"wallMsMax\":1000", "\"wallMsMax\":999", RefusalCode::Bind),
        ("\"minHost\":\"0.1.0\"", "\"minHost\":\"99.0.0\"", RefusalCode::Bind),
        ("plugin-release:v1", "plugin-release:v2", RefusalCode::Format),
        ("plugin-release:v1", "model-release:v1", RefusalCode::Format),
        ("Statement/v1", "Statement/v2", RefusalCode::Format),
        ("\"sequence\":17", "\"sequence\":17.0", RefusalCode::Format),
        ("\"sequence\":17", "\"sequence\":-1", RefusalCode::Format),
        ("\"sequence\":17", "\"sequence\":17,\"sequence\":18", RefusalCode::Format),
        ("\"sequence\":17", "\"sequence\":17,\"admin\":true", RefusalCode::Format),
        ("\"sequence\":17", "\"sequence\":\"17\"", RefusalCode::Format),
        ("\"subject\":[", "\"subject\":[[", RefusalCode::Format),
        ("2026-11-20T09:59:00Z", "2026-11-20", RefusalCode::Format),
    ] {
        let result = verify(&policy, &restated(&acme, &plugin, |text| text.replacen(from, to, 1)));
        assert_eq!(code(result), wanted, "{from} -> {to}");
    }
}

#[test]
fn digests_subjects_and_nesting_of_a_statement_are_checked() {
    let acme = Acme::new();
    let (plugin, policy) = (acme.sign(&manifest()), acme.policy());
    let digest = |text: &str, key: &str| {
        text.split_once(&format!("\"{key}\":\"")).expect("there").1[..64].to_owned()
    };
    let other =
        restated(&acme, &plugin, |text| text.replace(&digest(&text, "sha256"), &"0".repeat(64)));
    assert_eq!(code(verify(&policy, &other)), RefusalCode::Digest);
    let other = restated(&acme, &plugin, |text| {
        text.replace(&digest(&text, "manifestSha256"), &"0".repeat(64))
    });
    assert_eq!(code(verify(&policy, &other)), RefusalCode::Bind);
    let none = restated(&acme, &plugin, |text| {
        let (start, rest) = text.split_once("\"subject\":[").expect("there");
        format!("{start}\"subject\":[{}", &rest[rest.find(']').expect("end")..])
    });
    assert_eq!(code(verify(&policy, &none)), RefusalCode::Format);
    let deep = restated(&acme, &plugin, |text| text.replacen("[", &"[".repeat(60_000), 1));
    assert_eq!(code(verify(&policy, &deep)), RefusalCode::Format);
    let reviewed = restated(&acme, &plugin, |text| {
        text.replace("\"notBefore\"", "\"review\":{\"by\":\"market\",\"policy\":\"v3\",\"at\":\"2026-11-20T10:00:00Z\",\"result\":\"pass\"},\"notBefore\"")
    });
    assert!(verify(&policy, &reviewed).is_ok());
}

#[test]
fn the_same_publishers_other_release_is_another_digest() {
    let acme = Acme::new();
    let (old, new) = (
        acme.sign(&manifest()),
        acme.sign(&Manifest { version: "1.4.3".parse().expect("good"), ..manifest() }),
    );
    let mixed = SignedPlugin { wasm: old.wasm, dsse: new.dsse };
    assert_eq!(code(verify(&acme.policy(), &mixed)), RefusalCode::Digest);
}

#[test]
fn dependencies_are_named_with_the_digest_of_their_file() {
    let digest = "0a".repeat(32);
    let text = format!("acme/tokens={digest}");
    let dependency: Dependency = text.parse().expect("a dependency");
    assert_eq!((dependency.name.as_str(), dependency.sha256.0), ("acme/tokens", [10; 32]));
    for wrong in ["acme/tokens", "acme/tokens=", &format!("tokens={digest}"), &text.to_uppercase()]
    {
        let error = wrong.parse::<Dependency>().expect_err(wrong).to_string();
        assert!(error.contains("expected"), "{error}");
    }
}

fn model_release() -> ModelRelease {
    ModelRelease {
        name: "acme/minilm".parse().expect("a name"),
        version: "1.0.0".parse().expect("a version"),
        sequence: 3,
        not_before: release().not_before,
        expires: release().expires,
    }
}

#[test]
fn a_model_release_is_about_exactly_its_files() {
    let acme = Acme::new();
    let digest = |text: &str| ChunkList::of_bytes(text.as_bytes()).digest();
    let files = BTreeMap::from([
        ("model.toml".to_owned(), digest("a")),
        ("weights".to_owned(), digest("b")),
    ]);
    let dsse = sign_model(&model_release(), &files, &acme.key).expect("signed");
    let check = |dsse: &[u8], files: &BTreeMap<_, _>, name| {
        acme.policy().verify_model(dsse, files, name, now())
    };
    let model = check(&dsse, &files, Some("acme/minilm")).expect("accepted");
    assert_eq!(
        (model.name().as_str(), model.version().as_str(), model.files()),
        ("acme/minilm", "1.0.0", &files)
    );
    assert_eq!((model.publisher(), model.signer()), ("acme", acme.key.public()));
    assert_eq!((model.sequence(), model.expires()), (3, model_release().expires));
    assert!(model.reviewers().is_empty() && !model.local());
    assert!(model.check_sequence(None).is_ok() && model.check_sequence(Some(2)).is_ok());
    let older = model.check_sequence(Some(3)).expect_err("not newer");
    assert_eq!(older.code, RefusalCode::Rollback);
    let newer = ModelRelease { sequence: 4, ..model_release() };
    let newer = sign_model(&newer, &files, &acme.key).expect("signed");
    let newer = check(&newer, &files, None).expect("accepted");
    assert_ne!(newer.digest(), model.digest(), "another release of the same files");
    let code = |result: Result<_, aimass_trust::Refusal>| {
        result.map(|_: aimass_trust::VerifiedModel| ()).expect_err("refused").code
    };
    let mut other = files.clone();
    other.insert("weights".to_owned(), digest("c"));
    assert_eq!(code(check(&dsse, &other, None)), RefusalCode::Digest);
    let mut other = files.clone();
    other.insert("more".to_owned(), digest(""));
    assert_eq!(code(check(&dsse, &other, None)), RefusalCode::Digest);
    let mut other = files.clone();
    other.remove("weights");
    assert_eq!(code(check(&dsse, &other, None)), RefusalCode::Digest);
    assert_eq!(code(check(&dsse, &files, Some("acme/other"))), RefusalCode::Name);
    assert_eq!(code(check(b"", &files, None)), RefusalCode::Unsigned);
    assert_eq!(
        code(Acme::new().policy().verify_model(&dsse, &files, None, now())),
        RefusalCode::Key
    );
    assert_eq!(code(check(&acme.sign(&manifest()).dsse, &files, None)), RefusalCode::Format);
    let expired = ModelRelease { expires: Timestamp::from_unix(acme::NOW), ..model_release() };
    assert_eq!(
        code(check(&sign_model(&expired, &files, &acme.key).expect("signed"), &files, None)),
        RefusalCode::Expired
    );
}

#[test]
fn a_model_says_who_reviewed_it_and_whether_its_key_is_for_local_use() {
    let (acme, reviewer) = (Acme::new(), Acme::new().key);
    let entry = "name = \"acme\"\nloopback_only = true";
    let text = acme.policy_text().replace("name = \"acme\"", entry);
    let text = format!("{text}[review]\nrequired = 1\nkeys = [\"{}\"]\n", reviewer.public());
    let policy = TrustPolicy::parse(&text).expect("a policy").for_listener(true);
    let files = BTreeMap::from([("weights".to_owned(), ChunkList::of_bytes(b"b").digest())]);
    let alone = sign_model(&model_release(), &files, &acme.key).expect("signed");
    let refusal = policy.verify_model(&alone, &files, None, now()).expect_err("not reviewed");
    assert_eq!(refusal.code, RefusalCode::Review);
    let reviewed = add_signature(&alone, &reviewer).expect("reviewed");
    let model = policy.verify_model(&reviewed, &files, None, now()).expect("accepted");
    assert_eq!((model.reviewers(), model.local()), (&[reviewer.public()][..], true));
    let unreviewed = text.split("[review]").next().unwrap_or_default();
    let policy = TrustPolicy::parse(unreviewed).expect("a policy").for_listener(true);
    let same = policy.verify_model(&alone, &files, None, now()).expect("accepted");
    assert_eq!(same.digest(), model.digest(), "a review adds a signature to what was signed");
}

#[test]
fn every_flipped_bit_of_a_model_release_is_refused() {
    let acme = Acme::new();
    let files = BTreeMap::from([("weights".to_owned(), ChunkList::of_bytes(b"b").digest())]);
    let (dsse, policy) =
        (sign_model(&model_release(), &files, &acme.key).expect("signed"), acme.policy());
    for bit in 0..dsse.len() * 8 {
        let mut changed = dsse.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let refusal = policy.verify_model(&changed, &files, None, now()).expect_err("refused");
        // Without a component beside it, a changed key text is a stranger's.
        assert!(
            matches!(refusal.code, RefusalCode::Sig | RefusalCode::Format | RefusalCode::Key),
            "bit {bit}"
        );
    }
}

#[test]
fn what_would_be_refused_is_not_signed() {
    let acme = Acme::new();
    let embedded = embed_manifest(&component(), &manifest()).expect("embedded");
    let never = aimass_trust::PluginRelease { expires: release().not_before, ..release() };
    assert!(sign_plugin(&embedded, &never, &acme.key).is_err());
    assert!(sign_component(&component(), &acme.key).is_err(), "no manifest");
    assert!(sign_component(b"\0asm\x01\0\0\0", &acme.key).is_err(), "a core module");
    assert!(sign_statement(b"{}", &[]).is_err(), "no key");
    assert!(sign_model(&model_release(), &BTreeMap::new(), &acme.key).is_err(), "no files");
    let file = ChunkList::of_bytes(b"").digest();
    assert!(
        sign_model(&model_release(), &BTreeMap::from([("../x".to_owned(), file)]), &acme.key)
            .is_err()
    );
}

#[test]
fn the_component_must_be_signed_even_where_its_statement_is() {
    let acme = Acme::new();
    let (plugin, policy) = (acme.sign(&manifest()), acme.policy());
    // One byte of the hash, of the key id and of the signature.
    for at in [30, 65, 100] {
        let mut wasm = plugin.wasm.clone();
        wasm[at] ^= 1;
        let (before, after) = (sha256(&plugin.wasm), sha256(&wasm));
        let stated = restated(&acme, &plugin, |text| text.replace(&before, &after));
        let result = verify(&policy, &SignedPlugin { wasm, ..stated });
        assert_eq!(code(result), RefusalCode::Sig, "byte {at}");
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_model_statement_names_every_file_once_and_flat() {
    let acme = Acme::new();
    let digest = ChunkList::of_bytes(b"b").digest();
    let files = |name: &str| BTreeMap::from([(name.to_owned(), digest)]);
    let dsse = sign_model(&model_release(), &files("weights"), &acme.key).expect("signed");
    let check = |name: &str, change: &dyn Fn(String) -> String| {
        let plugin = SignedPlugin { wasm: Vec::new(), dsse: dsse.clone() };
        let dsse = restated(&acme, &plugin, change).dsse;
        acme.policy()
            .verify_model(&dsse, &files(name), None, now())
            .map(|_| ())
            .expect_err("refused")
    };
    let path = check("../weights", &|text| text.replace("\"weights\"", "\"../weights\""));
    assert_eq!(path.code, RefusalCode::Format);
    let subject = |text: &str| {
        text[text.find('[').expect("start") + 1..text.find(']').expect("end")].to_owned()
    };
    let twice = check("weights", &|text| {
        text.replace(&subject(&text), &format!("{0},{0}", subject(&text)))
    });
    assert_eq!(twice.code, RefusalCode::Format);
    let plugin = SignedPlugin { wasm: Vec::new(), dsse: dsse.clone() };
    let none = restated(&acme, &plugin, |text| text.replace(&subject(&text), "")).dsse;
    let refusal =
        acme.policy().verify_model(&none, &BTreeMap::new(), None, now()).expect_err("no file");
    assert_eq!(refusal.code, RefusalCode::Format);
}
