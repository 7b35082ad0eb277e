//! Changed bytes: flipped, cut, appended, moved, or in another form than the only one.

mod acme;

use acme::{Acme, code, component, manifest, verify};
use aimass_trust::{RefusalCode, SignedPlugin, embed_manifest, sign_component};

#[test]
fn the_signature_section_is_the_documented_132_bytes() {
    let acme = Acme::new();
    let unsigned = embed_manifest(&component(), &manifest()).expect("embedded");
    let signed = sign_component(&unsigned, &acme.key).expect("signed");
    assert_eq!(signed.len(), unsigned.len() + 132);
    assert_eq!(&signed[..8], &unsigned[..8]);
    assert_eq!(&signed[140..], &unsigned[8..]);
    assert_eq!(&signed[8..21], b"\0\x81\x01\x09signature");
    assert_eq!(&signed[21..27], &[1, 1, 1, 1, 0x72, 1]);
    assert_eq!(&signed[59..62], &[1, 0x4f, 12]);
    assert_eq!(signed[62..74], acme.key.public().key_id());
    assert_eq!(&signed[74..76], &[1, 0x40]);
    assert_eq!(sign_component(&signed, &acme.key).expect("signed again"), signed);
}

#[test]
fn every_flipped_bit_of_the_component_is_refused() {
    let acme = Acme::new();
    let (plugin, policy) = (acme.sign(&manifest()), acme.policy());
    for bit in 0..plugin.wasm.len() * 8 {
        let mut changed = plugin.clone();
        changed.wasm[bit / 8] ^= 1 << (bit % 8);
        let code = code(verify(&policy, &changed));
        assert!(code != RefusalCode::Key, "bit {bit} reads as a stranger's package");
        assert!(
            bit < 140 * 8
                || matches!(code, RefusalCode::Sig | RefusalCode::Format | RefusalCode::Size),
            "{code}"
        );
    }
}

#[test]
fn every_flipped_bit_of_the_statement_is_refused() {
    let acme = Acme::new();
    let (plugin, policy) = (acme.sign(&manifest()), acme.policy());
    for bit in 0..plugin.dsse.len() * 8 {
        let mut changed = plugin.clone();
        changed.dsse[bit / 8] ^= 1 << (bit % 8);
        let code = code(verify(&policy, &changed));
        assert!(matches!(code, RefusalCode::Sig | RefusalCode::Format), "bit {bit}: {code}");
    }
}

#[test]
fn every_truncation_and_every_appended_byte_is_refused() {
    let acme = Acme::new();
    let (plugin, policy) = (acme.sign(&manifest()), acme.policy());
    for length in 0..plugin.wasm.len() {
        code(verify(
            &policy,
            &SignedPlugin { wasm: plugin.wasm[..length].to_vec(), ..plugin.clone() },
        ));
    }
    for length in 0..plugin.dsse.len() {
        code(verify(
            &policy,
            &SignedPlugin { dsse: plugin.dsse[..length].to_vec(), ..plugin.clone() },
        ));
    }
    for byte in 0..=255 {
        let mut longer = plugin.clone();
        longer.wasm.push(byte);
        code(verify(&policy, &longer));
        let mut longer = plugin.clone();
        longer.dsse.push(byte);
        assert_eq!(
            verify(&policy, &longer).is_ok(),
            byte.is_ascii_whitespace() && byte != 12,
            "{byte}"
        );
    }
}

/// The sections after the header, each with its id and length.
fn sections(wasm: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut at) = (Vec::new(), 8);
    while at < wasm.len() {
        let (mut length, mut bytes) = (0, 0);
        loop {
            let byte = usize::from(wasm[at + 1 + bytes]);
            length |= (byte & 0x7f) << (7 * bytes);
            bytes += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let end = at + 1 + bytes + length;
        found.push(wasm[at..end].to_vec());
        at = end;
    }
    found
}

#[test]
fn sections_swapped_doubled_dropped_or_added_are_refused() {
    let acme = Acme::new();
    let (plugin, policy) = (acme.sign(&manifest()), acme.policy());
    let parts = sections(&plugin.wasm);
    let refused = |parts: &[Vec<u8>]| {
        let wasm = [plugin.wasm[..8].to_vec(), parts.concat()].concat();
        code(verify(&policy, &SignedPlugin { wasm, ..plugin.clone() }))
    };
    for index in 0..parts.len() {
        let mut doubled = parts.clone();
        doubled.insert(index, parts[index].clone());
        refused(&doubled);
        let mut dropped = parts.clone();
        dropped.remove(index);
        refused(&dropped);
        if index > 0 && parts[index] != parts[index - 1] {
            let mut swapped = parts.clone();
            swapped.swap(index, index - 1);
            refused(&swapped);
        }
        for name in ["x", "signature_delimiter", "signature", "aimass:manifest"] {
            let mut added = parts.clone();
            let custom = [&[0, name.len() as u8 + 1, name.len() as u8], name.as_bytes()].concat();
            added.insert(index + 1, custom);
            let code = refused(&added);
            assert_eq!(
                code,
                if name == "x" { RefusalCode::Sig } else { RefusalCode::Format },
                "{name}"
            );
        }
    }
}

#[test]
fn other_forms_of_header_and_section_are_refused() {
    let acme = Acme::new();
    let (plugin, policy) = (acme.sign(&manifest()), acme.policy());
    let with = |edit: &dyn Fn(&mut Vec<u8>)| {
        let mut wasm = plugin.wasm.clone();
        edit(&mut wasm);
        code(verify(&policy, &SignedPlugin { wasm, ..plugin.clone() }))
    };
    // The header of a core module, the hole of wasmsign2's own verifier.
    assert_eq!(with(&|wasm| wasm[4..8].copy_from_slice(&[1, 0, 0, 0])), RefusalCode::Format);
    // The section's length, and the name's, with one byte more than needed.
    assert_eq!(
        with(&|wasm| {
            wasm.splice(9..11, [0x81, 0x81, 0]);
        }),
        RefusalCode::Format
    );
    assert_eq!(
        with(&|wasm| {
            wasm.splice(9..12, [0x82, 0x01, 0x89, 0]);
        }),
        RefusalCode::Format
    );
    // A claimed length of 4 GiB in a file of 14 bytes.
    assert_eq!(
        with(&|wasm| {
            wasm.truncate(8);
            wasm.extend([0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        }),
        RefusalCode::Format
    );
    assert_eq!(
        with(&|wasm| {
            wasm.truncate(8);
            wasm.extend([10, 5, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        }),
        RefusalCode::Format
    );
    // Counts other than one, another algorithm, one byte more inside the section.
    for at in [21, 22, 23, 24, 25, 26, 59, 60, 61, 74, 75] {
        assert_eq!(with(&|wasm| wasm[at] += 1), RefusalCode::Format, "byte {at}");
    }
    assert_eq!(
        with(&|wasm| {
            wasm[9] += 1;
            wasm.insert(140, 0);
        }),
        RefusalCode::Format
    );
}

#[test]
fn too_large_packages_are_refused_before_they_are_read() {
    let acme = Acme::new();
    let plugin = acme.sign(&manifest());
    let wasm = vec![0; aimass_trust::COMPONENT_BYTES_MAX + 1];
    assert_eq!(
        code(verify(&acme.policy(), &SignedPlugin { wasm, ..plugin.clone() })),
        RefusalCode::Size
    );
    let dsse = vec![b' '; aimass_trust::STATEMENT_BYTES_MAX + 1];
    assert_eq!(code(verify(&acme.policy(), &SignedPlugin { dsse, ..plugin })), RefusalCode::Size);
}
