//! Which calls are traced, and the thread that sends finished traces to a collector.

use super::otlp;
use super::{Trace, TraceConfig, TraceError, TraceParent};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Traces of one request to the collector.
const BATCH_TRACES: usize = 128;
/// How long a trace waits for company.
const BATCH_WAIT: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses before the second and the third attempt.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];

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
}

impl Exporter {
    fn new(config: &TraceConfig, endpoint: &str, counts: Arc<Counts>) -> Exporter {
        let agent =
            ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).max_redirects(0).build();
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        Exporter { agent: agent.into(), url, service: config.service.clone(), counts }
    }

    fn run(self, queue: &Receiver<Arc<Trace>>) {
        let mut batch = Vec::new();
        loop {
            let next = match batch.is_empty() {
                true => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => queue.recv_timeout(BATCH_WAIT),
            };
            match next {
                Ok(trace) => {
                    batch.push(trace);
                    if batch.len() >= BATCH_TRACES {
                        self.send(&mut batch, &PAUSES);
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.send(&mut batch, &PAUSES),
                Err(RecvTimeoutError::Disconnected) => {
                    self.send(&mut batch, &[]);
                    return;
                }
            }
        }
    }

    /// Sends a batch, and again after each pause; then it is dropped.
    fn send(&self, batch: &mut Vec<Arc<Trace>>, pauses: &[Duration]) {
        let traces = std::mem::take(batch);
        if traces.is_empty() {
            return;
        }
        let body = otlp::request(&traces, &self.service).to_string();
        let mut pauses = pauses.iter();
        let count = traces.len() as u64;
        loop {
            let request = self.agent.post(&self.url).header("content-type", "application/json");
            let Err(error) = request.send(body.as_bytes()) else {
                self.counts.exported.fetch_add(count, Ordering::Relaxed);
                return;
            };
            let Some(pause) = pauses.next() else {
                tracing::warn!(%error, count, "traces were not exported");
                self.counts.dropped.fetch_add(count, Ordering::Relaxed);
                return;
            };
            std::thread::sleep(*pause);
        }
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
