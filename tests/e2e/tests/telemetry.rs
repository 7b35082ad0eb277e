//! What operators see: metrics, traces, logs, readiness, the terminal, and jobs.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use aimass_e2e::{Site, infer_text, prepared, repository};
use aimass_testkit::Server;
use serde_json::Value;

const BODY: &str =
    r#"{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[3],"data":[1,2,3]}]}"#;
const INFER: &str = "/v2/models/identity/infer";

fn client(script: &str) -> Command {
    let mut command = Command::new(prepared("AIMASS_PYTHON"));
    command.arg(repository().join("tests/e2e/clients").join(script));
    command
}

/// A configuration file with this text.
fn config(site: &Site, text: &str) -> String {
    let path = site.folder().join("aimass.toml");
    std::fs::write(&path, text).expect("a configuration");
    path.display().to_string()
}

fn infer(server: &Server, headers: &[(&str, &str)]) -> aimass_testkit::Answer {
    let key = format!("Bearer {}", server.api_key);
    let headers = [&[("authorization", &*key)], headers].concat();
    server.send("POST", INFER, &headers, BODY.as_bytes()).expect("an answer")
}

#[test]
fn prometheus_own_parser_reads_the_metrics_and_the_reference_lists_them() {
    let site = Site::new();
    let server = site.serve(&[]);
    infer_text(&server, "minilm", &["a cat"]);
    assert_eq!(infer(&server, &[]).status, 200);
    assert_eq!(server.ask("POST", "/v2/models/none\"x/infer", BODY).unwrap().status, 404);
    let text = server.ask("GET", "/metrics", "").expect("an answer").text();
    assert!(!text.contains("none"), "a name from a request is no label: {text}");
    let mut parser = client("metrics_strict.py");
    let mut child =
        parser.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python runs");
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    let names = String::from_utf8(output.stdout).unwrap();
    let reference =
        std::fs::read_to_string(repository().join("docs/reference/metrics.md")).unwrap();
    for name in names.lines() {
        assert!(reference.contains(&format!("| `{name}` |")), "{name} is not in the reference");
    }
    let plugin = "aimass_plugin_seconds_total{model=\"identity\"} ";
    let seconds = text.lines().find_map(|line| line.strip_prefix(plugin)).expect("plugin time");
    assert!(seconds.parse::<f64>().unwrap() > 0.0, "{seconds}");
    for name in ["aimass_requests_total", "aimass_dispatch_batch_calls", "process_open_fds"] {
        assert!(names.lines().any(|line| line == name), "{name} in {names}");
    }
}

/// A collector that we did not write the messages of; it ends with its scope.
struct Collector {
    process: Child,
    url: String,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Collector {
    fn start() -> Collector {
        let mut process =
            client("otlp_receiver.py").stdout(Stdio::piped()).spawn().expect("python runs");
        let mut lines = BufReader::new(process.stdout.take().expect("its output is piped")).lines();
        let url = lines.next().expect("an address").expect("text");
        Collector { process, url, lines }
    }

    fn spans(&mut self, count: usize) -> Vec<Value> {
        let spans = self.lines.by_ref().take(count);
        spans.map(|line| serde_json::from_str(&line.expect("text")).expect("a span")).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have ended already; nothing is lost either way.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_traced_request_shows_its_rooms_to_a_collector() {
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    let site = Site::new();
    let mut collector = Collector::start();
    let text = format!(
        "[gateway.telemetry.traces]\nendpoint = {:?}\nratio = 0.0\nservice = \"here\"\n",
        collector.url
    );
    let server = site.serve(&["--config", &config(&site, &text)]);
    let unsampled = format!("00-{TRACE}-b7ad6b7169203331-00");
    assert!(infer(&server, &[("traceparent", &unsampled)]).header("traceresponse").is_none());
    let parent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let body = r#"{"inputs":[{"name":"text","datatype":"BYTES","shape":[1],"data":["a cat"]}]}"#;
    let key = format!("Bearer {}", server.api_key);
    let headers = [("authorization", &*key), ("traceparent", &*parent), ("tracestate", "vendor=1")];
    let answer = server
        .send("POST", "/v2/models/minilm/infer", &headers, body.as_bytes())
        .expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
    let response = answer.header("traceresponse").expect("a trace").to_owned();
    let spans = collector.spans(11);
    let by_id: HashMap<&str, &Value> =
        spans.iter().map(|span| (span["span"].as_str().unwrap(), span)).collect();
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    let steps = ["pipeline", "instance", "pipeline", "batcher", "executor", "pipeline", "instance"];
    let expected = [&["route", "admission", "infer"], &steps[..], &["meter"]].concat();
    assert_eq!(names, expected);
    for span in &spans {
        assert_eq!((&span["trace"], &span["state"]), (&TRACE.into(), &"vendor=1".into()));
        assert_eq!(span["service"], "here");
        let (start, end) = (span["start"].as_u64().unwrap(), span["end"].as_u64().unwrap());
        assert!(start <= end);
        if let Some(parent) = by_id.get(span["parent"].as_str().unwrap()) {
            assert!(parent["start"].as_u64().unwrap() <= start, "{parent} {span}");
            assert!(end <= parent["end"].as_u64().unwrap(), "{parent} {span}");
        }
    }
    let route = &spans[0];
    assert_eq!(route["parent"], "b7ad6b7169203331");
    assert_eq!(response, format!("00-{TRACE}-{}-01", route["span"].as_str().unwrap()));
    assert_eq!(route["attributes"]["aimass.route"], "infer");
    let parent_of = |index: usize| by_id[spans[index]["parent"].as_str().unwrap()]["name"].clone();
    assert_eq!((parent_of(4), parent_of(6)), ("pipeline".into(), "pipeline".into()));
    let metrics = server.ask("GET", "/metrics", "").expect("an answer").text();
    assert!(metrics.contains("aimass_spans_dropped_total 0"), "{metrics}");
}

#[test]
fn no_line_of_the_log_holds_a_key_and_each_names_its_request() {
    let site = Site::new();
    let config = config(&site, "[gateway.telemetry]\naccess_log = true\n");
    let log = site.folder().join("json.log");
    // All of ours and of HTTP is logged; the format is a flag of the whole program.
    let arguments =
        ["--config", &config, "--log-format", "json", "--log", "warn,aimass=trace,hyper=trace"];
    let server = Server::start(&site.aimass, &site.data(), &arguments, &log).expect("a server");
    let key = server.api_key.clone();
    // The secret may itself hold an underscore: it is what follows the second one.
    let secret = key.splitn(3, '_').nth(2).expect("a key of three parts").to_owned();
    assert_eq!(infer(&server, &[("x-request-id", "marked")]).status, 200);
    // A key wherever a client may put one by mistake.
    assert_eq!(infer(&server, &[("x-request-id", &key)]).status, 200);
    let path = format!("/v2/models/{key}/infer");
    assert_eq!(server.ask("POST", &path, BODY).unwrap().status, 404);
    server.ask("GET", &format!("/{key}?token={key}"), "").unwrap();
    server.send("GET", "/v2", &[("authorization", &format!("Basic {key}"))], b"").unwrap();
    server.send("GET", "/v2", &[("authorization", &format!("Bearer {key}x"))], b"").unwrap();
    assert_eq!(server.stop().expect("a signal"), Some(0));
    let text = std::fs::read_to_string(&log).expect("a log");
    assert!(!text.contains(&secret), "the key is in the log");
    let lines: Vec<Value> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    let answered = lines.iter().filter(|line| line["message"] == "answered");
    let marked: Vec<&Value> = answered.filter(|line| line["request_id"] == "marked").collect();
    assert_eq!(marked.len(), 1, "{text}");
    assert_eq!(
        (&marked[0]["fields"]["status"], &marked[0]["fields"]["route"]),
        (&200.into(), &"infer".into())
    );
}

#[test]
fn without_the_access_log_requests_leave_no_line() {
    let site = Site::new();
    let server = site.serve(&[]);
    assert_eq!(infer(&server, &[]).status, 200);
    assert!(!server.output().contains("answered"), "{}", server.output());
}

#[test]
fn top_shows_a_running_server_once_as_json() {
    let site = Site::new();
    let server = site.serve(&[]);
    let url = server.url();
    let arguments =
        ["top", "--url", &url, "--key", &server.api_key, "--interval", "1", "--once", "--json"];
    let shown = std::thread::scope(|scope| {
        let top = scope.spawn(|| site.succeed(&arguments));
        while !top.is_finished() {
            assert_eq!(infer(&server, &[]).status, 200);
        }
        top.join().expect("it ended")
    });
    let view: Value = serde_json::from_str(&shown).expect("JSON");
    assert!(view["requests_per_s"].as_f64().unwrap() > 0.0, "{view}");
    assert!(view["p99_ms"].as_f64().unwrap() >= view["p50_ms"].as_f64().unwrap(), "{view}");
    assert_eq!(view["tenants"][0]["tenant"], "default");
    assert!(view["models"].as_array().unwrap().iter().any(|model| model["model"] == "identity"));
    let (_, error) = site.refuse(&["top", "--url", &url, "--key", "wrong", "--once"]);
    assert!(error.contains("AIMASS_API_KEY"), "{error}");
}

/// Waits until a job is over.
fn over(site: &Site, job: &str) -> Value {
    let start = std::time::Instant::now();
    loop {
        let status: Value =
            serde_json::from_str(&site.succeed(&["batch", "status", job, "--json"])).expect("JSON");
        if !matches!(status["state"].as_str(), Some("queued" | "running")) {
            return status;
        }
        // Generous: how long a job takes is not decided here.
        assert!(start.elapsed() < std::time::Duration::from_secs(120), "{status}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn answers(path: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn a_batch_job_survives_kill_9_and_answers_each_line_once_in_order() {
    const LINES: usize = 20_000;
    let site = Site::new();
    let (input, output) = (site.folder().join("in.jsonl"), site.folder().join("out.jsonl"));
    let line = |index: usize| match index {
        7 => "no JSON\n".to_owned(),
        index => format!("{}\n", BODY.replace("[1,2,3]", &format!("[{index},0,0]"))),
    };
    std::fs::write(&input, (0..LINES).map(line).collect::<String>()).unwrap();
    let (from, to) = (input.display().to_string(), output.display().to_string());
    let submit = ["batch", "submit", "--model", "identity", "--tenant", "acme", &from, &to];
    let job = site.succeed(&submit).trim().to_owned();
    let server = site.serve(&[]);
    while answers(&output).len() < 100 {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    // A server that is dropped is killed.
    drop(server);
    assert!(answers(&output).len() < LINES, "the job was over before the kill");
    let server = site.serve(&["--threads", "1"]);
    let status = over(&site, &job);
    assert_eq!(status["state"], "done", "{status}");
    assert_eq!(
        (&status["done"], &status["failed"], &status["total"]),
        (&LINES.into(), &1.into(), &LINES.into())
    );
    let answers = answers(&output);
    assert_eq!(answers.len(), LINES);
    for (index, answer) in answers.iter().enumerate().filter(|(index, _)| *index != 7) {
        assert_eq!(answer["outputs"][0]["data"][0], index, "{answer}");
    }
    assert_eq!(answers[7]["error"]["line"], 8);
    server.stop().expect("a signal");
    let row = site.succeed(&["usage", "--tenant", "acme", "--json"]);
    let row: Value = serde_json::from_str(&row).expect("one row");
    assert_eq!(row["kind"], "batch");
    // Lines whose answers the kill cut off are computed, and counted, again.
    let billed = row["answered"].as_u64().unwrap() as usize;
    assert!((LINES - 1..LINES + 40).contains(&billed), "{row}");
}

#[test]
fn a_batch_job_is_cancelled_and_a_wrong_one_says_why() {
    let site = Site::new();
    let (input, output) = (site.folder().join("in.jsonl"), site.folder().join("out.jsonl"));
    std::fs::write(&input, format!("{BODY}\n").repeat(200_000)).unwrap();
    let (from, to) = (input.display().to_string(), output.display().to_string());
    let job = site.succeed(&["batch", "submit", "--model", "identity", &from, &to]);
    let _server = site.serve(&[]);
    while answers(&output).is_empty() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    site.succeed(&["batch", "cancel", job.trim()]);
    let status = over(&site, job.trim());
    assert_eq!(status["state"], "cancelled", "{status}");
    assert_eq!(status["done"].as_u64().unwrap() as usize, answers(&output).len());
    let (_, error) = site.refuse(&["batch", "submit", "--model", "identity", &from, &to]);
    assert!(error.contains("exists"), "{error}");
    let (_, error) = site.refuse(&["batch", "status", "job-1"]);
    assert!(error.contains("aimass batch list"), "{error}");
    assert!(site.succeed(&["batch", "list"]).contains("cancelled"));
}
