//! Exports to files and over HTTP, with crashes and refusals between.

use super::record::sample;
use super::{Meter, UsageConfig, UsageEvent, UsageQuery, read_usage};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread::JoinHandle;

fn leave(dir: &Path, config: &UsageConfig, requests: &[&str]) {
    let meter = Meter::open(dir, config).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for request in requests {
        runtime.block_on(meter.reserve().unwrap().commit(sample(request))).unwrap();
    }
}

fn requests(events: &[UsageEvent]) -> Vec<&str> {
    events.iter().map(|event| event.data.request_id.as_str()).collect()
}

#[test]
fn a_file_gets_each_event_once_whatever_the_cursor_says() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (folder.path().join("usage"), folder.path().join("out.jsonl"));
    let config = UsageConfig { export_file: Some(file.clone()), ..UsageConfig::default() };
    leave(&dir, &config, &["a", "b"]);
    let cursor = fs::read(dir.join("0/cursor-file.json")).unwrap();
    leave(&dir, &config, &["c"]);
    // A crash between the line and the cursor; and one within the next line.
    fs::write(dir.join("0/cursor-file.json"), cursor).unwrap();
    let mut text = fs::read_to_string(&file).unwrap();
    text.push_str("{\"specversion\":\"1.");
    fs::write(&file, text).unwrap();
    leave(&dir, &config, &["d"]);
    let text = fs::read_to_string(&file).unwrap();
    let events: Vec<UsageEvent> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(requests(&events), ["a", "b", "c", "d"]);
    let mut ids: Vec<&str> = events.iter().map(|event| event.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

/// Head and body of a request.
type Received = (String, Vec<u8>);

/// Answers each request with the next of `answers`; returns their heads and bodies.
fn receiver(answers: &'static [&'static str]) -> (String, JoinHandle<Vec<Received>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/usage", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        answers
            .iter()
            .map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let request = whole_request(&mut stream);
                let head =
                    format!("HTTP/1.1 {answer}content-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).unwrap();
                request
            })
            .collect()
    });
    (url, thread)
}

fn whole_request(stream: &mut impl Read) -> Received {
    let (mut bytes, mut block) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut block).unwrap();
        bytes.extend_from_slice(&block[..read]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().parse().unwrap();
        if bytes.len() >= end + 4 + length {
            return (head, bytes[end + 4..].to_vec());
        }
    }
}

#[test]
fn a_batch_that_was_refused_comes_again_with_the_same_ids() {
    let folder = tempfile::tempdir().unwrap();
    let (url, received) = receiver(&[
        "503 Busy\r\nretry-after: 0\r\n",
        "500 Broken\r\nretry-after: 0\r\n",
        "204 Good\r\n",
    ]);
    let secret = folder.path().join("authorization");
    fs::write(&secret, "Bearer secret\n").unwrap();
    let config = UsageConfig {
        export_url: Some(url),
        export_authorization_file: Some(secret),
        ..UsageConfig::default()
    };
    let dir = folder.path().join("usage");
    // The first life ends with the first refusal, if that comes before the second try.
    leave(&dir, &config, &["a"]);
    if !received.is_finished() {
        let meter = Meter::open(&dir, &config).unwrap();
        while meter.stats().export_lag > 0 {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
    let received = received.join().unwrap();
    let events: Vec<Vec<UsageEvent>> =
        received.iter().map(|(_, body)| serde_json::from_slice(body).unwrap()).collect();
    assert!(events.iter().all(|batch| batch == &events[0]), "{events:?}");
    assert_eq!(requests(&events[0]), ["a"]);
    for (head, _) in &received {
        assert!(head.contains("content-type: application/cloudevents-batch+json"), "{head}");
        assert!(head.contains("authorization: bearer secret"), "{head}");
    }
}

#[test]
fn wrong_settings_are_refused_with_their_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |config: UsageConfig| match Meter::open(&folder.path().join("usage"), &config) {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    };
    for url in ["ftp://h/", "http://user:secret@h/", "h"] {
        let config = UsageConfig { export_url: Some(url.to_owned()), ..UsageConfig::default() };
        let text = refused(config);
        assert!(text.contains("export_authorization_file") && !text.contains("secret"), "{text}");
    }
    let export_file = Some(folder.path().join("no/such/folder"));
    let text = refused(UsageConfig { export_file, ..UsageConfig::default() });
    assert!(text.contains("export_file"), "{text}");
}

#[test]
fn servers_beside_each_other_have_journals_of_their_own_and_their_sums_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, file) = (folder.path().join("usage"), folder.path().join("out.jsonl"));
    let plain = UsageConfig::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let meters: Vec<Meter> = (0..16).map(|_| Meter::open(&dir, &plain).unwrap()).collect();
    for meter in &meters[..3] {
        runtime.block_on(meter.reserve().unwrap().commit(sample("r"))).unwrap();
    }
    let Err(error) = Meter::open(&dir, &plain) else { panic!("a 17th opened") };
    assert!(error.to_string().contains("--data"), "{error}");
    drop(meters);
    let rows = read_usage(&dir, &UsageQuery::default()).unwrap();
    assert_eq!((rows.len(), rows[0].totals.answered), (1, 3));
    // The next server exports what all of them left.
    let config = UsageConfig { export_file: Some(file.clone()), ..plain };
    let meter = Meter::open(&dir, &config).unwrap();
    let lines = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap_or_default();
    while ["out.jsonl", "out.jsonl.1", "out.jsonl.2"].iter().any(|name| lines(name).is_empty()) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    drop(meter);
    assert_eq!(lines("out.jsonl.2").lines().count(), 1);
}
