//! Mirrors over HTTP: one that serves, and those that lie, withhold, trickle or never end.

mod bazaar;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aimass_market::host::Standing;
use aimass_market::mirror::FetchLimits;
use aimass_trust::PackageName;
use bazaar::{Bazaar, NOW, at, install, name, plugin};

/// What a mirror does with a request for `path`.
type Answer = dyn Fn(&str, &mut TcpStream) + Send + Sync;

fn serve(answer: Arc<Answer>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answer, mut stream) = (answer.clone(), stream);
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                answer(text.split(' ').nth(1).unwrap_or("/"), &mut stream);
            });
        }
    });
    address
}

fn head(to: &mut TcpStream, status: &str, length: Option<usize>) {
    let length = length.map_or(String::new(), |length| format!("content-length: {length}\r\n"));
    let _ =
        to.write_all(format!("HTTP/1.1 {status}\r\n{length}connection: close\r\n\r\n").as_bytes());
}

fn honest(folder: &Path, path: &str, to: &mut TcpStream) {
    match std::fs::read(folder.join(path.trim_start_matches('/'))) {
        Ok(bytes) => {
            head(to, "200 OK", Some(bytes.len()));
            let _ = to.write_all(&bytes);
        }
        Err(_) => head(to, "404 Not Found", Some(0)),
    }
}

fn limits() -> FetchLimits {
    FetchLimits {
        connect: Duration::from_secs(5),
        file: Duration::from_millis(700),
        bytes_per_second_min: 1 << 20,
        files_max: 64,
    }
}

/// The code, or the text, with which a mirror is refused.
fn refused(bazaar: &Bazaar, answer: Arc<Answer>) -> String {
    let (dir, host) = bazaar.host(limits());
    let policy = bazaar.policy(&[&serve(answer)], "");
    let error = install(&host, &policy, &Standing::default(), NOW).expect_err("refused");
    let lines = host.audit().verify().expect("whole");
    let last = lines.last().expect("a line");
    assert_eq!(last.code.as_deref(), Some(error.code()).filter(|code| *code != "market"));
    std::fs::remove_dir_all(dir).expect("removed");
    if error.code() == "market" { error.to_string() } else { error.code().to_owned() }
}

#[test]
fn a_mirror_over_http_serves_and_the_next_one_stands_in_for_it() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let (_, host) = bazaar.host(limits());
    let folder = bazaar.desk.public_dir();
    let good = serve(Arc::new(move |path, to| honest(&folder, path, to)));
    let dead = serve(Arc::new(|_, to| head(to, "503 Service Unavailable", Some(0))));
    let policy = bazaar.policy(&[&dead, &good], "");
    install(&host, &policy, &Standing::default(), NOW).expect("ok").expect("new");
    let events = host.audit().verify().expect("whole");
    assert!(events.iter().any(|line| line.detail.contains("503")), "{events:?}");
}

#[test]
fn mirrors_that_lie_are_refused_by_code() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let lie = |ending: &'static str, change: fn(Vec<u8>) -> Option<Vec<u8>>| -> Arc<Answer> {
        let folder = bazaar.desk.public_dir();
        Arc::new(move |path, to| {
            if !path.ends_with(ending) {
                return honest(&folder, path, to);
            }
            let bytes =
                std::fs::read(folder.join(path.trim_start_matches('/'))).unwrap_or_default();
            match change(bytes) {
                Some(bytes) => {
                    head(to, "200 OK", Some(bytes.len()));
                    let _ = to.write_all(&bytes);
                }
                None => head(to, "404 Not Found", Some(0)),
            }
        })
    };
    let flip = |mut bytes: Vec<u8>| {
        *bytes.last_mut()? ^= 1;
        Some(bytes)
    };
    let edited =
        |bytes: Vec<u8>| Some(String::from_utf8(bytes).ok()?.replace("acme", "evil").into());
    let gone = |_: Vec<u8>| None;
    for (ending, change, code) in [
        (".wasm", flip as fn(Vec<u8>) -> Option<Vec<u8>>, "AMT-DIGEST"),
        (".dsse.json", flip, "AMT-FORMAT"),
        (".tlog-proof", gone, "AMT-MIX"),
        ("2.targets.json", edited, "AMT-MIX"),
        (".snapshot.json", gone, "AMT-MIX"),
        ("timestamp.json", gone, "AMT-MIX"),
        ("revocations.json", flip, "AMT-DIGEST"),
        ("revocations.json", gone, "AMT-DIGEST"),
    ] {
        let got = refused(&bazaar, lie(ending, change));
        assert!(
            got == code || (ending == "revocations.json" && got == "AMT-FORMAT"),
            "{ending}: {got}"
        );
    }
}

#[test]
fn a_log_that_is_withheld_or_rewritten_is_noticed_by_whoever_saw_it() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let (_, host) = bazaar.host(limits());
    let policy = bazaar.policy(&[&bazaar.location()], "");
    install(&host, &policy, &Standing::default(), NOW).expect("ok").expect("new");
    let market = &policy.subscriptions()[0];
    let checkpoint = bazaar.desk.public_dir().join("log/checkpoint");
    let kept = std::fs::read(&checkpoint).expect("a checkpoint");
    std::fs::remove_file(&checkpoint).expect("removed");
    assert_eq!(host.refresh(market, None, at(NOW + 1)).expect_err("withheld").code(), "AMT-LOG");
    std::fs::write(&checkpoint, kept).expect("restored");
    bazaar.release(&plugin(&bazaar, "1.1.0", 2), NOW + 2);
    let tile = bazaar.desk.public_dir().join("log/tile/0/000.p/2");
    let mut bytes = std::fs::read(&tile).expect("a tile");
    bytes[32] ^= 1;
    std::fs::write(&tile, bytes).expect("rewritten");
    let error = host.refresh(market, Some(&name()), at(NOW + 3)).expect_err("rewritten");
    assert_eq!(error.code(), "AMT-EQUIVOCATION");
}

#[test]
fn how_a_mirror_fails_is_recorded_once_until_it_changes() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let (_, host) = bazaar.host(limits());
    let mirror = bazaar.folder.path().join("mirror");
    let policy = bazaar.policy(&[&mirror.display().to_string()], "");
    let market = &policy.subscriptions()[0];
    // The codes of the lines that a look at the marketplace leaves.
    let look = |wanted: Option<&PackageName>| {
        let before = host.audit().verify().expect("whole").len();
        drop(host.refresh(market, wanted, at(NOW + 1)));
        let lines = host.audit().verify().expect("whole").split_off(before);
        lines.into_iter().map(|line| line.code.unwrap_or_default()).collect::<Vec<_>>()
    };
    let checkpoint = bazaar.desk.public_dir().join("log/checkpoint");
    let kept = std::fs::read(&checkpoint).expect("a checkpoint");
    let nothing: [String; 0] = [];
    assert_eq!(look(None), ["AMT-MIX"], "away");
    assert_eq!(look(None), nothing, "away still");
    assert_eq!(look(Some(&name())), ["AMT-MIX"], "of what somebody waits for");
    std::os::unix::fs::symlink(bazaar.desk.public_dir(), &mirror).expect("there again");
    assert_eq!(look(None), [""], "refreshed");
    for _ in 0..2 {
        std::fs::remove_file(&checkpoint).expect("removed");
        assert_eq!(look(None), ["AMT-LOG"], "withheld");
        assert_eq!(look(None), nothing, "withheld still");
        std::fs::write(&checkpoint, &kept).expect("restored");
        assert_eq!(look(None), nothing, "as it was");
    }
    std::fs::remove_file(&checkpoint).expect("removed");
    assert_eq!(look(None), ["AMT-LOG"], "withheld");
    std::fs::remove_file(&mirror).expect("away");
    assert_eq!(look(None), ["AMT-MIX"], "fails otherwise");
}

#[test]
fn mirrors_that_trickle_or_never_end_are_cut() {
    let bazaar = Bazaar::open();
    bazaar.release(&plugin(&bazaar, "1.0.0", 1), NOW);
    let endless: Arc<Answer> = Arc::new(|_, to| {
        head(to, "200 OK", None);
        while to.write_all(&[b' '; 65_536]).is_ok() {}
    });
    assert_eq!(refused(&bazaar, endless), "AMT-SIZE");
    let trickle: Arc<Answer> = Arc::new(|_, to| {
        head(to, "200 OK", Some(1 << 20));
        while to.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(refused(&bazaar, trickle).contains("timeout"));
    let silent: Arc<Answer> = Arc::new(|_, to| {
        let _ = to.read(&mut [0; 1]);
    });
    assert!(refused(&bazaar, silent).contains("timeout"));
    let folder = bazaar.desk.public_dir();
    let long: Arc<Answer> = Arc::new(move |path, to| match path.ends_with(".wasm") {
        true => {
            head(to, "200 OK", None);
            while to.write_all(&[0; 65_536]).is_ok() {}
        }
        false => honest(&folder, path, to),
    });
    assert_eq!(refused(&bazaar, long), "AMT-SIZE");
}
