//! Arbitrary and almost right bytes: every parser answers, none panics, and nothing is accepted.

mod acme;
mod market;

use std::collections::BTreeMap;

use acme::{Acme, manifest, now};
use aimass_trust::{
    Bundle, ChunkList, LogPolicy, Manifest, MarketState, NoteKey, NoteKeyKind, Revocations,
    TrustPolicy, add_signature, bundle_bytes, embed_manifest, entry_of, read_imports,
    sign_component,
};
use market::Scene;
use proptest::prelude::*;

/// A valid text with a few bytes overwritten, removed or inserted.
fn mutated(text: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..3u8);
    prop::collection::vec(edit, 1..8).prop_map(move |edits| {
        let mut text = text.clone();
        for (at, byte, kind) in edits {
            let at = at.index(text.len());
            match kind {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ if text.len() > 1 => drop(text.remove(at)),
                _ => {}
            }
        }
        text
    })
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let acme = Acme::new();
        let plugin = acme.sign(&manifest());
        let framed = [b"\0asm\x0d\0\x01\0".to_vec(), bytes.clone()].concat();
        for wasm in [bytes.clone(), framed] {
            prop_assert!(acme.policy().verify_plugin(wasm.clone(), &plugin.dsse, None, now()).is_err());
            prop_assert!(sign_component(&wasm, &acme.key).is_err());
            let _ = (read_imports(&wasm), embed_manifest(&wasm, &manifest()));
        }
        prop_assert!(acme.policy().verify_plugin(plugin.wasm, &bytes, None, now()).is_err());
        prop_assert!(acme.policy().verify_model(&bytes, &BTreeMap::new(), None, now()).is_err());
        prop_assert!(Manifest::parse(&bytes).is_err() && add_signature(&bytes, &acme.key).is_err());
        let _ = ChunkList::parse(&bytes, bytes.len() as u64);
    }

    #[test]
    fn arbitrary_sections_are_read_without_a_panic(
        sections in prop::collection::vec((0..=13u8, prop::collection::vec(any::<u8>(), 0..60)), 0..20),
    ) {
        let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
        for (id, body) in sections {
            wasm.extend([id, body.len() as u8]);
            wasm.extend(body);
        }
        if let Ok(embedded) = embed_manifest(&wasm, &manifest()) {
            prop_assert!(read_imports(&embedded).is_ok());
        }
    }

    #[test]
    fn almost_right_components_are_refused(seed in any::<u64>(), edits in mutated((0..=255).collect())) {
        let acme = Acme::new();
        let mut plugin = acme.sign(&manifest());
        let at = (seed % plugin.wasm.len() as u64) as usize;
        let before = plugin.wasm.clone();
        plugin.wasm.splice(at..(at + 4).min(before.len()), edits.into_iter().take(5));
        prop_assert_eq!(acme::verify(&acme.policy(), &plugin).is_ok(), plugin.wasm == before);
    }

    #[test]
    fn almost_right_manifests_never_panic(text in mutated(manifest().to_json().expect("json"))) {
        if let Ok(read) = Manifest::parse(&text) {
            prop_assert_eq!(Manifest::parse(&read.to_json().expect("json")), Ok(read));
        }
    }

    #[test]
    fn arbitrary_policies_never_panic(text in "\\PC{0,300}") {
        if let Ok(policy) = TrustPolicy::parse(&text) {
            prop_assert_eq!(policy.publishers().count(), 0);
        }
    }

    #[test]
    fn almost_right_policies_never_panic(edits in mutated(Acme::new().policy_text().into_bytes())) {
        let _ = TrustPolicy::parse(&String::from_utf8_lossy(&edits));
    }

    #[test]
    fn arbitrary_bytes_are_no_part_of_a_marketplace(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        prop_assert!(Bundle::parse(&bytes).is_err() && MarketState::of_root(&bytes).is_err());
        prop_assert!(MarketState::from_bytes(&bytes).is_err() && Revocations::parse(&bytes).is_err());
        prop_assert!(entry_of(&bytes).is_err());
        let text = String::from_utf8_lossy(&bytes);
        prop_assert!(market::log_policy().check(&text).is_err());
        prop_assert!(NoteKey::parse(&text, NoteKeyKind::Log).is_err());
        prop_assert!(LogPolicy::parse(&text).is_err());
    }

    #[test]
    fn almost_right_log_policies_never_panic(edits in mutated(market::log_policy_text().into_bytes())) {
        let _ = LogPolicy::parse(&String::from_utf8_lossy(&edits));
    }

    #[test]
    fn almost_right_members_are_refused(which in 0..8usize, at in any::<prop::sample::Index>(), bytes in prop::collection::vec(any::<u8>(), 0..6)) {
        let (bundle, host) = Scene::new().stage();
        let parsed = Bundle::parse(&bundle).expect("a bundle");
        let mut members: market::Members = parsed
            .members()
            .filter(|(name, _)| *name != "sha256sums")
            .map(|(name, _)| (name.to_owned(), parsed.get(name).expect(name).to_vec()))
            .collect();
        let content = members.values_mut().nth(which).expect("eight members");
        let before = content.clone();
        let at = at.index(content.len());
        content.splice(at..(at + 3).min(before.len()), bytes);
        // White space around JSON alone may change, since nothing but the digests covers it.
        let same = members.values().nth(which).expect("there").trim_ascii() == before.trim_ascii();
        let changed = bundle_bytes(&members).expect("a bundle");
        prop_assert!(same || host.verify(&changed).is_err());
    }
}
