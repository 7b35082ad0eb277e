//! Restarts, and new versions of plugins and models, under load: a client that keeps asking notices none
//! of it. `AIMASS_ALL=1` is 50 restarts and 200 swaps with 50,000 requests each.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aimass_e2e::Site;

const CLIENTS: usize = 4;
const BODY: &str =
    r#"{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[3],"data":[1,2,3]}]}"#;
/// Generous: nothing here is decided by time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A few of `whole`, or all with `AIMASS_ALL=1`.
fn times(few: usize, whole: usize) -> usize {
    if std::env::var("AIMASS_ALL").is_ok_and(|all| all == "1") { whole } else { few }
}

/// A client with one connection that it keeps while the server lets it.
struct Client {
    address: SocketAddr,
    request: Vec<u8>,
    connection: Option<TcpStream>,
}

impl Client {
    fn new(address: SocketAddr, key: &str, path: &str) -> Client {
        let length = BODY.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n\
             Content-Length: {length}\r\n\r\n{BODY}"
        );
        Client { address, request: request.into_bytes(), connection: None }
    }

    /// Asks once, without a second attempt; the answer's body.
    fn ask(&mut self) -> Result<String, String> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => TcpStream::connect(self.address).map_err(|e| format!("connect: {e}"))?,
        };
        stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
        stream.write_all(&self.request).map_err(|e| format!("write: {e}"))?;
        let mut bytes = Vec::new();
        let (head, length) = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
                let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
                let length = field("content-length: ").and_then(|text| text.parse().ok());
                let whole = end + 4 + length.unwrap_or(0);
                if bytes.len() >= whole {
                    break (head, end + 4);
                }
            }
            let mut block = [0; 4096];
            match stream.read(&mut block) {
                Ok(0) => return Err(format!("ended after {} bytes", bytes.len())),
                Ok(read) => bytes.extend_from_slice(&block[..read]),
                // A process that was stopped and goes on: nothing is lost.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("read after {} bytes: {error}", bytes.len())),
            }
        };
        let body = String::from_utf8_lossy(&bytes[length..]).into_owned();
        if !head.starts_with("http/1.1 200") {
            return Err(format!("{head}\n{body}"));
        }
        if !head.contains("connection: close") {
            self.connection = Some(stream);
        }
        Ok(body)
    }
}

/// Requests that are answered at least.
fn least() -> usize {
    times(100, 50_000)
}

/// Asks from several clients at once while `work` goes on, and until enough were answered; how many. Any
/// that is not fails the test.
fn under_load(address: SocketAddr, key: &str, path: &str, work: impl FnOnce()) -> usize {
    let done = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        let ask = || {
            let (mut client, mut answered) = (Client::new(address, key, path), 0);
            while !done.load(Ordering::Relaxed) || answered < least() / CLIENTS {
                let answer = client.ask();
                let body = answer.unwrap_or_else(|e| panic!("after {answered} answers: {e}"));
                assert!(body.contains("[1,2,3]"), "{body}");
                answered += 1;
            }
            answered
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(ask)).collect();
        let finished = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let answered = clients.into_iter().map(|client| client.join().expect("no failed request"));
        let answered = answered.sum();
        finished.expect("the work is done");
        answered
    });
    println!("{answered} requests answered, none failed");
    answered
}

/// A server process on a socket that the test holds, as systemd would.
struct Process {
    child: Child,
}

impl Process {
    fn start(site: &Site, listener: &TcpListener, number: usize) -> Process {
        let log = site.folder().join(format!("process-{number}.log"));
        let output = std::fs::File::create(&log).expect("a log");
        let socket: OwnedFd = listener.try_clone().expect("a socket").into();
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_FDS=1 exec \"$0\" \"$@\" 3<&0 </dev/null"]);
        command.arg(&site.aimass).arg("--data").arg(site.data());
        command.args(["serve", "--no-grpc", "--unready-seconds", "1"]);
        command.stdin(Stdio::from(socket)).stdout(output.try_clone().expect("a log"));
        let child = command.stderr(output).spawn().expect("the binary runs");
        let mut process = Process { child };
        process.wait_until_it_serves(&log);
        process
    }

    fn wait_until_it_serves(&mut self, log: &Path) {
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            if text.contains("serving ") {
                return;
            }
            let ended = self.child.try_wait().expect("its state");
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "it does not serve: {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks it to end, and waits until it has.
    fn stop(mut self) {
        let signal = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(signal.expect("kill").success());
        assert!(self.child.wait().expect("its end").success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already; nothing is lost either way.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn rolling_restarts_lose_no_request() {
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("its address");
    let key = site.succeed(&["key", "new", "api"]);
    let restarts = times(2, 50);
    let mut process = Process::start(&site, &listener, 0);
    let answered = under_load(address, key.trim(), "/v2/models/identity/infer", || {
        for number in 1..=restarts {
            let next = Process::start(&site, &listener, number);
            std::mem::replace(&mut process, next).stop();
        }
    });
    println!("{restarts} restarts");
    assert!(answered >= least());
}

#[test]
fn hot_swaps_of_a_plugin_and_its_model_lose_no_request() {
    let site = Site::new();
    let server = site.serve(&["--no-grpc"]);
    let address = server.url().trim_start_matches("http://").parse().expect("an address");
    let package = site.package("identity").display().to_string();
    let swaps = times(4, 200);
    let path = "/v2/models/identity/infer";
    let answered = under_load(address, &server.api_key, path, || {
        let mut client = Client::new(address, &server.api_key, path);
        for version in 2..=swaps + 1 {
            // The model that is added next runs on this release of the plugin.
            let component = site.component("identity").display().to_string();
            site.succeed(&["plugin", "sign", &component]);
            site.succeed(&["plugin", "publish", &component]);
            site.succeed(&["model", "add", "--name", "identity", &package]);
            site.succeed(&["model", "label", "identity", "stable", &version.to_string()]);
            let wanted = format!("\"model_version\":\"{version}\"");
            let start = Instant::now();
            while !client.ask().expect("an answer").contains(&wanted) {
                assert!(start.elapsed() < PATIENCE, "version {version} never answered");
            }
            if version > 2 {
                site.succeed(&["model", "remove", "identity", &(version - 1).to_string()]);
            }
        }
    });
    println!("{swaps} swaps");
    assert!(answered >= least());
}
