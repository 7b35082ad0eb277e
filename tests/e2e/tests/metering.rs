//! What was answered is billed, once, whatever happens to the process.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aimass_e2e::Site;
use aimass_testkit::Server;
use serde_json::Value;

const BODY: &str =
    r#"{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[3],"data":[1,2,3]}]}"#;
const INFER: &str = "/v2/models/identity/infer";
/// Lives of the server that end with SIGKILL.
const LIVES: usize = 8;
const CLIENTS: usize = 4;

/// A server's configuration that exports usage to a file, and the file.
fn exporting(site: &Site) -> (String, PathBuf) {
    let (config, events) = (site.folder().join("aimass.toml"), site.folder().join("usage.jsonl"));
    let text = format!(
        "[gateway.telemetry.usage]\nexport_file = {:?}\nsegment_bytes_max = 8192\n",
        events.display().to_string()
    );
    std::fs::write(&config, text).expect("a configuration");
    (config.display().to_string(), events)
}

fn events(path: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("exported events");
    text.lines().map(|line| serde_json::from_str(line).expect("an event")).collect()
}

fn infer(server: &Server, request: &str) -> Option<u16> {
    let key = format!("Bearer {}", server.api_key);
    let headers = [("authorization", &*key), ("x-request-id", request)];
    let answer = server.send("POST", INFER, &headers, BODY.as_bytes()).ok()?;
    // An answer that the kill cut off was not received.
    serde_json::from_slice::<Value>(&answer.body).ok().map(|_| answer.status)
}

/// Asks from several connections until the server is killed after `time`; adds the requests that were
/// answered and all that were sent.
fn live_and_die(
    server: Server,
    life: usize,
    time: Duration,
    answered: &Mutex<HashSet<String>>,
    sent: &AtomicUsize,
) {
    let over = AtomicBool::new(false);
    let server = &Mutex::new(Some(server));
    let shared = server.lock().expect("no thread panicked").take().expect("a server");
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (shared, over) = (&shared, &over);
            scope.spawn(move || {
                for call in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let request = format!("{life}-{client}-{call}");
                    sent.fetch_add(1, Ordering::Relaxed);
                    if infer(shared, &request) == Some(200) {
                        answered.lock().expect("no thread panicked").insert(request);
                    }
                }
            });
        }
        std::thread::sleep(time);
        let id = shared.id().expect("a process").to_string();
        let killed = std::process::Command::new("kill").args(["-KILL", &id]).status();
        assert!(killed.expect("kill").success());
        // Clients run into the closed port for a moment: those calls were not answered.
        std::thread::sleep(Duration::from_millis(20));
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn after_kill_9_under_load_every_answered_call_is_billed_and_none_twice() {
    let site = Site::new();
    let (config, file) = exporting(&site);
    let (answered, sent) = (Mutex::default(), AtomicUsize::new(0));
    for life in 0..LIVES {
        let server = site.serve(&["--config", &config]);
        // Spread over the start of load, segment changes and exports.
        let time = Duration::from_millis(40 + 97 * (life as u64 * 7 % LIVES as u64));
        live_and_die(server, life, time, &answered, &sent);
    }
    let server = site.serve(&["--config", &config]);
    assert_eq!(infer(&server, "last"), Some(200));
    assert_eq!(server.stop().expect("a signal"), Some(0));
    let mut answered = answered.into_inner().unwrap();
    answered.insert("last".to_owned());

    let events = events(&file);
    let ids: HashSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), events.len(), "an id twice");
    let mut billed: HashMap<&str, usize> = HashMap::new();
    for event in events.iter().filter(|event| event["data"]["outcome"] == "ok") {
        *billed.entry(event["data"]["request_id"].as_str().unwrap()).or_default() += 1;
    }
    assert!(billed.values().all(|count| *count == 1), "a call twice");
    let missing: Vec<&String> = answered.iter().filter(|id| !billed.contains_key(&***id)).collect();
    assert!(missing.is_empty(), "answered and not billed: {missing:?}");
    // Calls whose answer was on its way when the server was killed.
    let unanswered = billed.len() - answered.len();
    assert!(unanswered <= LIVES * CLIENTS, "{unanswered} billed calls were not answered");
    println!(
        "{} sent, {} answered, {} billed, {LIVES} kills",
        sent.into_inner(),
        answered.len(),
        billed.len()
    );
    let rows = site.succeed(&["usage", "--tenant", "default", "--model", "identity", "--json"]);
    let sum: u64 = rows
        .lines()
        .map(|row| serde_json::from_str::<Value>(row).unwrap()["answered"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, billed.len() as u64, "{rows}");
}

#[test]
fn a_record_says_who_used_what() {
    let site = Site::new();
    let (config, file) = exporting(&site);
    let server = site.serve(&["--config", &config]);
    assert_eq!(infer(&server, "plain"), Some(200));
    let texts = r#"{"model":"minilm","input":["a cat","a dog"]}"#;
    assert_eq!(server.ask("POST", "/v1/embeddings", texts).unwrap().status, 200);
    let wrong = BODY.replace("[3]", "[4]").replace("INPUT0", "NONE");
    assert_eq!(server.ask("POST", INFER, &wrong).unwrap().status, 400);
    assert_eq!(server.ask("POST", "/v2/models/missing/infer", BODY).unwrap().status, 404);
    server.stop().expect("a signal");
    let events = events(&file);
    assert_eq!(events.len(), 2, "what is refused before a model runs, or names none, is no call");
    let (first, second) = (&events[0]["data"], &events[1]["data"]);
    assert_eq!(
        (&events[0]["type"], &events[0]["subject"]),
        (&"ai.aimass.usage.v1".into(), &"default".into())
    );
    for (field, expected) in [
        ("request_id", "plain"),
        ("tenant", "default"),
        ("model", "identity"),
        ("version", "1"),
        ("kind", "infer"),
        ("outcome", "ok"),
    ] {
        assert_eq!(first[field], expected, "{field}");
    }
    assert_eq!((&first["bytes_in"], &first["bytes_out"]), (&12.into(), &12.into()));
    assert!(first["plugins"][0].as_str().unwrap().starts_with("aimass/identity@"), "{first}");
    assert!(first["plugin_cpu_ns"].as_u64().unwrap() > 0 && first["kernel_ns"] == 0, "{first}");
    assert!(second["tokens"].as_u64().unwrap() > 4, "{second}");
    let time = |field: &str| second[field].as_u64().unwrap();
    assert!(time("kernel_ns") > 0 && time("plugin_cpu_ns") > 0, "{second}");
    assert!(time("kernel_ns") + time("plugin_cpu_ns") <= time("wall_ns"), "{second}");
    let shown = site.succeed(&["usage"]);
    assert!(shown.contains("minilm") && shown.contains("identity"), "{shown}");
    let (_, error) = site.refuse(&["usage", "--since", "yesterday"]);
    assert!(error.contains("2026-01-31"), "{error}");
}

#[test]
fn two_servers_on_one_folder_have_journals_of_their_own() {
    let site = Site::new();
    let (first, second) = (site.serve(&[]), site.serve(&["--threads", "1"]));
    assert_eq!(infer(&first, "one"), Some(200));
    assert_eq!(infer(&second, "two"), Some(200));
    let rows = site.succeed(&["usage", "--json"]);
    assert!(rows.lines().count() == 1 && rows.contains("\"answered\":2"), "{rows}");
}
