//! The attack table: named attacks, at least five a row, each refused with its own code.
//!
//! Every attack starts from a release that is admitted ([`market::Scene`]) and bends one thing.
//! Rows are in the order of the threat model in `docs/security/trust-format.md`.

pub(crate) mod market;

use aimass_trust::publishing::drafts::sign_metadata;
use aimass_trust::{
    Capability, Dependency, Grant, HexDigest, Refusal, RefusalCode, Revocation, Revocations,
    Revoked, SignedPlugin, Timestamp, Whole, add_signature, embed_manifest, entry_of, sign_plugin,
};
use market::{Chain, Key, Memory, NOW, Scene, at, keys, log_in, logged, role, root, root_content};
use serde_json::{Value, json};

use RefusalCode as Code;

/// Attacks of one row: name, expected code, what is bent.
pub(crate) type Attack = (&'static str, Code, fn(&mut Scene));

pub(crate) const ROWS: &[(&str, &[Attack])] = &[
    ("arbitrary software", ARBITRARY_SOFTWARE),
    ("rollback", ROLLBACK),
    ("indefinite freeze", FREEZE),
    ("mix and match", MIX),
    ("one key stolen", STOLEN_KEY),
    ("malicious mirror", MIRROR),
    ("typosquat and homoglyph", TYPOSQUAT),
    ("signature stripping", STRIPPING),
    ("algorithm confusion", ALGORITHM),
    ("parser differential", PARSER),
    ("malleable or low-order keys and signatures", MALLEABLE),
    ("header swap, prefix, appended sections", SECTIONS),
    ("equivocation and missing witnesses", EQUIVOCATION),
    ("log proofs", LOG),
    ("revoked", REVOKED),
    ("time skew", CLOCK),
    ("poisoned update and dependencies", POISONED),
    ("duplicate keys and stale delegations", DUPLICATES),
    ("root chain", ROOT),
    ("compromised reviewer", REVIEWER),
    ("statement and target disagree", BINDING),
];

#[test]
fn every_attack_is_refused_with_its_own_code() {
    let (mut count, mut wrong) = (0, Vec::new());
    for (row, attacks) in ROWS {
        assert!(attacks.len() >= 5, "{row}: {} variants", attacks.len());
        for (name, code, bend) in *attacks {
            let mut scene = Scene::new();
            bend(&mut scene);
            count += 1;
            match scene.verify() {
                Ok(_) => wrong.push(format!("{row}: {name}: admitted")),
                Err(refusal) if refusal.code == *code => check_message(&refusal),
                Err(refusal) => wrong.push(format!("{row}: {name}: {refusal}, wanted {code}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 100, "{count} attacks");
    println!("{count} attacks in {} rows", ROWS.len());
}

#[test]
fn attacks_have_their_own_names() {
    let names: Vec<&str> =
        ROWS.iter().flat_map(|(_, attacks)| attacks.iter().map(|(name, _, _)| *name)).collect();
    for (index, name) in names.iter().enumerate() {
        assert!(!names[..index].contains(name), "{name}");
    }
}

/// At most a screen, with the code first and a remedy last.
fn check_message(refusal: &Refusal) {
    let text = refusal.to_string();
    assert!(text.starts_with(refusal.code.as_str()) && text.contains("Remedy: "), "{text}");
    assert!(!refusal.expected.is_empty() && refusal.remedy.len() > 10, "{text}");
    assert!(text.len() < 1_500 && text.chars().all(|one| !one.is_control()), "{text}");
}

fn plugin(scene: &mut Scene, hook: impl FnOnce(&mut SignedPlugin) + 'static) {
    scene.plugin = Some(Box::new(hook));
}

fn chain(scene: &mut Scene, hook: impl FnOnce(&mut Chain) + 'static) {
    scene.chain = Some(Box::new(hook));
}

fn member(scene: &mut Scene, name: &'static str, hook: impl FnOnce(&mut Vec<u8>) + 'static) {
    scene.members = Some(Box::new(move |members| hook(members.get_mut(name).expect(name))));
}

/// Replaces text in a member.
fn edit(scene: &mut Scene, name: &'static str, from: &'static str, to: &'static str) {
    member(scene, name, move |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("text");
        assert!(text.contains(from), "{name}: no {from}");
        *bytes = text.replacen(from, to, 1).into_bytes();
    });
}

/// Signs another plugin in the place of the scene's, but keeps the chain as it was.
fn swap_plugin(scene: &mut Scene, signer: Key, wat: &'static str) {
    plugin(scene, move |it| {
        let component = wat::parse_str(wat).expect("wat");
        let embedded = embed_manifest(&component, &market::manifest()).expect("embedded");
        *it = sign_plugin(&embedded, &Scene::new().release, signer).expect("signed");
        for reviewer in &keys().reviewers[..2] {
            it.dsse = add_signature(&it.dsse, reviewer).expect("reviewed");
        }
    });
}

const OTHER: &str = "(component (core module (memory 2)))";

const ARBITRARY_SOFTWARE: &[Attack] = &[
    ("other component by the publisher, not listed", Code::Digest, |it| {
        swap_plugin(it, keys().acme[0], OTHER);
    }),
    ("other component by a stranger", Code::Digest, |it| swap_plugin(it, keys().evil[0], OTHER)),
    ("stranger signs, and the targets are forged too", Code::Threshold, |it| {
        it.signer = keys().evil[0];
        chain(it, |chain| chain.publisher.signers = vec![keys().evil[0]]);
    }),
    ("stranger signs, publisher lists it", Code::Key, |it| it.signer = keys().evil[0]),
    ("garbage instead of a component", Code::Digest, |it| {
        member(it, "plugin.wasm", |bytes| *bytes = b"#!/bin/sh\n".to_vec());
    }),
    ("a listed file of another package", Code::Digest, |it| {
        it.name = "acme/other".to_owned();
    }),
    ("a core module that the publisher lists", Code::Format, |it| {
        listed(it, |bytes| bytes[4..8].copy_from_slice(&[1, 0, 0, 0]));
    }),
];

/// Changes the component and lists the changed one, as a stolen targets key could.
fn listed(scene: &mut Scene, hook: impl FnOnce(&mut Vec<u8>) + 'static) {
    scene.members = Some(Box::new(move |members| {
        let wasm = members.get_mut("plugin.wasm").expect("a component");
        hook(wasm);
        let wasm = wasm.clone();
        let mut chain = Chain::new(&wasm, &market::manifest(), 17);
        for (name, bytes) in chain.files() {
            members.insert(name, bytes);
        }
    }));
}

fn seen(scene: &mut Scene, change: impl FnOnce(&mut Chain)) {
    let mut chain = Chain::new(b"earlier", &market::manifest(), 16);
    change(&mut chain);
    let mut files = chain.files();
    scene.state.timestamp = files.remove("timestamp.json");
    scene.state.snapshot = files.remove("snapshot.json");
}

fn set(draft: &mut market::Draft, field: &'static str, value: Value) {
    draft.signed()[field] = value;
}

const ROLLBACK: &[Attack] = &[
    ("older timestamp", Code::Rollback, |it| {
        seen(it, |chain| set(&mut chain.timestamp, "version", json!(12)));
    }),
    ("older snapshot in a newer timestamp", Code::Rollback, |it| {
        seen(it, |chain| {
            set(&mut chain.snapshot, "version", json!(8));
            set(&mut chain.timestamp, "version", json!(10));
        });
    }),
    ("older targets in the snapshot", Code::Rollback, |it| {
        seen(it, |chain| set(&mut chain.targets, "version", json!(4)));
    }),
    ("older publisher in the snapshot", Code::Rollback, |it| {
        seen(it, |chain| set(&mut chain.publisher, "version", json!(6)));
    }),
    ("publisher dropped from the snapshot", Code::Rollback, |it| {
        seen(it, |chain| chain.snapshot.signed()["meta"]["gone.json"] = json!({ "version": 1 }));
    }),
    ("sequence that was seen", Code::Rollback, |it| it.last_sequence = Some(17)),
    ("sequence below one that was seen", Code::Rollback, |it| it.last_sequence = Some(u64::MAX)),
];

fn ended(draft: &mut market::Draft, seconds_ago: u64) {
    let expires = Timestamp::from_unix(NOW - seconds_ago);
    set(draft, "expires", json!(expires));
}

const FREEZE: &[Attack] = &[
    ("timestamp older than the maximum age", Code::Expired, |it| {
        chain(it, |chain| ended(&mut chain.timestamp, 7 * 86_400));
    }),
    ("timestamp of a year ago", Code::Expired, |it| {
        chain(it, |chain| ended(&mut chain.timestamp, 365 * 86_400));
    }),
    ("snapshot older than the maximum age", Code::Expired, |it| {
        chain(it, |chain| ended(&mut chain.snapshot, 7 * 86_400));
    }),
    ("targets expired a second ago", Code::Expired, |it| {
        chain(it, |chain| ended(&mut chain.targets, 0))
    }),
    ("publisher's targets expired", Code::Expired, |it| {
        chain(it, |chain| ended(&mut chain.publisher, 0))
    }),
    ("root expired", Code::Expired, |it| {
        chain(it, |chain| {
            let mut next = root(2, &root_content(), &keys().root[..3]);
            ended(&mut next, 1);
            chain.roots.push(next);
        });
    }),
    ("release expired", Code::Expired, |it| {
        it.release.expires = Timestamp::from_unix(NOW);
    }),
    ("release not valid yet", Code::Expired, |it| {
        it.release.not_before = Timestamp::from_unix(NOW + 1);
    }),
    ("any age where the operator allows none", Code::Expired, |it| {
        it.policy.metadata_age_seconds_max = 0;
        chain(it, |chain| ended(&mut chain.timestamp, 0));
    }),
];

/// A file of another chain that is signed as well as this one's.
fn from_other_chain(scene: &mut Scene, name: &'static str, change: fn(&mut Chain)) {
    member(scene, name, move |bytes| {
        let mut other = Chain::new(b"other", &market::manifest(), 9);
        change(&mut other);
        *bytes = other.files().remove(name).expect(name);
    });
}

const MIX: &[Attack] = &[
    ("snapshot of another moment", Code::Mix, |it| {
        from_other_chain(it, "snapshot.json", |chain| {
            set(&mut chain.snapshot, "version", json!(8))
        });
    }),
    ("snapshot of the same version, other content", Code::Mix, |it| {
        from_other_chain(it, "snapshot.json", |_| {});
    }),
    ("targets of another moment", Code::Mix, |it| {
        from_other_chain(it, "targets.json", |chain| set(&mut chain.targets, "version", json!(2)));
    }),
    ("publisher's targets of another moment", Code::Mix, |it| {
        from_other_chain(it, "publisher.json", |_| {});
    }),
    ("targets whose version the snapshot does not name", Code::Mix, |it| {
        unlinked(it, 1, |chain| {
            set(&mut chain.targets, "version", json!(9));
        });
    }),
    ("publisher whose version the snapshot does not name", Code::Mix, |it| {
        unlinked(it, 1, |chain| set(&mut chain.publisher, "version", json!(4)));
    }),
    ("snapshot whose version the timestamp does not name", Code::Mix, |it| {
        unlinked(it, 2, |chain| set(&mut chain.snapshot, "version", json!(6)));
    }),
    ("publisher missing in the snapshot", Code::Mix, |it| {
        unlinked(it, 1, |chain| {
            chain.snapshot.signed()["meta"].as_object_mut().expect("meta").remove("acme.json");
        });
    }),
    ("publisher's targets missing in the bundle", Code::Mix, |it| without(it, "publisher.json")),
    ("timestamp missing in the bundle", Code::Mix, |it| without(it, "timestamp.json")),
];

/// Bends the chain without naming the changed files above.
fn unlinked(scene: &mut Scene, from: usize, hook: impl FnOnce(&mut Chain) + 'static) {
    chain(scene, move |chain| {
        chain.link[from] = false;
        hook(chain);
    });
}

fn without(scene: &mut Scene, name: &'static str) {
    scene.members = Some(Box::new(move |members| {
        members.remove(name).expect(name);
    }));
}

const STOLEN_KEY: &[Attack] = &[
    ("one targets key of two", Code::Threshold, |it| {
        chain(it, |chain| chain.targets.signers.truncate(1));
    }),
    ("targets signed with the timestamp's key", Code::Threshold, |it| {
        chain(it, |chain| chain.targets.signers = vec![keys().timestamp, keys().targets[0]]);
    }),
    ("timestamp signed with the snapshot's key", Code::Threshold, |it| {
        chain(it, |chain| chain.timestamp.signers = vec![keys().snapshot]);
    }),
    ("snapshot signed with the timestamp's key", Code::Threshold, |it| {
        chain(it, |chain| chain.snapshot.signers = vec![keys().timestamp]);
    }),
    ("publisher's targets signed by the marketplace", Code::Threshold, |it| {
        chain(it, |chain| chain.publisher.signers = keys().targets.to_vec());
    }),
    ("publisher's key without a second party", Code::Review, |it| it.reviewers.clear()),
    ("a key that was rotated away", Code::Key, |it| it.signer = keys().acme[2]),
    ("publisher's targets below their threshold", Code::Threshold, |it| {
        chain(it, |chain| delegation(chain)["threshold"] = json!(2));
    }),
];

fn delegation(chain: &mut Chain) -> &mut Value {
    &mut chain.targets.signed()["delegations"]["roles"][1]
}

const MIRROR: &[Attack] = &[
    ("a timestamp that never ends", Code::Size, |it| {
        member(it, "timestamp.json", |bytes| bytes.resize((1 << 20) + 1, b' '));
    }),
    ("a snapshot above its limit", Code::Size, |it| {
        unlinked(it, 2, |chain| {
            let meta = &mut chain.timestamp.signed()["meta"]["snapshot.json"];
            *meta = json!({ "version": 7 });
        });
        member(it, "snapshot.json", |bytes| bytes.resize((1 << 20) + 1, b' '));
    }),
    ("a statement above its limit", Code::Size, |it| {
        member(it, "release.dsse.json", |bytes| bytes.resize((256 << 10) + 1, b' '));
    }),
    ("a proof above its limit", Code::Size, |it| {
        member(it, "release.tlog-proof", |bytes| bytes.resize((16 << 10) + 1, b'\n'));
    }),
    ("33 new roots", Code::Size, |it| {
        chain(it, |chain| {
            for version in 2..=34 {
                chain.roots.push(root(version, &root_content(), &keys().root[..3]));
            }
        });
    }),
    ("revocations withheld", Code::Format, |it| without(it, "revocations.json")),
    ("revocations of another day", Code::Digest, |it| {
        edit(it, "revocations.json", "[]", "[] ");
    }),
    ("targets without revocations", Code::Revoked, |it| {
        chain(it, |chain| {
            chain.link[0] = false;
            set(&mut chain.targets, "targets", json!({}));
        });
    }),
    ("a component cut short", Code::Digest, |it| {
        member(it, "plugin.wasm", |bytes| bytes.truncate(200));
    }),
];

fn named(scene: &mut Scene, name: &str) {
    scene.name = name.to_owned();
    scene.policy.names = vec!["*".to_owned()];
}

fn protect(scene: &mut Scene, protected: &'static str) {
    chain(scene, move |chain| {
        let mut next = root(2, &root_content(), &[]);
        next.signed()["aimass"] = json!({ "protected": [protected] });
        next.signers = keys().root[..3].to_vec();
        chain.roots.push(next);
    });
}

const TYPOSQUAT: &[Attack] = &[
    ("capital letters", Code::Name, |it| named(it, "Acme/resize-norm")),
    ("a Cyrillic letter", Code::Name, |it| named(it, "\u{430}cme/resize-norm")),
    ("a path", Code::Name, |it| named(it, "acme/../resize-norm")),
    ("one letter changed", Code::Name, |it| protect(it, "acne")),
    ("one letter dropped", Code::Name, |it| protect(it, "acmee")),
    ("two letters swapped", Code::Name, |it| protect(it, "amce")),
    ("a package close to another publisher's", Code::Name, |it| protect(it, "acm/resize-norm")),
    ("an unknown publisher", Code::Name, |it| named(it, "evil/resize-norm")),
    ("a name of metadata", Code::Name, |it| {
        named(it, "snapshot/resize-norm");
        chain(it, |chain| {
            let roles =
                chain.targets.signed()["delegations"]["roles"].as_array_mut().expect("roles");
            let mut thief = roles[1].clone();
            thief["name"] = json!("snapshot");
            roles.push(thief);
        });
    }),
    ("a name that the operator does not allow", Code::Name, |it| {
        it.policy.names = vec!["acme/other*".to_owned()];
    }),
    ("a path delegated to somebody before", Code::Name, |it| {
        chain(it, |chain| {
            let roles =
                chain.targets.signed()["delegations"]["roles"].as_array_mut().expect("roles");
            let mut thief = roles[1].clone();
            thief["name"] = json!("thief");
            roles.insert(0, thief);
        });
    }),
    ("a path beyond the delegation", Code::Name, |it| {
        chain(it, |chain| delegation(chain)["paths"] = json!(["acme/other*"]));
    }),
];

const STRIPPING: &[Attack] = &[
    ("component without its section", Code::Unsigned, |it| {
        listed(it, |bytes| {
            bytes.drain(8..140);
        });
    }),
    ("statement without signatures", Code::Unsigned, |it| {
        member(it, "release.dsse.json", |bytes| {
            let mut value: Value = serde_json::from_slice(bytes).expect("json");
            value["signatures"] = json!([]);
            *bytes = serde_json::to_vec(&value).expect("json");
        });
    }),
    ("empty statement", Code::Unsigned, |it| member(it, "release.dsse.json", Vec::clear)),
    ("statement without the publisher's line", Code::Sig, |it| drop_line(it, 0)),
    ("statement without a reviewer's line", Code::Review, |it| drop_line(it, 1)),
    ("timestamp without signatures", Code::Threshold, |it| strip(it, "timestamp.json")),
    ("root without signatures", Code::Root, |it| {
        chain(it, |chain| chain.roots.push(root(2, &root_content(), &[])));
    }),
    ("proof without the log's line", Code::Log, |it| drop_note_line(it, market::ORIGIN)),
];

fn drop_line(scene: &mut Scene, index: usize) {
    member(scene, "release.dsse.json", move |bytes| {
        let mut value: Value = serde_json::from_slice(bytes).expect("json");
        value["signatures"].as_array_mut().expect("lines").remove(index);
        *bytes = serde_json::to_vec(&value).expect("json");
    });
}

fn strip(scene: &mut Scene, name: &'static str) {
    member(scene, name, |bytes| {
        let mut value: Value = serde_json::from_slice(bytes).expect("json");
        value["signatures"] = json!([]);
        *bytes = serde_json::to_vec(&value).expect("json");
    });
}

fn drop_note_line(scene: &mut Scene, name: &'static str) {
    member(scene, "release.tlog-proof", move |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("text");
        let start = format!("— {name} ");
        let kept = text.split_inclusive('\n').filter(|line| !line.starts_with(&start));
        *bytes = kept.collect::<String>().into_bytes();
    });
}

const ALGORITHM: &[Attack] = &[
    ("section with algorithm 2", Code::Format, |it| listed(it, |bytes| bytes[74] = 2)),
    ("section with hash function 2", Code::Format, |it| listed(it, |bytes| bytes[23] = 2)),
    ("TUF key of type rsa", Code::Root, |it| key_field(it, "keytype", "rsa")),
    ("TUF key with scheme ecdsa", Code::Root, |it| key_field(it, "scheme", "ecdsa-sha2-nistp256")),
    ("envelope with another payload type", Code::Format, |it| {
        edit(it, "release.dsse.json", "in-toto+json", "in-toto+yaml");
    }),
    ("statement with another predicate", Code::Format, |it| {
        resign(it, |text| text.replace("plugin-release:v1", "plugin-release:v2"));
    }),
    ("statement's key named by another algorithm", Code::Sig, |it| {
        member(it, "release.dsse.json", |bytes| {
            let mut value: Value = serde_json::from_slice(bytes).expect("json");
            let id = value["signatures"][0]["keyid"].as_str().expect("id").to_owned();
            value["signatures"][0]["keyid"] = json!(id.replace("ed25519:", "ed25519ph:"));
            *bytes = serde_json::to_vec(&value).expect("json");
        });
    }),
];

/// Rotates to a root whose keys all have another text in this field.
fn key_field(scene: &mut Scene, field: &'static str, text: &'static str) {
    chain(scene, move |chain| {
        let mut next = root(2, &root_content(), &keys().root[..3]);
        for key in next.signed()["keys"].as_object_mut().expect("keys").values_mut() {
            key[field] = json!(text);
        }
        chain.roots.push(next);
    });
}

/// Changes the statement's text and has everybody sign it again, before it is logged.
fn resign(scene: &mut Scene, change: impl FnOnce(String) -> String + 'static) {
    plugin(scene, move |plugin| {
        let value: Value = serde_json::from_slice(&plugin.dsse).expect("json");
        let payload = decode(value["payload"].as_str().expect("payload"));
        let before = String::from_utf8(payload).expect("text");
        let after = change(before.clone());
        assert_ne!(before, after);
        let all = [keys().acme[0], keys().reviewers[0], keys().reviewers[1]];
        plugin.dsse = aimass_trust::sign_statement(after.as_bytes(), &all).expect("signed");
    });
}

fn decode(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        bits = bits << 6 | alphabet.iter().position(|one| *one == byte).expect("base64") as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

const PARSER: &[Attack] = &[
    ("duplicate key in a statement", Code::Format, |it| {
        resign(it, |text| text.replacen("{", "{\"_type\":\"https://in-toto.io/Statement/v1\",", 1));
    }),
    ("unknown field in a statement", Code::Format, |it| {
        resign(it, |text| text.replacen("\"sequence\"", "\"also\":1,\"sequence\"", 1));
    }),
    ("fraction in a statement", Code::Format, |it| {
        resign(it, |text| text.replacen(":17,", ":17.0,", 1))
    }),
    ("duplicate key in metadata", Code::Format, |it| {
        edit(it, "timestamp.json", "\"version\":", "\"version\":99,\"version\":");
    }),
    ("duplicate key by an escape", Code::Format, |it| {
        edit(it, "timestamp.json", "\"version\":", "\"\\u0076ersion\":99,\"version\":");
    }),
    ("fraction in metadata", Code::Format, |it| edit(it, "timestamp.json", ":11}", ":11.0}")),
    ("second signature line under one key id", Code::Format, |it| {
        member(it, "timestamp.json", |bytes| {
            let mut value: Value = serde_json::from_slice(bytes).expect("json");
            let line = value["signatures"][0].clone();
            value["signatures"].as_array_mut().expect("lines").push(line);
            *bytes = serde_json::to_vec(&value).expect("json");
        });
    }),
    ("field beside `signed`", Code::Format, |it| {
        edit(it, "timestamp.json", "{\"signatures\"", "{\"also\":1,\"signatures\"");
    }),
    ("text after metadata", Code::Format, |it| {
        member(it, "timestamp.json", |bytes| bytes.extend_from_slice(b"{}"));
    }),
    ("deep nesting", Code::Format, |it| {
        member(it, "timestamp.json", |bytes| *bytes = vec![b'['; 100_000]);
    }),
    ("a pattern that others read otherwise", Code::Format, |it| {
        chain(it, |chain| delegation(chain)["paths"] = json!(["acme/[r]esize*"]));
    }),
    ("a proof with unauthenticated data", Code::Log, |it| {
        edit(it, "release.tlog-proof", "index ", "extra AAAA\nindex ");
    }),
];

const MALLEABLE: &[Attack] = &[
    ("publisher key of small order", Code::Key, |it| {
        publisher_key(it, format!("01{}", "00".repeat(31)));
    }),
    ("publisher key that is not canonical", Code::Key, |it| {
        publisher_key(it, format!("ee{}7f", "ff".repeat(30)));
    }),
    ("publisher key that is no point", Code::Key, |it| publisher_key(it, "02".repeat(32))),
    ("publisher key in capitals", Code::Key, |it| {
        publisher_key(it, market::hex(&keys().acme[0].public().to_bytes()).to_uppercase());
    }),
    ("timestamp's key of small order", Code::Threshold, |it| {
        chain(it, |chain| {
            let mut next = root(2, &root_content(), &keys().root[..3]);
            let id =
                next.signed()["roles"]["timestamp"]["keyids"][0].as_str().expect("id").to_owned();
            next.signed()["keys"][id]["keyval"]["public"] = json!("00".repeat(32));
            chain.roots.push(next);
        });
    }),
    ("component's scalar plus the order", Code::Sig, |it| {
        listed(it, |bytes| add_order(&mut bytes[108..140]));
    }),
    ("statement's R of small order", Code::Sig, |it| {
        member(it, "release.dsse.json", |bytes| {
            let mut value: Value = serde_json::from_slice(bytes).expect("json");
            value["signatures"][0]["sig"] = json!(format!("AQ{}==", "A".repeat(84)));
            *bytes = serde_json::to_vec(&value).expect("json");
        });
    }),
    ("metadata's signature in capitals", Code::Format, |it| {
        member(it, "timestamp.json", |bytes| {
            let mut value: Value = serde_json::from_slice(bytes).expect("json");
            let sig = value["signatures"][0]["sig"].as_str().expect("sig").to_uppercase();
            value["signatures"][0]["sig"] = json!(sig);
            *bytes = serde_json::to_vec(&value).expect("json");
        });
    }),
];

/// Replaces the publisher's keys in the delegation by one of this text; it signs nothing.
fn publisher_key(scene: &mut Scene, public: String) {
    chain(scene, move |chain| {
        let id = delegation(chain)["keyids"].as_array().expect("ids").clone();
        // The targets file stays signed by the key that keeps its id, the component by the other.
        let of_signer = aimass_trust::publishing::drafts::key_id(keys().acme[0].public());
        assert!(id.contains(&json!(of_signer)));
        chain.targets.signed()["delegations"]["keys"][of_signer]["keyval"]["public"] =
            json!(public);
        chain.publisher.signers = vec![keys().acme[1]];
    });
}

/// s + L, little-endian: the same scalar in another form.
fn add_order(scalar: &mut [u8]) {
    let order: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0u16;
    for (byte, add) in scalar.iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        (*byte, carry) = ((sum & 0xff) as u8, sum >> 8);
    }
}

fn custom(name: &str) -> Vec<u8> {
    [&[0, name.len() as u8 + 1, name.len() as u8], name.as_bytes()].concat()
}

const SECTIONS: &[Attack] = &[
    ("module header", Code::Format, |it| listed(it, |bytes| bytes[6] = 0)),
    ("appended section", Code::Sig, |it| listed(it, |bytes| bytes.extend(custom("x")))),
    ("second signature section", Code::Format, |it| {
        listed(it, |bytes| bytes.extend(custom("signature")));
    }),
    ("signature delimiter", Code::Format, |it| {
        listed(it, |bytes| bytes.extend(custom("signature_delimiter")));
    }),
    ("second manifest", Code::Format, |it| {
        listed(it, |bytes| bytes.extend(custom("aimass:manifest")));
    }),
    ("section before the signature", Code::Format, |it| {
        listed(it, |bytes| {
            bytes.splice(8..8, custom("x"));
        });
    }),
    ("length in a longer form", Code::Format, |it| {
        listed(it, |bytes| {
            bytes.splice(9..11, [0x81, 0x81, 0]);
        });
    }),
    ("cut after the signature", Code::Format, |it| listed(it, |bytes| bytes.truncate(140))),
    ("byte after the last section", Code::Format, |it| listed(it, |bytes| bytes.push(0))),
];

fn log(scene: &mut Scene, proof: impl FnOnce(&SignedPlugin) -> String + 'static) {
    scene.log = Box::new(proof);
}

fn own_entry(plugin: &SignedPlugin) -> [u8; 32] {
    entry_of(&plugin.dsse).expect("an entry")
}

const EQUIVOCATION: &[Attack] = &[
    ("another history of the same size", Code::Equivocation, |it| {
        let note = market::logged(&[[9; 32], [8; 32], [7; 32]], &[0, 1], NOW - 90);
        it.state.saw(&market::checkpoint_of(&note));
    }),
    ("another history, among others that were seen", Code::Equivocation, |it| {
        for count in 1..=3 {
            let note = market::logged(&[[9; 32], [8; 32], [7; 32]][..count], &[0, 1, 2], NOW - 90);
            it.state.saw(&market::checkpoint_of(&note));
        }
    }),
    ("no witness", Code::Log, |it| log(it, |plugin| logged(&[own_entry(plugin)], &[], NOW))),
    ("one witness of two", Code::Log, |it| {
        log(it, |plugin| logged(&[own_entry(plugin)], &[2], NOW))
    }),
    ("one witness twice", Code::Log, |it| {
        log(it, |plugin| {
            let proof = logged(&[own_entry(plugin)], &[1], NOW);
            let line = proof.lines().last().expect("a line").to_owned();
            format!("{proof}{line}\n")
        });
    }),
    ("a witness's line under another witness's name", Code::Log, |it| {
        log(it, |plugin| {
            let proof = logged(&[own_entry(plugin)], &[1], NOW);
            let line = proof.lines().last().expect("a line").replace("w1.example", "w2.example");
            format!("{proof}{line}\n")
        });
    }),
    ("a witness's line with another time", Code::Log, |it| {
        log(it, |plugin| {
            let (one, other) = (
                logged(&[own_entry(plugin)], &[0, 1], NOW - 5),
                logged(&[own_entry(plugin)], &[0, 1], NOW - 9),
            );
            market::splice_time(&one, &other)
        });
    }),
];

const LOG: &[Attack] = &[
    ("not in the log", Code::Log, |it| log(it, |_| logged(&[[1; 32], [2; 32]], &[0, 1], NOW))),
    ("another index", Code::Log, |it| edit(it, "release.tlog-proof", "index 2", "index 1")),
    ("an index beyond the log", Code::Log, |it| {
        edit(it, "release.tlog-proof", "index 2", "index 3")
    }),
    ("an index with a leading zero", Code::Log, |it| {
        edit(it, "release.tlog-proof", "index 2", "index 02")
    }),
    ("a hash less", Code::Log, |it| {
        member(it, "release.tlog-proof", |bytes| {
            let text = String::from_utf8(bytes.clone()).expect("text");
            let lines: Vec<&str> = text.split('\n').collect();
            *bytes = [&lines[..2], &lines[3..]].concat().join("\n").into_bytes();
        });
    }),
    ("a hash more", Code::Log, |it| {
        edit(
            it,
            "release.tlog-proof",
            "index 2\n",
            "index 2\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        );
    }),
    ("a log of the same name with another key", Code::Log, |it| {
        log(it, |plugin| {
            log_in(&mut Memory::default(), keys().evil[0], &own_entry(plugin), &[0, 1], NOW)
        });
    }),
    ("a reviewer's signature added after logging", Code::Log, |it| {
        member(it, "release.dsse.json", |bytes| {
            *bytes = add_signature(bytes, keys().reviewers[2]).expect("signed");
        });
    }),
    ("an unknown signature added after logging", Code::Log, |it| {
        member(it, "release.dsse.json", |bytes| {
            *bytes = add_signature(bytes, keys().evil[2]).expect("signed");
        });
    }),
    ("a log's checkpoint line of another size", Code::Log, |it| {
        edit(it, "release.tlog-proof", "\n3\n", "\n4\n");
    }),
];

fn revoke(scene: &mut Scene, what: impl FnOnce(&Chain) -> Revoked + 'static) {
    chain(scene, move |chain| {
        let mut list = Revocations::default();
        let at = Timestamp::from_unix(NOW - 5);
        list.push(Revocation { what: what(chain), reason: "test".to_owned(), at });
        chain.revocations = list.to_json().expect("json");
    });
}

fn key_of(key: Key, from_log_index: Option<u64>) -> Revoked {
    Revoked::Key { key: key.public(), from_log_index }
}

fn versions(from: &str, to: &str) -> Revoked {
    let name = "acme/resize-norm".parse().expect("a name");
    Revoked::Versions { name, from: from.parse().ok(), to: to.parse().ok() }
}

const REVOKED: &[Attack] = &[
    ("the file", Code::Revoked, |it| {
        revoke(it, |chain| {
            let targets = &chain.publisher.file["signed"]["targets"];
            let digest = targets["acme/resize-norm@1.4.2.wasm"]["hashes"]["sha256"].clone();
            Revoked::File(serde_json::from_value::<HexDigest>(digest).expect("a digest").0)
        });
    }),
    ("the publisher", Code::Revoked, |it| revoke(it, |_| Revoked::Publisher("acme".to_owned()))),
    ("the version", Code::Revoked, |it| revoke(it, |_| versions("1.4.2", "1.4.2"))),
    ("all versions", Code::Revoked, |it| revoke(it, |_| versions("", ""))),
    ("the key", Code::Key, |it| revoke(it, |_| key_of(keys().acme[0], None))),
    ("the key from this place in the log on", Code::Key, |it| {
        revoke(it, |_| key_of(keys().acme[0], Some(2)));
    }),
    ("the key, with a false place in the log", Code::Log, |it| {
        revoke(it, |_| key_of(keys().acme[0], Some(2)));
        edit(it, "release.tlog-proof", "index 2", "index 0");
    }),
    ("a reviewer's key", Code::Review, |it| revoke(it, |_| key_of(keys().reviewers[1], None))),
    ("a dependency", Code::Revoked, |it| {
        let name = "acme/part".parse().expect("a name");
        it.release.dependencies = vec![Dependency { name, sha256: HexDigest([5; 32]) }];
        revoke(it, |_| Revoked::File([5; 32]));
    }),
    ("an entry that the host does not understand", Code::Format, |it| {
        chain(it, |chain| {
            let text = String::from_utf8(chain.revocations.clone()).expect("text");
            let entry = "[{\"country\":\"xx\",\"reason\":\"r\",\"at\":\"2026-11-20T10:00:00Z\"}]";
            chain.revocations = text.replace("[]", entry).into_bytes();
        });
    }),
];

const CLOCK: &[Attack] = &[
    ("clock a year back", Code::Clock, |it| it.wall = at(NOW - 365 * 86_400)),
    ("clock never set", Code::Clock, |it| it.wall = at(0)),
    ("clock a year ahead", Code::Expired, |it| it.wall = at(NOW + 365 * 86_400)),
    ("clock back behind the floor: what expired stays so", Code::Expired, |it| {
        it.state.floor = Timestamp::from_unix(NOW + 366 * 86_400);
        it.wall = at(NOW);
    }),
    ("a cosignature from the future", Code::Clock, |it| {
        log(it, |plugin| logged(&[own_entry(plugin)], &[0, 1], NOW + 301));
    }),
    ("one cosignature of two from the future", Code::Clock, |it| {
        log(it, |plugin| logged(&[own_entry(plugin)], &[1, 2], NOW + 86_400));
    }),
    ("cosignature at the end of time", Code::Clock, |it| {
        log(it, |plugin| logged(&[own_entry(plugin)], &[0, 1], u64::MAX));
    }),
];

fn running() -> aimass_trust::VerifiedPackage {
    Scene::new().verify().expect("admitted").0.package().clone()
}

const POISONED: &[Attack] = &[
    ("an update that asks for one interface more", Code::Cap, |it| {
        it.running = Some(running());
        it.manifest.capabilities.insert(Capability::Log, Grant::All(Whole {}));
    }),
    ("an update that asks for more time", Code::Cap, |it| {
        it.running = Some(running());
        it.manifest.limits.wall_ms_max = Some(1001);
    }),
    ("an update that asks for an amount where none was asked", Code::Cap, |it| {
        it.running = Some(running());
        it.manifest.limits.handles_max = Some(1);
    }),
    ("an interface beyond the delegation", Code::Cap, |it| {
        it.policy.bounds.capabilities.push(Capability::Files);
        it.manifest.capabilities.insert(Capability::Files, Grant::All(Whole {}));
    }),
    ("an interface beyond the operator's bounds", Code::Cap, |it| {
        it.policy.bounds.capabilities.clear();
    }),
    ("an amount beyond the operator's bounds", Code::Cap, |it| {
        it.policy.bounds.limits.wall_ms_max = Some(999);
    }),
    ("an amount beyond the delegation", Code::Cap, |it| {
        it.manifest.limits.wall_ms_max = Some(2001)
    }),
    ("a delegation without bounds grants nothing", Code::Cap, |it| {
        chain(it, |chain| {
            delegation(chain).as_object_mut().expect("an object").remove("aimass");
        });
    }),
    ("a model that only the operator allows", Code::Cap, |it| {
        it.policy.bounds.models.push("*".to_owned());
        it.policy.bounds.capabilities.push(Capability::Models);
        it.manifest.capabilities.insert(Capability::Models, Grant::All(Whole {}));
    }),
    ("an import that the manifest does not name", Code::Cap, |it| {
        let wat = "(component (import \"wasi:sockets/tcp@0.2.0\" (instance)))";
        it.component = wat::parse_str(wat).expect("wat");
    }),
];

const DUPLICATES: &[Attack] = &[
    ("one root key under two ids", Code::Root, |it| {
        chain(it, |chain| {
            let mut next = root(2, &root_content(), &keys().root[..3]);
            doubled(next.signed(), "root", keys().root[0]);
            chain.roots.push(next);
        });
        it.members = Some(Box::new(|members| {
            let id = aimass_trust::publishing::drafts::key_id(keys().root[0].public());
            second_line(members.get_mut("root.0000000002.json").expect("a root"), &id);
        }));
    }),
    ("one targets key under two ids", Code::Threshold, |it| {
        chain(it, |chain| {
            let mut next = root(2, &root_content(), &keys().root[..3]);
            doubled(next.signed(), "targets", keys().targets[0]);
            chain.roots.push(next);
            chain.targets.signers = vec![keys().targets[0]];
            chain.targets.file["signatures"] = json!([]);
        });
        it.members = Some(Box::new(|members| {
            let id = aimass_trust::publishing::drafts::key_id(keys().targets[0].public());
            second_line(members.get_mut("targets.json").expect("targets"), &id);
            relink(members);
        }));
    }),
    ("one id listed twice", Code::Threshold, |it| {
        chain(it, |chain| {
            let mut next = root(2, &root_content(), &keys().root[..3]);
            let ids = next.signed()["roles"]["targets"]["keyids"].as_array_mut().expect("ids");
            let signer = aimass_trust::publishing::drafts::key_id(keys().targets[0].public());
            *ids = vec![json!(signer), json!(signer)];
            chain.roots.push(next);
            chain.targets.signers = vec![keys().targets[0]];
        });
    }),
    ("publisher signed under an earlier delegation", Code::Threshold, |it| {
        chain(it, |chain| {
            let content = chain.targets.signed();
            let mut roles = content["delegations"]["roles"].clone();
            roles[1]["keyids"] =
                json!([aimass_trust::publishing::drafts::key_id(keys().acme[1].public())]);
            content["delegations"]["roles"] = roles;
        });
    }),
    ("two delegations of one name", Code::Name, |it| {
        chain(it, |chain| {
            let roles =
                chain.targets.signed()["delegations"]["roles"].as_array_mut().expect("roles");
            let again = roles[1].clone();
            roles.push(again);
        });
    }),
    ("a delegation that does not terminate", Code::Name, |it| {
        chain(it, |chain| delegation(chain)["terminating"] = json!(false));
    }),
    ("a publisher that delegates on", Code::Format, |it| {
        chain(it, |chain| {
            set(&mut chain.publisher, "delegations", json!({ "keys": {}, "roles": [] }));
        });
    }),
    ("a publisher's file among the marketplace's own", Code::Name, |it| {
        chain(it, |chain| {
            let entry =
                chain.publisher.file["signed"]["targets"]["acme/resize-norm@1.4.2.wasm"].clone();
            chain.targets.signed()["targets"]["acme/resize-norm@1.4.2.wasm"] = entry;
        });
    }),
    ("a threshold of zero", Code::Threshold, |it| {
        chain(it, |chain| {
            delegation(chain)["threshold"] = json!(0);
            chain.publisher.signers.clear();
        });
    }),
];

/// Gives `role` one key under its id and the id `second`, of which two must sign.
fn doubled(signed: &mut Value, role: &str, key: Key) {
    let id = aimass_trust::publishing::drafts::key_id(key.public());
    let text = signed["keys"][&id].clone();
    signed["keys"]["second"] = text;
    signed["roles"][role] = json!({ "keyids": [id, "second"], "threshold": 2 });
}

/// Repeats the signature of the key `id` under the id `second`.
fn second_line(text: &mut Vec<u8>, id: &str) {
    let mut value: Value = serde_json::from_slice(text).expect("json");
    let lines = value["signatures"].as_array_mut().expect("lines");
    let mut line = lines.iter().find(|line| line["keyid"] == id).expect("a line").clone();
    line["keyid"] = json!("second");
    lines.push(line);
    *text = serde_json::to_vec(&value).expect("json");
}

/// Names the present targets in snapshot and timestamp, and signs both again.
fn relink(members: &mut market::Members) {
    for (upper, lower, key) in [
        ("snapshot.json", "targets.json", keys().snapshot),
        ("timestamp.json", "snapshot.json", keys().timestamp),
    ] {
        let bytes = members[lower].clone();
        let mut value: Value = serde_json::from_slice(&members[upper]).expect("json");
        let entry = &mut value["signed"]["meta"][lower];
        entry["length"] = json!(bytes.len());
        entry["hashes"] = json!({ "sha256": market::sha(&bytes) });
        let text = serde_json::to_vec(&value).expect("json");
        members.insert(upper.to_owned(), sign_metadata(&text, &[key]).expect("signed"));
    }
}

const ROOT: &[Attack] = &[
    ("a root of strangers", Code::Root, |it| {
        chain(it, |chain| {
            let mut content = root_content();
            content.root = role(&keys().evil, 3);
            chain.roots.push(root(2, &content, &keys().evil[..3]));
        });
    }),
    ("a root that only the old keys signed", Code::Root, |it| {
        chain(it, |chain| {
            let mut content = root_content();
            content.root = role(&keys().evil, 3);
            chain.roots.push(root(2, &content, &keys().root[..3]));
        });
    }),
    ("two of three root keys", Code::Root, |it| {
        chain(it, |chain| chain.roots.push(root(2, &root_content(), &keys().root[..2])));
    }),
    ("a root that skips a version", Code::Root, |it| {
        chain(it, |chain| chain.roots.push(root(3, &root_content(), &keys().root[..3])));
    }),
    ("a root of the same version", Code::Root, |it| {
        chain(it, |chain| chain.roots.push(root(1, &root_content(), &keys().root[..3])));
    }),
    ("a root with a signature that does not hold", Code::Root, |it| {
        chain(it, |chain| {
            let signed = root(2, &root_content(), &keys().root[..4]);
            chain.roots.push(signed);
        });
        it.members = Some(Box::new(|members| {
            let text = members.get_mut("root.0000000002.json").expect("a root");
            let mut value: Value = serde_json::from_slice(text).expect("json");
            let other = value["signatures"][0]["sig"].clone();
            value["signatures"][3]["sig"] = other;
            *text = serde_json::to_vec(&value).expect("json");
        }));
    }),
    ("targets of another kind as a root", Code::Root, |it| {
        it.members = Some(Box::new(|members| {
            let text = members["targets.json"].clone();
            members.insert("root.0000000002.json".to_owned(), text);
        }));
    }),
    ("a root without consistent snapshots", Code::Format, |it| {
        chain(it, |chain| {
            let mut next = root(2, &root_content(), &keys().root[..3]);
            set(&mut next, "consistent_snapshot", json!(false));
            chain.roots.push(next);
        });
    }),
];

const REVIEWER: &[Attack] = &[
    ("one reviewer of two", Code::Review, |it| it.reviewers.truncate(1)),
    ("one reviewer twice", Code::Review, |it| {
        it.reviewers = vec![keys().reviewers[0], keys().reviewers[0]];
    }),
    ("reviewers that nobody knows", Code::Review, |it| it.reviewers = keys().evil[..2].to_vec()),
    ("the publisher reviews itself", Code::Review, |it| {
        it.reviewers = vec![keys().reviewers[0], keys().acme[1]];
        chain(it, |chain| add_reviewer(chain, keys().acme[1]));
    }),
    ("a reviewer publishes", Code::Key, |it| it.signer = keys().reviewers[2]),
    ("no reviews required", Code::Review, |it| {
        it.reviewers.clear();
        chain(it, |chain| {
            chain.targets.signed()["delegations"]["roles"][0]["threshold"] = json!(0);
        });
    }),
    ("a review that does not hold", Code::Sig, |it| {
        member(it, "release.dsse.json", |bytes| {
            let mut value: Value = serde_json::from_slice(bytes).expect("json");
            let other = value["signatures"][1]["sig"].clone();
            value["signatures"][2]["sig"] = other;
            *bytes = serde_json::to_vec(&value).expect("json");
        });
    }),
    ("no role for reviews", Code::Format, |it| {
        chain(it, |chain| {
            let roles =
                chain.targets.signed()["delegations"]["roles"].as_array_mut().expect("roles");
            roles.remove(0);
        });
    }),
];

/// Lists a publisher's key among the reviewers', too.
fn add_reviewer(chain: &mut Chain, key: Key) {
    let id = aimass_trust::publishing::drafts::key_id(key.public());
    let role = &mut chain.targets.signed()["delegations"]["roles"][0];
    role["keyids"].as_array_mut().expect("ids").push(json!(id));
}

fn target_field(scene: &mut Scene, field: &'static str, value: Value) {
    chain(scene, move |chain| {
        let target = &mut chain.publisher.signed()["targets"]["acme/resize-norm@1.4.2.wasm"];
        target["custom"]["aimass"][field] = value;
    });
}

const BINDING: &[Attack] = &[
    ("target with another sequence", Code::Bind, |it| target_field(it, "sequence", json!(18))),
    ("target with another world", Code::Bind, |it| {
        target_field(it, "world", json!("aimass:plugin/model@0.1.0"));
    }),
    ("target without sequence and world", Code::Bind, |it| {
        chain(it, |chain| {
            let target = &mut chain.publisher.signed()["targets"]["acme/resize-norm@1.4.2.wasm"];
            target.as_object_mut().expect("an object").remove("custom");
        });
    }),
    ("target of another version", Code::Bind, |it| {
        chain(it, |chain| {
            let targets = chain.publisher.signed()["targets"].as_object_mut().expect("targets");
            let target = targets.remove("acme/resize-norm@1.4.2.wasm").expect("a target");
            targets.insert("acme/resize-norm@1.4.3.wasm".to_owned(), target);
        });
    }),
    ("statement about another version", Code::Bind, |it| {
        resign(it, |text| text.replace("\"version\":\"1.4.2\"", "\"version\":\"1.4.3\""));
    }),
    ("statement about another file", Code::Digest, |it| {
        resign(it, |text| {
            let at = text.find("sha256\":\"").expect("a digest") + 9;
            format!("{}{}{}", &text[..at], "00".repeat(32), &text[at + 64..])
        });
    }),
    ("statement with other capabilities", Code::Bind, |it| {
        resign(it, |text| text.replace("\"capabilities\":{\"tensor\":{}}", "\"capabilities\":{}"));
    }),
    ("statement with another manifest digest", Code::Bind, |it| {
        resign(it, |text| {
            let at = text.find("manifestSha256\":\"").expect("a digest") + 17;
            format!("{}{}{}", &text[..at], "00".repeat(32), &text[at + 64..])
        });
    }),
    ("statement of another publisher", Code::Bind, |it| {
        resign(it, |text| text.replace("\"publisher\":\"acme\"", "\"publisher\":\"evil\""));
    }),
    ("release for a newer host", Code::Bind, |it| {
        it.release.min_host = "99.0.0".parse().expect("a version");
    }),
];
