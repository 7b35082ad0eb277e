//! The stranger's walk of docs/recipes/marketplace.md, word for word, and what a server does when a
//! plugin that it runs is revoked.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use aimass_e2e::{prepared, repository};
use aimass_testkit::{OciRegistry, Server};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// How long after its publication a revocation may take to end the last call.
const REVOCATION_MAX: Duration = Duration::from_secs(60);

/// The fenced script of the recipe.
fn script() -> String {
    let text = std::fs::read_to_string(repository().join("docs/recipes/marketplace.md"));
    let text = text.expect("the recipe");
    let (_, rest) = text.split_once("```sh\n").expect("a script");
    rest.split_once("\n```").expect("its end").0.to_owned()
}

struct Walk {
    folder: tempfile::TempDir,
}

impl Walk {
    fn new() -> Walk {
        let folder = tempfile::tempdir().expect("a folder");
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).expect("a folder");
        let aimass = prepared("AIMASS_BIN");
        std::os::unix::fs::symlink(aimass, bin.join("aimass")).expect("a link");
        Walk { folder }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn shell(&self, script: &str) -> Output {
        let path = std::env::var("PATH").unwrap_or_default();
        Command::new("bash")
            .args(["-c", script])
            .current_dir(self.path())
            .env("PATH", format!("{}:{path}", self.path().join("bin").display()))
            // The compiled SDK of other runs may be used again.
            .env("BUILD", repository().join("target/author"))
            .env("AIMASS_PASSPHRASE", "a few random words")
            .env_remove("AIMASS_DATA")
            .output()
            .expect("bash runs")
    }

    /// Runs a part of the script in one shell; returns what it printed.
    fn succeed(&self, script: &str) -> String {
        let output = self.shell(script);
        let (out, error) = texts(&output);
        assert!(output.status.success(), "{script}\n{out}\n{error}");
        out
    }

    /// A command that must be refused with this exit code and text.
    fn refuse(&self, command: &str, exit: i32, wanted: &str) {
        let output = self.shell(command);
        let (out, error) = texts(&output);
        assert_eq!(output.status.code(), Some(exit), "{command}\n{out}\n{error}");
        assert!(error.contains(wanted), "{command}: {error}");
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_strangers_walk_ends_with_a_revoked_plugin_that_is_refused() {
    let walk = Walk::new();
    let printed = walk.succeed(&script());
    for wanted in ["accepted", "cosigned by", "installed", "***", "AMT-REVOKED", "none changed"] {
        assert!(printed.contains(wanted), "{wanted}:\n{printed}");
    }
    let secret = std::fs::read_to_string(walk.path().join("publisher/keys/acme.key"));
    assert!(secret.expect("a key").contains("argon2id"), "keys are sealed");
}

/// The script up to where the plugin is called; the operator reads the marketplace's files from the
/// folder, so that no server is needed.
fn until_the_call(walk: &Walk) {
    let (before, after) = without_a_server();
    walk.succeed(&format!("{before}address=market/public\n{after}"));
}

/// The script up to the call, before and after an operator begins to trust the marketplace at `$address`.
fn without_a_server() -> (String, String) {
    let script = script();
    let (before, _) = script.split_once("# 7.").expect("step 7");
    let (ceremony, rest) = before.split_once("# 2.").expect("step 2");
    let (_, rest) = rest.split_once("# 3.").expect("step 3");
    let (market, operator) = rest.split_once("# 5.").expect("step 5");
    let market = market.replace("--to \"$address\"", "--to market");
    (format!("{ceremony}#{market}"), format!("#{operator}"))
}

#[test]
fn a_marketplace_in_a_registry_is_installed_from_and_its_revocations_are_followed() {
    let Some(registry) = OciRegistry::start(true).expect("a registry") else { return };
    let walk = Walk::new();
    let (before, after) = without_a_server();
    // What `docker login` keeps of a user `me` with the password `secret`.
    let login = format!(
        "export DOCKER_AUTH_CONFIG='{{\"auths\":{{\"{}\":{{\"auth\":\"bWU6c2VjcmV0\"}}}}}}'\n\
         address=oci://{}/example/market\n",
        registry.address(),
        registry.address()
    );
    let printed = walk.succeed(&format!("{before}{login}market push $address\n{after}"));
    assert!(
        printed.contains("pushed") && printed.contains("acme/hello@0.1.0  now there"),
        "{printed}"
    );
    assert!(printed.contains("***"), "{printed}");
    // From here on the marketplace pushes whatever it changes.
    let location = format!("oci://{}/example/market", registry.address());
    keep_pushing_to(&walk, &location);
    let unknown = "env -u DOCKER_AUTH_CONFIG HOME=/nowhere aimass --data operator plugin install acme/hello@0.1.0";
    walk.refuse(unknown, 1, "docker login");
    let revoked = walk.succeed(&format!(
        "{login}aimass --data marketplace market revoke --dir market --versions acme/hello --reason bad \
         --sign-with root-1.key --sign-with root-2.key --publish --json"
    ));
    assert!(revoked.contains(r#""changed":true"#), "{revoked}");
    let install = format!("{login}aimass --data operator plugin install acme/hello@0.1.0");
    walk.refuse(&install, 31, "AMT-REVOKED");

    // So does a server that keeps the timestamp fresh: nothing is left to push.
    let version =
        "sed -n 's/.*\"version\":\\([0-9]*\\).*/\\1/p' market/public/metadata/timestamp.json";
    let left = walk.succeed(&format!(
        "{login}before=$({version})\n\
         aimass --data marketplace market serve --dir market --listen 127.0.0.1:0 --refresh 6h >s.log 2>&1 &\n\
         server=$!; trap 'kill $server' EXIT\n\
         for i in $(seq 600); do test \"$({version})\" != \"$before\" && break; sleep 0.1; done\n\
         test \"$({version})\" != \"$before\"\n\
         for i in $(seq 600); do \
           left=$(aimass --data marketplace market push --dir market --json) && break; sleep 0.1; done\n\
         echo \"$left\""
    ));
    assert!(left.contains(r#""changed":false"#), "{left}");

    // A registry that is not there fails the command after it was done here, and says what to do.
    keep_pushing_to(&walk, "oci://127.0.0.1:9/example/market");
    let refresh = format!("{login}aimass --data marketplace market refresh --dir market");
    walk.refuse(&refresh, 1, "try `aimass market push` again");
}

/// Writes the registry into the marketplace's market.toml.
fn keep_pushing_to(walk: &Walk, location: &str) {
    let path = walk.path().join("market/market.toml");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    let kept = text.lines().filter(|line| !line.starts_with("push"));
    let kept: Vec<&str> = kept.collect();
    std::fs::write(path, format!("{}\npush = [\"{location}\"]\n", kept.join("\n")))
        .expect("written");
}

#[test]
fn a_registry_behind_an_authority_of_ones_own_is_spoken_to_over_tls() {
    let walk = Walk::new();
    let mut authority = CertificateParams::new(Vec::new()).expect("an authority");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = || KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(authority, key()).expect("an authority");
    let (own, names) = (key(), vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
    let certificate = CertificateParams::new(names).and_then(|it| it.signed_by(&own, &authority));
    let place = |name: &str, text: String| {
        let path = walk.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    place("authority.pem", authority.pem());
    let certificate = place("server.pem", certificate.expect("a certificate").pem());
    let started = OciRegistry::start_tls(&certificate, &place("server.key", own.serialize_pem()));
    let Some(registry) = started.expect("a registry") else { return };
    let script = script();
    let (ceremony, _) = script.split_once("# 2.").expect("step 2");
    walk.succeed(ceremony);
    let location = format!("oci+https://{}/example/market", registry.address());
    let push = format!("aimass --data marketplace market push --dir market {location}");
    let trusting = format!("export SSL_CERT_FILE=authority.pem; {push}");
    let printed = walk.succeed(&trusting);
    assert!(printed.contains("pushed"), "{printed}");
    let known =
        format!("SSL_CERT_FILE=authority.pem aimass --data operator trust add shop {location}");
    assert!(walk.succeed(&known).contains("fingerprint"));
    // Public authorities do not know it, nor does it come without any, or in plain HTTP.
    walk.refuse(&push, 1, "certificate");
    walk.refuse(&format!("SSL_CERT_FILE=server.key {push}"), 1, "SSL_CERT_FILE");
    walk.refuse(&format!("SSL_CERT_FILE=/nowhere.pem {push}"), 1, "SSL_CERT_FILE");
    walk.refuse(&trusting.replace("oci+https", "oci"), 1, "");
}

#[test]
fn a_running_server_ends_a_revoked_plugin_within_a_minute() {
    let walk = Walk::new();
    until_the_call(&walk);
    let log = walk.path().join("server.log");
    let data = walk.path().join("operator");
    let server = Server::start(&prepared("AIMASS_BIN"), &data, &[], &log).expect("a server");
    let body = r#"{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["secret"]}]}"#;
    let ask = || server.ask("POST", "/v2/models/greeter/infer", body).expect("an answer");
    assert_eq!(ask().status, 200);
    let shown = server.ask("GET", "/v2", "").expect("an answer").text();
    assert!(shown.contains(r#""trust":"fresh""#), "{shown}");
    walk.succeed(
        "aimass --data marketplace market revoke --dir market --versions acme/hello --reason bad \
         --sign-with root-1.key --sign-with root-2.key --publish",
    );
    let published = Instant::now();
    let refused = loop {
        let answer = ask();
        if answer.status != 200 {
            break answer;
        }
        assert!(published.elapsed() < REVOCATION_MAX, "still served");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("AMT-REVOKED"), "{}", refused.text());
    let metrics = server.ask("GET", "/metrics", "").expect("an answer").text();
    assert!(metrics.contains("aimass_trust_stopped_plugins 1"), "{metrics}");
    assert!(metrics.contains(r#"aimass_trust_refusals_total{code="AMT-REVOKED"}"#), "{metrics}");
    let audit = walk.succeed("aimass --data operator trust audit");
    assert!(audit.contains("stopped") && audit.contains("compiled files removed"), "{audit}");
    let shown = walk.succeed("aimass market show --dir market");
    let revoked = shown.lines().find(|line| line.starts_with("revoked")).expect("a line");
    assert!(revoked.contains("every version of acme/hello  20"), "{revoked}");
    assert!(revoked.ends_with(": bad"), "{revoked}");
}

#[test]
fn what_would_change_nothing_is_refused_with_what_is_there() {
    let walk = Walk::new();
    let script = script();
    let (ceremony, _) = script.split_once("# 2.").expect("step 2");
    walk.succeed(ceremony);
    let market = |rest: &str| format!("aimass --data marketplace market {rest} --dir market");
    for (rest, exit, wanted) in [
        ("rotate --role root --remove reviewer.key", 1, "--remove: expected a key of the role"),
        ("rotate --role root --add root-1.key", 1, "--add: expected a key that the role does not"),
        ("rotate --role root", 1, "--role: expected a change"),
        ("rotate --role root --threshold 4", 1, "--threshold: expected 1 to 3"),
        ("rotate --add reviewer.key", 2, "--role"),
        ("delegate acme --key reviewer.key", 1, "which is a reviewer's"),
    ] {
        walk.refuse(&market(rest), exit, wanted);
    }
    // Both the keys of before and those from now on sign a root.
    let rotate = "rotate --role root --add reviewer.key --remove root-1.key";
    let sign = "--sign-with root-1.key --sign-with root-2.key";
    let drafted = walk.succeed(&market(&format!("{rotate} {sign}")));
    assert!(drafted.contains("1 of 2 signatures\n"), "{drafted}");
    let again = walk.succeed(&market("rotate --role root --threshold 3"));
    assert!(again.contains("2 signatures of the draft of root"), "{again}");
    walk.succeed("aimass --data marketplace key new signing other.key");
    let sign = "aimass --data marketplace market sign";
    let other = format!("{sign} market/drafts/root.json --key other.key");
    walk.refuse(&other, 1, "whose signature would count nothing");
    let copied = walk.succeed(&format!(
        "cp market/drafts/root.json copy.json; {sign} copy.json --key root-2.key"
    ));
    assert!(copied.contains("signed ") && copied.contains("not checked"), "{copied}");
}

#[test]
fn a_marketplace_that_is_followed_already_is_not_changed_in_silence() {
    let walk = Walk::new();
    let script = script();
    let (ceremony, _) = script.split_once("# 2.").expect("step 2");
    walk.succeed(ceremony);
    let add = "seen=$(aimass --data marketplace market show --dir market | sed -n 's/^fingerprint *//p')\n\
               aimass --data operator trust add shop market --fingerprint $seen --allow 'acme/*'";
    assert!(walk.succeed(add).contains("may import"), "it may import nothing, and is told so");
    let again = walk.succeed(add);
    assert!(again.contains("nothing was changed"), "{again}");
    walk.refuse(
        &format!("{add} --capability tensor"),
        1,
        "followed already, and nothing was changed",
    );
    let audit = walk.succeed("aimass --data operator trust audit");
    assert_eq!(audit.matches(" trusted ").count(), 1, "{audit}");
}

/// Answers every request by `answer`, which may take as long as it likes.
fn mirror(answer: impl Fn(&str, &mut dyn Write) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), answer) = (stream, answer.clone()) else { return };
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or("/").to_owned();
                answer(&path, &mut stream);
            });
        }
    });
    address
}

fn respond(to: &mut dyn Write, file: &PathBuf) {
    match std::fs::read(file) {
        Ok(bytes) => {
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                bytes.len()
            );
            let _ = to.write_all(head.as_bytes()).and_then(|()| to.write_all(&bytes));
        }
        Err(_) => {
            let _ = to.write_all(
                b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            );
        }
    }
}

/// Points the operator's trust at another location.
fn move_to(walk: &Walk, location: &str) {
    let policy = walk.path().join("operator/trust.toml");
    let text = std::fs::read_to_string(&policy).expect("a policy");
    let line = text.lines().find(|line| line.starts_with("locations")).expect("locations");
    let new = text.replace(line, &format!("locations = [\"{location}\"]"));
    std::fs::write(policy, new).expect("a policy");
}

#[test]
fn mirrors_that_lie_or_never_end_are_refused_and_wrong_clocks_too() {
    let walk = Walk::new();
    until_the_call(&walk);
    let install = "aimass --data operator plugin install acme/hello@0.1.0";
    walk.succeed(install);
    let public = walk.path().join("market/public");

    // The component with one byte changed.
    let folder = public.clone();
    let lying = mirror(move |path, to| {
        let file = folder.join(path.trim_start_matches('/'));
        if !path.ends_with(".wasm") {
            return respond(to, &file);
        }
        let mut bytes = std::fs::read(&file).expect("a component");
        *bytes.last_mut().expect("a byte") ^= 1;
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            bytes.len()
        );
        let _ = to.write_all(head.as_bytes()).and_then(|()| to.write_all(&bytes));
    });
    move_to(&walk, &lying);
    walk.refuse(install, 24, "AMT-DIGEST");

    // A timestamp that never ends.
    let endless = mirror(|_, to| {
        let _ = to.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        while to.write_all(&[b' '; 65_536]).is_ok() {}
    });
    move_to(&walk, &endless);
    walk.refuse(install, 20, "AMT-SIZE");

    // A clock that is ahead finds the metadata expired.
    move_to(&walk, &public.display().to_string());
    walk.succeed(
        "aimass --data marketplace market bundle acme/hello@0.1.0 --dir market --out x.ampkg",
    );
    let year = "aimass --data operator plugin verify --offline x.ampkg --at";
    walk.refuse(&format!("{year} 2099-01-01T00:00:00Z"), 22, "AMT-EXPIRED");
    // A clock that is behind changes nothing: the newest time that was verified counts.
    walk.succeed(&format!("{year} 2020-01-01T00:00:00Z"));
    walk.succeed("aimass --data operator plugin verify --offline x.ampkg");

    // A time that was proved, 15 minutes ahead of this machine: it counts, and people are told.
    let shown = walk.succeed("aimass --data operator trust show");
    assert!(!shown.contains("clock"), "{shown}");
    walk.succeed(
        "at=$(date -u -d '+15 minutes' +%FT%TZ); state=operator/markets/shop/state.json\n\
         sed -i \"s/\\\"floor\\\":\\\"[^\\\"]*\\\"/\\\"floor\\\":\\\"$at\\\"/\" $state; grep -q \"$at\" $state",
    );
    let shown = walk.succeed("aimass --data operator trust show");
    assert!(shown.contains("behind what was proved"), "{shown}");
    let shown = walk.succeed("aimass --data operator trust show --json");
    assert!(shown.contains(r#""clock_is_behind":true"#), "{shown}");
}
