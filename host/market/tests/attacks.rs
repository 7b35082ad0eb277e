//! Every named attack of `host/trust/tests/attacks.rs`, as a bundle that a host is asked to install: it is
//! refused with its own code, and the audit log has a line with that code.

#[path = "../../trust/tests/attacks.rs"]
mod named;

use aimass_market::host::audit::Event;
use aimass_market::host::{MarketHost, Standing, bundle_manifest};
use aimass_market::mirror::FetchLimits;
use aimass_trust::{SubscriptionAllow, TrustPolicy, VerifiedPackage, market_fingerprint};
use named::market::{Host, Scene, hex, keys, log_policy_text, root, root_content};

/// Installs `bundle` on a fresh host like `of`: the code of the refusal, and the event and the code of the
/// audit log's last line.
fn install(of: &Host, bundle: &[u8]) -> (String, Event, String) {
    let data = tempfile::tempdir().expect("a folder");
    let folder = data.path().join("markets/shop");
    std::fs::create_dir_all(&folder).expect("made");
    let first = root(1, &root_content(), &keys().root[..3]).bytes();
    let log = log_policy_text();
    let state = of.state.to_bytes().expect("a state");
    for (file, bytes) in
        [("root.json", &first[..]), ("log.policy", log.as_bytes()), ("state.json", &state)]
    {
        std::fs::write(folder.join(file), bytes).expect("written");
    }
    let fingerprint = hex(&market_fingerprint(&first, log.as_bytes()));
    let text = format!(
        "[operator]\ncapabilities = [\"tensor\", \"log\", \"files\", \"models\"]\n\
         [[market]]\nname = \"shop\"\nlocations = [\"/nowhere\"]\nfingerprint = \"{fingerprint}\"\n\
         [[market.allow]]\nnames = [\"acme/*\"]\n"
    );
    let trust = TrustPolicy::parse(&text).expect("a policy");
    let mut market = trust.subscriptions()[0].clone();
    market.allow = vec![SubscriptionAllow {
        names: of.policy.names.clone(),
        bounds: of.policy.bounds.clone(),
    }];
    market.metadata_days_max = of.policy.metadata_age_seconds_max / 86_400;
    let host = MarketHost::open(data.path(), FetchLimits::default());
    let standing = Standing {
        last_sequence: of.last_sequence,
        running: of.running.as_ref().map(VerifiedPackage::manifest).cloned(),
    };
    let admitted = host.admit_bundle(&trust, &market, bundle, (&standing, false), of.wall);
    let code = admitted.map_or_else(|error| error.code().to_owned(), |_| "admitted".to_owned());
    let lines = host.audit().verify().expect("whole");
    let last = lines.last().expect("a line");
    (code, last.event, last.code.clone().unwrap_or_default())
}

/// A bundle's name is read from its component, before everything else: of these it cannot be.
const NAMELESS: [&str; 2] = ["garbage instead of a component", "a component cut short"];

#[test]
fn every_attack_leaves_its_code_in_the_audit_log() {
    let (mut count, mut wrong) = (0, Vec::new());
    for (row, attacks) in named::ROWS {
        for (name, code, bend) in *attacks {
            let mut scene = Scene::new();
            bend(&mut scene);
            let (bundle, host) = scene.stage();
            let of = bundle_manifest(&bundle).map(|manifest| manifest.name);
            if of.is_ok_and(|of| of.as_str() != host.name) {
                // Asked for by another name, which a bundle is not.
                continue;
            }
            let code = match NAMELESS.contains(name) {
                true => "AMT-FORMAT",
                false => code.as_str(),
            };
            let (got, event, noted) = install(&host, &bundle);
            let held = matches!(event, Event::Refused | Event::Held);
            count += 1;
            if !held || noted != code || got != noted {
                wrong.push(format!("{row}: {name}: {got}, noted {event:?} {noted}, wanted {code}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 100, "{count} attacks");
}
