//! Tokens that are believed, and every reason why one is not.

use super::testing::{AUDIENCE, ISSUER, TestIssuer, claims, settings};
use super::*;
use crate::identity::roles::Verb;
use crate::identity::settings::Algorithm;
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const NOW: u64 = 2_000_000_000;

struct Setup {
    dir: tempfile::TempDir,
    issuer: TestIssuer,
    issuers: Issuers,
    start: Instant,
}

fn setup(change: impl FnOnce(&mut IssuerConfig)) -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    let issuer = TestIssuer::new("a");
    std::fs::write(&path, issuer.jwks()).unwrap();
    let mut settings = settings(path.to_str().unwrap());
    change(&mut settings);
    let config = IdentityConfig { issuer: vec![settings], ..IdentityConfig::default() };
    let start = Instant::now();
    let issuers = Issuers::open(&config, Arc::default(), start).unwrap();
    Setup { dir, issuer, issuers, start }
}

impl Setup {
    fn check_at(&self, token: &str, seconds: u64) -> Result<Principal, TokenFault> {
        self.issuers.check(token, self.start, UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn check(&self, claims: &Value) -> Result<Principal, TokenFault> {
        self.check_at(&self.issuer.sign(Algorithm::EdDsa, claims), NOW)
    }

    fn fault(&self, claims: &Value) -> TokenFault {
        self.check(claims).unwrap_err()
    }
}

/// The claims with one of them changed; `null` takes it out.
fn with(name: &str, value: Value) -> Value {
    let mut all = claims(NOW + 100);
    let map = all.as_object_mut().unwrap();
    match value {
        Value::Null => drop(map.remove(name)),
        value => drop(map.insert(name.to_owned(), value)),
    }
    all
}

#[test]
fn a_good_token_says_tenant_roles_and_models() {
    let setup = setup(|_| {});
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let token = setup.issuer.sign(algorithm, &claims(NOW + 100));
        let found = setup.check_at(&token, NOW).unwrap();
        assert_eq!(&*found.tenant.name, "acme");
        assert!(found.verbs.contains(Verb::Infer) && !found.verbs.contains(Verb::Operate));
        assert!(found.may_use("identity") && !found.may_use("other"));
    }
}

#[test]
fn every_claim_that_does_not_fit_has_its_own_reason() {
    let setup = setup(|_| {});
    for (name, value, fault) in [
        ("iss", json!("https://evil.example"), TokenFault::Issuer),
        ("iss", json!(["https://id.example"]), TokenFault::Issuer),
        ("iss", Value::Null, TokenFault::Issuer),
        ("aud", json!("other"), TokenFault::Audience),
        ("aud", json!(["other"]), TokenFault::Audience),
        ("aud", Value::Null, TokenFault::Audience),
        ("exp", json!(NOW - 60), TokenFault::Expired),
        ("exp", Value::Null, TokenFault::Expired),
        ("nbf", json!(NOW + 61), TokenFault::NotYet),
        ("tenant", Value::Null, TokenFault::Tenant),
        ("tenant", json!("Not A Name"), TokenFault::Tenant),
        ("tenant", json!(5), TokenFault::Tenant),
    ] {
        assert_eq!(setup.fault(&with(name, value.clone())), fault, "{name} = {value}");
    }
    assert!(setup.check(&with("exp", json!(NOW - 59))).is_ok(), "leeway");
    assert!(setup.check(&with("aud", json!(["x", AUDIENCE]))).is_ok());
}

#[test]
fn a_signature_holds_for_its_key_algorithm_and_bytes_only() {
    let setup = setup(|_| {});
    let good = claims(NOW + 100);
    let check = |token: &str| setup.check_at(token, NOW).map(|_| ());
    let evil = TestIssuer::new("a");
    assert_eq!(check(&evil.sign(Algorithm::EdDsa, &good)), Err(TokenFault::Signature));
    assert_eq!(check(&evil.sign(Algorithm::Es256, &good)), Err(TokenFault::Signature));
    let stranger = TestIssuer::new("b");
    assert_eq!(check(&stranger.sign(Algorithm::EdDsa, &good)), Err(TokenFault::UnknownKey));
    for (alg, fault) in [
        ("none", TokenFault::Algorithm),
        ("HS256", TokenFault::Algorithm),
        ("RS256", TokenFault::UnknownKey),
        ("ES256", TokenFault::UnknownKey),
    ] {
        let header = json!({"alg": alg, "kid": "a-ed"});
        let token = setup.issuer.sign_as(Algorithm::EdDsa, &header, &good);
        assert_eq!(check(&token), Err(fault), "{alg}");
    }
    let token = setup.issuer.sign(Algorithm::EdDsa, &good);
    let unsigned = &token[..=token.rfind('.').unwrap()];
    assert_eq!(check(unsigned), Err(TokenFault::Signature));
    let nameless = setup.issuer.sign_as(Algorithm::EdDsa, &json!({"alg": "EdDSA"}), &good);
    assert_eq!(check(&nameless), Ok(()), "only one key fits");
    assert_eq!(check(&format!("{token}A")), Err(TokenFault::Signature));
}

#[test]
fn what_the_configuration_does_not_allow_stays_out() {
    let good = claims(NOW + 100);
    let one = setup(|s| s.algorithms = vec![Algorithm::Rs256]);
    assert_eq!(one.fault(&good), TokenFault::Algorithm);
    let ceiling = setup(|s| s.roles = vec![Role::Viewer, Role::Invoker]);
    let found = ceiling.check(&with("roles", json!("viewer super-user operator"))).unwrap();
    assert_eq!(found.verbs.to_string(), "read");
    assert_eq!(ceiling.check(&with("roles", Value::Null)).unwrap().verbs.to_string(), "");
    let fixed = setup(|s| {
        (s.roles_claim, s.models_claim) = (None, None);
        (s.tenant, s.tenant_claim) = (Some("fixed".into()), None);
        s.roles = vec![Role::Operator];
    });
    let found = fixed.check(&good).unwrap();
    assert_eq!((&*found.tenant.name, found.may_use("any")), ("fixed", true));
    assert_eq!(found.verbs.to_string(), "read, infer, operate");
    let strict = setup(|_| {});
    assert!(!strict.check(&with("models", Value::Null)).unwrap().may_use("identity"));
}

#[test]
fn a_remembered_token_ends_in_its_second_and_with_its_key() {
    let setup = setup(|_| {});
    let token = setup.issuer.sign(Algorithm::EdDsa, &claims(NOW + 100));
    for seconds in [NOW, NOW + 1, NOW + 159] {
        assert!(setup.check_at(&token, seconds).is_ok());
    }
    assert_eq!(setup.check_at(&token, NOW + 160).unwrap_err(), TokenFault::Expired);
    let path = setup.dir.path().join("jwks.json");
    std::fs::write(&path, "no keys").unwrap();
    assert!(setup.issuers.issuers[0].refresh(setup.start).is_err());
    assert!(setup.check_at(&token, NOW).is_ok(), "keys of before are kept");
    let status = &setup.issuers.status(setup.start)[0];
    assert!(status.keys == 2 && status.failure.as_ref().unwrap().contains("JWK set"));
    let next = TestIssuer::new("b");
    std::fs::write(&path, next.jwks()).unwrap();
    setup.issuers.issuers[0].refresh(setup.start).unwrap();
    assert_eq!(setup.check_at(&token, NOW).unwrap_err(), TokenFault::UnknownKey);
    assert!(setup.check_at(&next.sign(Algorithm::Es256, &claims(NOW + 9)), NOW).is_ok());
    assert_eq!(setup.issuers.status(setup.start)[0].failure, None);
}

#[test]
fn unknown_keys_ask_for_a_new_set_once_a_minute() {
    let setup = setup(|_| {});
    let issuer = &setup.issuers.issuers[0];
    let ask = |seconds| issuer.ask_for_keys(setup.start + Duration::from_secs(seconds));
    assert!(ask(5));
    for seconds in 5..65 {
        assert!(!ask(seconds), "after {seconds} s");
    }
    assert!(ask(65) && !ask(66));
}

/// Answers every connection with the next of `answers`, then the last again; counts them.
fn web(answers: Vec<String>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let (count, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let shared = counted.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let index = count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1);
            let _ = stream.write_all(answers[index].as_bytes());
            shared.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, counted)
}

fn ok(body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 200 OK\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}")
}

#[test]
fn keys_of_a_url_come_in_the_background_and_outlive_its_absence() {
    let issuer = TestIssuer::new("a");
    let huge = ok(&" ".repeat(super::jwks::JWKS_BYTES_MAX + 1));
    let moved = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let gone = "HTTP/1.1 500 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (url, _) = web(vec![moved.into(), huge, ok(&issuer.jwks()), gone.into()]);
    let config = IdentityConfig { issuer: vec![settings(&url)], ..IdentityConfig::default() };
    let start = Instant::now();
    let issuers = Issuers::open(&config, Arc::default(), start).unwrap();
    let token = issuer.sign(Algorithm::EdDsa, &claims(NOW + 9));
    let check = || issuers.check(&token, start, UNIX_EPOCH + Duration::from_secs(NOW));
    for word in ["302", "large"] {
        assert_eq!(check().unwrap_err(), TokenFault::KeysUnavailable);
        let error = issuers.issuers[0].refresh(start).unwrap_err();
        assert!(error.contains(word) || error.contains("limit"), "{error}");
    }
    issuers.issuers[0].refresh(start).unwrap();
    assert!(check().is_ok());
    assert!(issuers.issuers[0].refresh(start).unwrap_err().contains("500"));
    assert!(check().is_ok());
    let status = &issuers.status(start + Duration::from_secs(7))[0];
    assert_eq!((status.keys, status.age_seconds), (2, Some(7)));
}

#[tokio::test]
async fn a_token_of_an_unknown_key_makes_a_url_be_read_again() {
    let (old, new) = (TestIssuer::new("old"), TestIssuer::new("new"));
    let (url, count) = web(vec![ok(&old.jwks()), ok(&new.jwks())]);
    let config = IdentityConfig { issuer: vec![settings(&url)], ..IdentityConfig::default() };
    let issuers = Arc::new(Issuers::open(&config, Arc::default(), Instant::now()).unwrap());
    let background = issuers.clone();
    let fresh = tokio::spawn(async move { background.keep_fresh().await });
    let token = new.sign(Algorithm::Es256, &claims(NOW + 9));
    let wall = UNIX_EPOCH + Duration::from_secs(NOW);
    while issuers.check(&token, Instant::now(), wall).is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(count.load(Ordering::SeqCst), 2);
    fresh.abort();
}

#[test]
fn a_file_without_keys_is_said_before_anything_is_served() {
    let config =
        IdentityConfig { issuer: vec![settings("/nonexistent/jwks")], ..IdentityConfig::default() };
    let error = Issuers::open(&config, Arc::default(), Instant::now()).err().unwrap().to_string();
    assert!(error.contains(ISSUER) && error.contains("/nonexistent/jwks"), "{error}");
}

#[test]
fn a_source_that_is_down_is_asked_rarely_and_believed_once_it_is_up() {
    let issuer = TestIssuer::new("a");
    let gone = "HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned();
    // An hour of failures, and then keys.
    let (url, count) = web([vec![gone; 20], vec![ok(&issuer.jwks())]].concat());
    let settings = IssuerConfig { jwks_seconds: 3600, ..settings(&url) };
    let opened = super::issuer::Issuer::open(settings, Instant::now()).unwrap();
    let mut backoff = super::issuer::backoff();
    let mut passed = Duration::ZERO;
    while passed < Duration::from_secs(3600) {
        assert!(opened.refresh(Instant::now()).is_err());
        passed += opened.wait_after(false, &mut backoff);
    }
    // 1, 2, 4 ... 256 s, and then every 300 s. An answer is counted just after it was sent.
    while count.load(Ordering::SeqCst) < 20 {
        std::thread::yield_now();
    }
    assert_eq!(count.load(Ordering::SeqCst), 20);
    assert!(opened.keys().set.is_none());
    opened.refresh(Instant::now()).unwrap();
    assert_eq!(opened.keys().set.as_ref().unwrap().len(), 2);
    let hour = Duration::from_secs(3600);
    assert_eq!(opened.wait_after(true, &mut backoff), hour);
    assert_eq!(opened.wait_after(false, &mut backoff), Duration::from_secs(1), "anew");
}
