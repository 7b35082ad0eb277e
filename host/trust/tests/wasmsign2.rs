//! Interoperation with wasmsign2, the tool that our signature section can be read with: the same
//! component and key come to the same bytes, and each reads what the other wrote.

mod acme;

use acme::{Acme, NOW, manifest, release};
use aimass_trust::{SigningKey, embed_manifest, sign_component, sign_plugin};
use wasmsign2::{Module, PublicKey, SecretKey};

const COMPONENTS: u64 = 1000;

/// xorshift64*, from a seed that a failure prints.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % most
    }
}

/// The secret in a key's file, which is its only text form.
fn seed(key: &SigningKey) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("key");
    key.create_file(&path).expect("written");
    let text = std::fs::read_to_string(&path).expect("read");
    let hex = text.lines().nth(2).and_then(|line| line.strip_prefix("secret ")).expect("a secret");
    (0..64).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
}

/// The same key as wasmsign2 holds it.
fn theirs(key: &SigningKey) -> (SecretKey, PublicKey) {
    let public = key.public().to_bytes();
    let secret = [&[0x81][..], &seed(key), &public].concat();
    let public = PublicKey::from_bytes(&[&[1][..], &public].concat()).expect("a key");
    (SecretKey::from_bytes(&secret).expect("a key"), public.attach_default_key_id())
}

/// A component with up to 8 custom sections of up to 300 bytes, some with lengths of two LEB bytes.
fn component(random: &mut Random) -> Vec<u8> {
    let mut bytes = wat::parse_str("(component (core module (memory 1)))").expect("a component");
    for number in 0..random.below(9) {
        let content: Vec<u8> = (0..random.below(300)).map(|_| random.below(256) as u8).collect();
        let name = format!("s{number}");
        let length = 1 + name.len() + content.len();
        bytes.push(0);
        match length < 128 {
            true => bytes.push(length as u8),
            false => bytes.extend([(length & 0x7f) as u8 | 0x80, (length >> 7) as u8]),
        }
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&content);
    }
    bytes
}

#[test]
fn a_thousand_random_components_are_signed_to_the_same_bytes_and_read_both_ways() {
    let acme = Acme::new();
    let now = std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW);
    let (secret, public) = theirs(&acme.key);
    let mut manifest = manifest();
    manifest.capabilities = [].into_iter().collect();
    for seed in 1..=COMPONENTS {
        let mut random = Random(seed);
        let unsigned = embed_manifest(&component(&mut random), &manifest).expect("embedded");
        let ours = sign_component(&unsigned, &acme.key).expect("signed");
        let module = Module::deserialize(&mut &unsigned[..]).expect("their module");
        let signed = secret.sign(module, public.key_id()).expect("their signature");
        let mut written = Vec::new();
        signed.serialize(&mut written).expect("their bytes");
        assert!(written == ours, "seed {seed}: the bytes differ");
        public.verify(&mut &ours[..], None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        // Ours reads theirs: signing takes their section off and puts the same one back.
        let plugin = sign_plugin(&written, &release(), &acme.key).expect("stated");
        let judged = acme.policy().verify_plugin(written, &plugin.dsse, None, now);
        judged.unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}"));
        // Neither takes one changed byte of the content.
        let mut changed = ours;
        let place = changed.len() - 1 - random.below(8) as usize;
        changed[place] ^= 1;
        assert!(public.verify(&mut &changed[..], None).is_err(), "seed {seed}");
        assert!(acme.policy().verify_plugin(changed, &plugin.dsse, None, now).is_err());
    }
}
