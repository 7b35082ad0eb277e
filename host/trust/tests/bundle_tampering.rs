//! Every changed bit, cut, swap and doubling of a signed bundle is refused, whoever recomputes what
//! has no key.
//!
//! A run without `AIMASS_ALL=1` takes a sample; `AIMASS_SEED` repeats the one whose seed was printed.

mod market;

use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};

use aimass_trust::{Bundle, RefusalCode, bundle_bytes};
use market::{Host, Members, Scene};

/// Every number below `count`, or a sample of them.
fn chosen(count: usize, samples: usize) -> Vec<usize> {
    if std::env::var("AIMASS_ALL").is_ok_and(|all| all == "1") {
        return (0..count).collect();
    }
    let given = std::env::var("AIMASS_SEED").ok().and_then(|text| text.parse().ok());
    let mut seed: u64 = given.unwrap_or_else(|| RandomState::new().hash_one(count));
    println!("AIMASS_SEED={seed}");
    let mut next = || {
        // splitmix64
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = seed;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    };
    (0..samples.min(count)).map(|_| (next() % count as u64) as usize).collect()
}

#[track_caller]
fn refused(host: &Host, bundle: &[u8], what: &str) -> RefusalCode {
    let result = catch_unwind(AssertUnwindSafe(|| host.verify(bundle).map(|_| ())));
    match result {
        Ok(Err(refusal)) => refusal.code,
        Ok(Ok(())) => panic!("{what}: admitted"),
        Err(_) => panic!("{what}: a panic"),
    }
}

fn members(bundle: &[u8]) -> Members {
    let bundle = Bundle::parse(bundle).expect("a bundle");
    let others = bundle.members().filter(|(name, _)| *name != "sha256sums");
    others.map(|(name, _)| (name.to_owned(), bundle.get(name).expect(name).to_vec())).collect()
}

#[test]
fn every_flipped_bit_of_a_bundle_is_refused() {
    let (bytes, host) = Scene::new().stage();
    assert!(host.verify(&bytes).is_ok());
    for bit in chosen(bytes.len() * 8, 1_500) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let code = refused(&host, &changed, &format!("bit {bit}"));
        assert!(matches!(code, RefusalCode::Format | RefusalCode::Digest), "bit {bit}: {code}");
    }
}

#[test]
fn every_flipped_bit_of_a_member_is_refused_in_a_bundle_made_again() {
    let (bytes, host) = Scene::new().stage();
    let members = members(&bytes);
    for (name, content) in &members {
        for bit in chosen(content.len() * 8, 200) {
            let mut changed = members.clone();
            changed.get_mut(name).expect(name)[bit / 8] ^= 1 << (bit % 8);
            let bundle = bundle_bytes(&changed).expect("a bundle");
            refused(&host, &bundle, &format!("{name}, bit {bit}"));
        }
    }
}

#[test]
fn every_cut_of_a_bundle_and_of_its_members_is_refused() {
    let (bytes, host) = Scene::new().stage();
    for length in chosen(bytes.len(), 500) {
        refused(&host, &bytes[..length], &format!("{length} bytes"));
    }
    let members = members(&bytes);
    for (name, content) in &members {
        for length in chosen(content.len(), 50) {
            let mut changed = members.clone();
            changed.insert(name.clone(), content[..length].to_vec());
            let bundle = bundle_bytes(&changed).expect("a bundle");
            refused(&host, &bundle, &format!("{name} of {length} bytes"));
        }
    }
}

#[test]
fn members_swapped_doubled_dropped_or_exchanged_are_refused() {
    let (bytes, host) = Scene::new().stage();
    let members = members(&bytes);
    let names: Vec<&String> = members.keys().collect();
    for one in &names {
        let mut fewer = members.clone();
        fewer.remove(*one);
        refused(&host, &bundle_bytes(&fewer).expect("a bundle"), &format!("without {one}"));
        for other in names.iter().filter(|other| *other != one) {
            let mut exchanged = members.clone();
            exchanged.insert((*one).clone(), members[*other].clone());
            exchanged.insert((*other).clone(), members[*one].clone());
            let bundle = bundle_bytes(&exchanged).expect("a bundle");
            refused(&host, &bundle, &format!("{one} as {other} and back"));
        }
    }
    let parts = tar_members(&bytes);
    let end = vec![0; 1024];
    for at in 0..parts.len() {
        let mut doubled = parts.clone();
        doubled.insert(at, parts[at].clone());
        refused(&host, &[doubled.concat(), end.clone()].concat(), &format!("member {at} twice"));
        if at > 0 {
            let mut swapped = parts.clone();
            swapped.swap(at, at - 1);
            refused(
                &host,
                &[swapped.concat(), end.clone()].concat(),
                &format!("member {at} earlier"),
            );
        }
    }
}

/// Header, content and padding of each member.
fn tar_members(bytes: &[u8]) -> Vec<Vec<u8>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while bytes[at] != 0 {
        let digits = std::str::from_utf8(&bytes[at + 124..at + 135]).expect("octal");
        let size = usize::from_str_radix(digits, 8).expect("octal");
        let end = at + 512 + size.next_multiple_of(512);
        parts.push(bytes[at..end].to_vec());
        at = end;
    }
    parts
}
