//! Which calls are traced, and the thread that sends finished traces to a collector.

use super::otlp;
use super::{Trace, TraceConfig, TraceError, TraceParent};
use crate::backoff::Backoff;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Traces of one request to the collector.
const BATCH_TRACES: usize = 128;
/// How long a trace waits for company.
const BATCH_WAIT: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts at one batch.
const ATTEMPTS_MAX: u32 = 3;
/// First and longest wait after a failed attempt, whatever the batch. They bound what a collector that is
/// down costs: one attempt a minute.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Decides which calls are traced and exports them. Dropping it sends what waits.
pub struct Tracer {
    config: TraceConfig,
    queue: Option<SyncSender<Arc<Trace>>>,
    thread: Option<JoinHandle<()>>,
    /// Part of the calls that are traced, as the bits of an f64.
    ratio: AtomicU64,
    /// Where the sequence of draws is.
    draws: AtomicU64,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
}

/// What became of traces, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceStats {
    /// Traces that the collector took.
    pub exported: u64,
    /// Traces dropped because the queue was full or the collector refused them.
    pub dropped: u64,
}

impl Tracer {
    /// A tracer; one without an endpoint traces nothing.
    ///
    /// # Errors
    /// [`TraceError`] for an address that is none, or a system without threads or random numbers.
    pub fn new(config: TraceConfig) -> Result<Tracer, TraceError> {
        let counts = Arc::new(Counts::default());
        let system = |error: String| TraceError::System(error);
        let seed = getrandom::u64().map_err(|error| system(error.to_string()))?;
        let (mut queue, mut thread) = (None, None);
        if let Some(endpoint) = &config.endpoint {
            let good = ["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme));
            if !good || endpoint.contains('@') {
                return Err(TraceError::Endpoint);
            }
            let (sender, receiver) = sync_channel(config.queue_len_max);
            let exporter = Exporter::new(&config, endpoint, counts.clone());
            let named = std::thread::Builder::new().name("aimass-traces".to_owned());
            let spawned = named.spawn(move || exporter.run(&receiver));
            thread = Some(spawned.map_err(|error| system(error.to_string()))?);
            queue = Some(sender);
        }
        let ratio = AtomicU64::new(config.ratio.to_bits());
        Ok(Tracer { config, queue, thread, ratio, draws: AtomicU64::new(seed), counts })
    }

    /// Whether anything may be traced at all; if not, headers need not be read.
    pub fn is_on(&self) -> bool {
        self.queue.is_some()
    }

    /// Part of the calls that are traced if their client does not say.
    pub fn ratio(&self) -> f64 {
        f64::from_bits(self.ratio.load(Ordering::Relaxed))
    }

    /// Changes [`Tracer::ratio`]; 0 to 1.
    pub fn set_ratio(&self, ratio: f64) {
        self.ratio.store(ratio.clamp(0.0, 1.0).to_bits(), Ordering::Relaxed);
    }

    /// The trace of a call with these headers, if it is sampled.
    pub fn sample(&self, parent: Option<&str>, state: Option<&str>) -> Option<Arc<Trace>> {
        self.queue.as_ref()?;
        let parent = parent.filter(|_| self.config.follow_parent).and_then(TraceParent::parse);
        let wanted = match parent {
            Some(parent) => parent.sampled,
            // A draw has 64 bits, of which an f64 keeps 53: at a ratio of 1 all are below it.
            None => (self.draw() >> 11) as f64 / ((1u64 << 53) as f64) < self.ratio(),
        };
        if !wanted {
            return None;
        }
        let trace = u128::from(self.draw()) << 64 | u128::from(self.draw());
        Some(Trace::new((trace, self.draw()), parent, state))
    }

    /// Takes a finished trace; drops it if too many wait.
    pub fn finish(&self, trace: Arc<Trace>) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send(trace).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of traces so far.
    pub fn stats(&self) -> TraceStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TraceStats { exported: load(&self.counts.exported), dropped: load(&self.counts.dropped) }
    }

    /// The next number of a sequence with a random start (SplitMix64). Identities of traces need to be
    /// different, not secret.
    fn draw(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.draws.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(thread) = self.thread.take() {
            // It only fails if the thread panicked, which is in the log.
            let _ = thread.join();
        }
    }
}

struct Exporter {
    agent: ureq::Agent,
    url: String,
    service: String,
    counts: Arc<Counts>,
    /// What goes out next.
    batch: Vec<Arc<Trace>>,
    /// Failed attempts at it.
    attempts: u32,
    backoff: Backoff,
    /// The collector is left alone until then.
    not_before: Option<Instant>,
}

impl Exporter {
    fn new(config: &TraceConfig, endpoint: &str, counts: Arc<Counts>) -> Exporter {
        let agent =
            ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(0).build();
        Exporter {
            agent: agent.into(),
            url: format!("{}/v1/traces", endpoint.trim_end_matches('/')),
            service: config.service.clone(),
            counts,
            batch: Vec::new(),
            attempts: 0,
            backoff: Backoff::new(BACKOFF_MIN, BACKOFF_MAX),
            not_before: None,
        }
    }

    fn run(mut self, queue: &Receiver<Arc<Trace>>) {
        loop {
            let next = match self.wait(Instant::now()) {
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => queue.recv_timeout(wait),
            };
            match next {
                Ok(trace) => self.take(trace, Instant::now()),
                Err(RecvTimeoutError::Timeout) => self.send(Instant::now()),
                Err(RecvTimeoutError::Disconnected) => {
                    self.send(Instant::now());
                    self.give_up();
                    return;
                }
            }
        }
    }

    /// How long to wait for more before the batch goes out; for good if there is none.
    fn wait(&self, now: Instant) -> Option<Duration> {
        let left = |at: Instant| at.saturating_duration_since(now);
        (!self.batch.is_empty()).then(|| self.not_before.map_or(BATCH_WAIT, left))
    }

    /// Adds a trace to the batch, which goes out once it is full. While the collector is left alone, what
    /// a full batch has no room for is dropped.
    fn take(&mut self, trace: Arc<Trace>, now: Instant) {
        let may_send = self.not_before.is_none_or(|at| at <= now);
        if self.batch.len() >= BATCH_TRACES && may_send {
            self.send(now);
        }
        if self.batch.len() >= BATCH_TRACES {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.batch.push(trace);
        if self.batch.len() >= BATCH_TRACES && may_send {
            self.send(now);
        }
    }

    /// Tries once to send the batch. One that failed too often, or that the collector does not want, is
    /// dropped.
    fn send(&mut self, now: Instant) {
        if self.batch.is_empty() {
            return;
        }
        let body = otlp::request(&self.batch, &self.service).to_string();
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        let count = self.batch.len() as u64;
        let Err(error) = request.send(body.as_bytes()) else {
            self.counts.exported.fetch_add(count, Ordering::Relaxed);
            self.backoff.succeeded();
            (self.not_before, self.attempts) = (None, 0);
            self.batch.clear();
            return;
        };
        self.not_before = Some(now + self.backoff.failed(None));
        self.attempts += 1;
        tracing::warn!(%error, count, attempt = self.attempts, "traces were not exported");
        if self.attempts >= ATTEMPTS_MAX || !passes(&error) {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        self.counts.dropped.fetch_add(self.batch.len() as u64, Ordering::Relaxed);
        self.batch.clear();
        self.attempts = 0;
    }
}

/// Whether another attempt may help (OTLP 1.7, "Failures" of OTLP/HTTP).
fn passes(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::StatusCode(status) => matches!(status, 429 | 502 | 503 | 504),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::SpanName;
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn tracer(change: impl FnOnce(&mut TraceConfig)) -> Tracer {
        let endpoint = Some("http://127.0.0.1:9".to_owned());
        let mut config = TraceConfig { endpoint, ..TraceConfig::default() };
        change(&mut config);
        Tracer::new(config).unwrap()
    }

    #[test]
    fn the_parent_decides_and_else_the_ratio() {
        let unsampled = PARENT.replace("-01", "-00");
        let never = tracer(|config| config.ratio = 0.0);
        assert!(never.sample(None, None).is_none());
        let followed = never.sample(Some(PARENT), Some("a=b")).unwrap();
        assert_eq!(followed.context().trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(followed.state(), Some("a=b"));
        let always = tracer(|config| config.ratio = 1.0);
        assert!(always.sample(Some(&unsampled), None).is_none());
        assert!(always.sample(Some("nonsense"), None).is_some());
        always.set_ratio(0.0);
        assert!(always.sample(None, None).is_none() && always.ratio() == 0.0);
        let alone = tracer(|config| (config.ratio, config.follow_parent) = (0.0, false));
        assert!(alone.sample(Some(PARENT), None).is_none());
        let some = tracer(|config| config.ratio = 0.1);
        let count = (0..20_000).filter(|_| some.sample(None, None).is_some()).count();
        assert!((1600..2400).contains(&count), "{count} of 20000");
        let off = Tracer::new(TraceConfig::default()).unwrap();
        assert!(off.sample(Some(PARENT), None).is_none());
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        // A collector that takes connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = silent.local_addr().unwrap();
        let tracer = tracer(|config| {
            config.endpoint = Some(format!("http://{address}"));
            (config.ratio, config.queue_len_max) = (1.0, 2);
        });
        let made = 2 * BATCH_TRACES + 10;
        for _ in 0..made {
            tracer.finish(tracer.sample(None, None).unwrap());
        }
        while tracer.stats().dropped == 0 {
            tracer.finish(tracer.sample(None, None).unwrap());
        }
        drop(silent);
    }

    #[test]
    fn a_collector_gets_the_spans_at_its_path() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/", listener.local_addr().unwrap());
        let collector = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (mut bytes, mut block) = (Vec::new(), [0; 65536]);
            while !bytes.ends_with(b"}") {
                let read = stream.read(&mut block).unwrap();
                bytes.extend_from_slice(&block[..read]);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
            String::from_utf8(bytes).unwrap()
        });
        let tracer = tracer(|config| (config.endpoint, config.ratio) = (Some(endpoint), 1.0));
        let trace = tracer.sample(None, None).unwrap();
        drop(trace.enter(SpanName::Route, Vec::new()));
        let id = format!("{:032x}", trace.context().trace);
        tracer.finish(trace);
        let request = collector.join().unwrap();
        assert!(request.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&id) && request.contains("\"name\":\"route\""), "{request}");
        while tracer.stats().exported == 0 {
            std::thread::yield_now();
        }
    }

    /// A collector that answers every request with `status` as it is; how many came.
    fn collector(status: Arc<AtomicU64>) -> (String, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let tries = Arc::new(AtomicU64::new(0));
        let counted = tries.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut bytes, mut block) = (stream.unwrap(), Vec::new(), [0; 65536]);
                while !bytes.ends_with(b"}") {
                    let read = stream.read(&mut block).unwrap();
                    bytes.extend_from_slice(&block[..read]);
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let status = status.load(Ordering::Relaxed);
                let head = format!(
                    "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
                );
                stream.write_all(head.as_bytes()).unwrap();
            }
        });
        (endpoint, tries)
    }

    #[test]
    fn a_collector_that_is_down_is_asked_rarely_and_gets_traces_again_once_it_is_up() {
        let status = Arc::new(AtomicU64::new(503));
        let (endpoint, tries) = collector(status.clone());
        let source = tracer(|config| config.ratio = 1.0);
        let counts = Arc::new(Counts::default());
        let mut exporter = Exporter::new(&TraceConfig::default(), &endpoint, counts.clone());
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // A trace every 100 ms for an hour of simulated time.
        let (start, mut made) = (Instant::now(), 0);
        let mut pass = |exporter: &mut Exporter, ticks: std::ops::Range<u64>| {
            for tick in ticks {
                let now = start + Duration::from_millis(100 * tick);
                exporter.take(source.sample(None, None).unwrap(), now);
                made += 1;
                if exporter.not_before.is_some() && exporter.wait(now) == Some(Duration::ZERO) {
                    exporter.send(now);
                }
            }
            made
        };
        let made = pass(&mut exporter, 0..36_000);
        let while_down = load(&tries);
        assert!((60..75).contains(&while_down), "{while_down} attempts in an hour");
        assert_eq!(load(&counts.exported), 0);
        assert_eq!(load(&counts.dropped) + exporter.batch.len() as u64, made);
        status.store(200, Ordering::Relaxed);
        let made = pass(&mut exporter, 36_000..36_000 + 601 + 2 * BATCH_TRACES as u64);
        let exported = load(&counts.exported);
        assert!(exported >= 2 * BATCH_TRACES as u64, "{exported}");
        assert_eq!(exported + load(&counts.dropped) + exporter.batch.len() as u64, made);
        assert!(exporter.not_before.is_none());
    }

    #[test]
    fn a_batch_that_the_collector_does_not_want_is_not_sent_again() {
        let (endpoint, tries) = collector(Arc::new(AtomicU64::new(400)));
        let source = tracer(|config| config.ratio = 1.0);
        let counts = Arc::new(Counts::default());
        let mut exporter = Exporter::new(&TraceConfig::default(), &endpoint, counts.clone());
        let now = Instant::now();
        exporter.take(source.sample(None, None).unwrap(), now);
        exporter.send(now);
        assert!(exporter.batch.is_empty() && exporter.not_before.is_some());
        let counted = (tries.load(Ordering::Relaxed), counts.dropped.load(Ordering::Relaxed));
        assert_eq!(counted, (1, 1));
    }

    #[test]
    fn addresses_with_credentials_or_without_scheme_are_refused() {
        for endpoint in ["127.0.0.1:4318", "http://user:secret@host"] {
            let endpoint = Some(endpoint.to_owned());
            let refused = Tracer::new(TraceConfig { endpoint, ..TraceConfig::default() });
            let text = refused.err().unwrap().to_string();
            assert!(text.contains("http://") && !text.contains("secret"), "{text}");
        }
    }
}
