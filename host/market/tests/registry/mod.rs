//! A registry in this process, as strict as the distribution specification 1.1 lets it be, with faults.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const REPOSITORY: &str = "acme/market";

/// Who may come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Guard {
    /// Everybody.
    #[default]
    Open,
    /// `me` with `secret`.
    Basic,
    /// Who has a token of this registry's own `/token`, which anybody gets to pull, and `me` to push.
    Bearer,
    /// Nobody, whatever they bring.
    Shut,
}

/// What a registry does instead of answering.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Status(u16),
    /// Another body with the right headers.
    Body(Vec<u8>),
    /// Another body, which says that it is packed (`content-encoding: gzip`).
    Packed(Vec<u8>),
    /// Half of the body, then the connection ends.
    Cut,
    Endless,
    Trickle,
    Silent,
    Redirect(String),
    /// The connection ends before anything is done.
    Drop,
    /// It is done, and the connection ends before the answer.
    DoneDrop,
}

/// A request as the registry got it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

type FaultOf = dyn Fn(&Request) -> Option<Fault> + Send + Sync;

#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    /// Media type and bytes by digest.
    pub(crate) manifests: BTreeMap<String, (String, Vec<u8>)>,
    pub(crate) tags: BTreeMap<String, String>,
    sessions: u64,
    open: Vec<String>,
    /// What came, in order.
    pub(crate) requests: Vec<Request>,
}

pub(crate) struct Registry {
    address: String,
    kept: Mutex<Kept>,
    referrers: bool,
    guard: Guard,
    fault: Mutex<Option<Arc<FaultOf>>>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16) -> Answer {
        Answer { status, headers: Vec::new(), body: Vec::new() }
    }

    fn error(status: u16, code: &str) -> Answer {
        let body = json!({ "errors": [{ "code": code, "message": "as the test has it" }] });
        Answer { body: body.to_string().into_bytes(), ..Answer::new(status) }
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Answer {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

fn digest_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digits}")
}

impl Registry {
    /// One that keeps referrers itself if `referrers`.
    pub(crate) fn start(referrers: bool, guard: Guard) -> Arc<Registry> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (kept, fault) = (Mutex::default(), Mutex::default());
        let registry = Arc::new(Registry { address, kept, referrers, guard, fault });
        let own = registry.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let own = own.clone();
                std::thread::spawn(move || own.serve(stream));
            }
        });
        registry
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn location(&self) -> String {
        format!("oci://{}/{REPOSITORY}", self.address)
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.kept().requests)
    }

    pub(crate) fn break_by(
        &self,
        fault: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static,
    ) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(fault));
    }

    pub(crate) fn mend(&self) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Keeps a blob; its digest.
    pub(crate) fn keep(&self, bytes: &[u8]) -> String {
        let digest = digest_of(bytes);
        self.kept().blobs.insert(digest.clone(), bytes.to_vec());
        digest
    }

    /// Replaces what a tag names by a changed manifest.
    pub(crate) fn change_manifest(&self, tag: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) {
        let mut kept = self.kept();
        let before = kept.manifests[&kept.tags[tag]].clone();
        let bytes = change(before.1);
        let digest = digest_of(&bytes);
        kept.manifests.insert(digest.clone(), (before.0, bytes));
        kept.tags.insert(tag.to_owned(), digest);
    }

    fn serve(&self, mut stream: TcpStream) {
        let Some(request) = read(&mut stream) else { return };
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.kept().requests.push(Request { body: Vec::new(), ..request.clone() });
        let fault = fault.and_then(|fault| fault(&request));
        if matches!(fault, Some(Fault::Drop)) {
            return;
        }
        let answer = self.judge(&request);
        let head = request.method == "HEAD";
        match fault {
            None => send(&mut stream, &answer, head),
            Some(Fault::Status(status)) => send(&mut stream, &Answer::new(status), head),
            Some(Fault::Body(body)) => send(&mut stream, &Answer { body, ..answer }, head),
            Some(Fault::Packed(body)) => {
                let packed = Answer { body, ..answer }.with("content-encoding", "gzip");
                send(&mut stream, &packed, head);
            }
            Some(Fault::Redirect(to)) => {
                send(&mut stream, &Answer::new(307).with("location", to), head);
            }
            Some(Fault::Cut) => {
                start(&mut stream, 200, answer.body.len());
                let _ = stream.write_all(&answer.body[..answer.body.len() / 2]);
            }
            Some(Fault::Endless) => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
                while stream.write_all(&[b' '; 65_536]).is_ok() {}
            }
            Some(Fault::Trickle) => {
                start(&mut stream, 200, 1 << 20);
                while stream.write_all(b" ").is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            Some(Fault::Silent) => {
                let _ = stream.read(&mut [0; 1]);
            }
            Some(Fault::Drop | Fault::DoneDrop) => {}
        }
    }

    fn judge(&self, request: &Request) -> Answer {
        if request.path == "/token" {
            return self.token(request);
        }
        let given = request.headers.get("authorization").map(String::as_str).unwrap_or_default();
        let writes = !matches!(&*request.method, "GET" | "HEAD");
        let me = format!("Basic {}", STANDARD.encode("me:secret"));
        let enough = match self.guard {
            Guard::Open => true,
            Guard::Basic => given == me,
            Guard::Bearer => given == "Bearer push" || (given == "Bearer pull" && !writes),
            Guard::Shut => false,
        };
        if !enough {
            let scope = if writes { "pull,push" } else { "pull" };
            let challenge = match self.guard {
                Guard::Basic | Guard::Open => "Basic realm=\"r\"".to_owned(),
                Guard::Bearer | Guard::Shut => format!(
                    "Bearer realm=\"http://{}/token\",service=\"here\",scope=\"repository:{REPOSITORY}:{scope}\"",
                    self.address
                ),
            };
            return Answer::error(401, "UNAUTHORIZED").with("www-authenticate", challenge);
        }
        let Some(rest) = request.path.strip_prefix(&format!("/v2/{REPOSITORY}/")) else {
            return Answer::error(404, "NAME_UNKNOWN");
        };
        let mut kept = self.kept();
        match (&*request.method, rest.split_once('/').unwrap_or((rest, ""))) {
            ("GET" | "HEAD", ("blobs", digest)) => match kept.blobs.get(digest) {
                Some(body) => Answer { body: body.clone(), ..Answer::new(200) },
                None => Answer::error(404, "BLOB_UNKNOWN"),
            },
            ("POST", ("blobs", "uploads/")) => {
                kept.sessions += 1;
                let session = format!("s{}", kept.sessions);
                // One in two answers is a whole address, as some registries give.
                let whole = if kept.sessions.is_multiple_of(2) { "" } else { &self.address };
                let origin =
                    if whole.is_empty() { String::new() } else { format!("http://{whole}") };
                let to = format!("{origin}/v2/{REPOSITORY}/blobs/uploads/{session}?state=x");
                kept.open.push(session);
                Answer::new(202).with("location", to)
            }
            ("PUT", ("blobs", session)) => finish_upload(&mut kept, session, request),
            ("GET" | "HEAD", ("manifests", reference)) => get_manifest(&kept, reference, request),
            ("PUT", ("manifests", reference)) => self.put_manifest(&mut kept, reference, request),
            ("GET", ("referrers", digest)) if self.referrers => list_referrers(&kept, digest),
            _ => Answer::error(404, "UNSUPPORTED"),
        }
    }

    fn token(&self, request: &Request) -> Answer {
        let me = format!("Basic {}", STANDARD.encode("me:secret"));
        let given = request.headers.get("authorization");
        let wants = request.query.contains("push");
        if given.is_some_and(|given| *given != me) || (wants && given.is_none()) {
            return Answer::error(401, "UNAUTHORIZED");
        }
        let whole =
            format!("service=here&scope=repository%3A{}%3Apull", REPOSITORY.replace('/', "%2F"));
        if !request.query.starts_with(&whole) {
            return Answer::error(400, "SCOPE");
        }
        let token = if wants { "push" } else { "pull" };
        Answer { body: json!({ "token": token }).to_string().into_bytes(), ..Answer::new(200) }
    }

    fn put_manifest(&self, kept: &mut Kept, reference: &str, request: &Request) -> Answer {
        let kind = request.headers.get("content-type").cloned().unwrap_or_default();
        let Ok(manifest) = serde_json::from_slice::<Value>(&request.body) else {
            return Answer::error(400, "MANIFEST_INVALID");
        };
        if manifest["mediaType"] != kind.as_str() || manifest["schemaVersion"] != 2 {
            return Answer::error(400, "MANIFEST_INVALID");
        }
        let list = |name: &str| manifest[name].as_array().cloned().unwrap_or_default();
        let layers = list("layers").into_iter().chain([manifest["config"].clone()]);
        let whole = |one: &Value| {
            let blob = kept.blobs.get(one["digest"].as_str().unwrap_or_default());
            blob.is_some_and(|blob| one["size"] == blob.len())
        };
        if kind != INDEX && !layers.into_iter().all(|one| whole(&one)) {
            return Answer::error(404, "MANIFEST_BLOB_UNKNOWN");
        }
        let there =
            |one: &Value| kept.manifests.contains_key(one["digest"].as_str().unwrap_or_default());
        if !list("manifests").iter().all(there) {
            return Answer::error(404, "MANIFEST_UNKNOWN");
        }
        let digest = digest_of(&request.body);
        if reference.starts_with("sha256:") && reference != digest {
            return Answer::error(400, "DIGEST_INVALID");
        }
        kept.manifests.insert(digest.clone(), (kind, request.body.clone()));
        if !reference.starts_with("sha256:") {
            kept.tags.insert(reference.to_owned(), digest.clone());
        }
        let answer = Answer::new(201).with("docker-content-digest", digest);
        match manifest["subject"]["digest"].as_str() {
            Some(subject) if self.referrers => answer.with("oci-subject", subject),
            Some(_) | None => answer,
        }
    }
}

fn finish_upload(kept: &mut Kept, session: &str, request: &Request) -> Answer {
    let session = session.strip_prefix("uploads/").unwrap_or_default();
    let Some(at) = kept.open.iter().position(|one| one == session) else {
        return Answer::error(404, "BLOB_UPLOAD_UNKNOWN");
    };
    kept.open.remove(at);
    let digest = digest_of(&request.body);
    let claimed = request.query.strip_prefix("state=x&digest=").unwrap_or_default();
    if claimed.replace("%3A", ":") != digest {
        return Answer::error(400, "DIGEST_INVALID");
    }
    kept.blobs.insert(digest.clone(), request.body.clone());
    Answer::new(201).with("docker-content-digest", digest)
}

fn get_manifest(kept: &Kept, reference: &str, request: &Request) -> Answer {
    let digest = kept.tags.get(reference).map_or(reference, String::as_str);
    let found = kept.manifests.get(digest);
    let accept = request.headers.get("accept").cloned().unwrap_or_default();
    match found.filter(|(kind, _)| accept.contains(kind)) {
        Some((kind, body)) => Answer { body: body.clone(), ..Answer::new(200) }
            .with("content-type", kind.clone())
            .with("docker-content-digest", digest),
        None => Answer::error(404, "MANIFEST_UNKNOWN"),
    }
}

/// All of them, as a registry may that knows no filter.
fn list_referrers(kept: &Kept, subject: &str) -> Answer {
    let refers = |bytes: &[u8]| {
        let manifest: Value = serde_json::from_slice(bytes).unwrap_or_default();
        (manifest["subject"]["digest"] == subject).then(|| manifest["artifactType"].clone())
    };
    let all = kept.manifests.iter().filter_map(|(digest, (kind, bytes))| {
        let artifact = refers(bytes)?;
        Some(json!({ "mediaType": kind, "digest": digest, "size": bytes.len(), "artifactType": artifact }))
    });
    let index =
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": all.collect::<Vec<_>>() });
    Answer { body: index.to_string().into_bytes(), ..Answer::new(200) }.with("content-type", INDEX)
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), headers, body })
}

fn start(to: &mut TcpStream, status: u16, length: usize) {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n");
    let _ = to.write_all(head.as_bytes()).and_then(|()| to.write_all(b"\r\n"));
}

fn send(to: &mut TcpStream, answer: &Answer, head: bool) {
    let (status, length) = (answer.status, answer.body.len());
    let mut text =
        format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n");
    for (name, value) in &answer.headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.write_all(b"\r\n"));
    if !head {
        let _ = to.write_all(&answer.body);
    }
}
