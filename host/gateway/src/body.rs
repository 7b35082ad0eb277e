//! Request bodies: limited in size, in time, and all together in memory.

use crate::GatewayConfig;
use crate::failure::Failure;
use crate::flow::{Held, Permit};
use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Bodies above this size are parsed and answers above it written on a blocking thread.
const OFF_THREAD_BYTES: usize = 256 << 10;

/// Memory that all bodies share.
pub(crate) struct Bodies {
    used: Arc<AtomicUsize>,
    all_max: usize,
    one_max: usize,
    time_max: Duration,
}

/// A whole body, and its share of the memory until it is dropped.
pub(crate) struct ReadBody {
    pub(crate) bytes: Bytes,
    _share: Share,
}

/// Memory that a body takes of that of all bodies, given back when it is dropped.
pub(crate) struct Share {
    used: Arc<AtomicUsize>,
    bytes: usize,
    all_max: usize,
    of_tenant: Option<Held>,
}

impl Share {
    /// Takes more.
    ///
    /// # Errors
    /// 429 if the tenant's bodies may have no more, 503 if all bodies together have no more.
    pub(crate) fn add(&mut self, bytes: usize) -> Result<(), Failure> {
        if let Some(held) = &mut self.of_tenant {
            held.add(bytes)?;
        }
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before + bytes > self.all_max {
            return Err(Failure::overloaded("request bodies use up their memory; try again"));
        }
        Ok(())
    }

    /// Takes as much as is missing to `bytes`.
    ///
    /// # Errors
    /// As [`Share::add`].
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Failure> {
        match bytes.saturating_sub(self.bytes) {
            0 => Ok(()),
            more => self.add(more),
        }
    }

    /// From now on what is taken is also a tenant's.
    pub(crate) fn charge_to(&mut self, held: Held) {
        self.of_tenant = Some(held);
    }

    /// Charges bytes that were not announced to the tenant's rate.
    pub(crate) fn charge(&self, bytes: usize) {
        if let Some(held) = &self.of_tenant {
            held.charge(bytes, Instant::now());
        }
    }

    /// Gives everything back.
    pub(crate) fn release(&mut self) {
        self.used.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
        if let Some(held) = &mut self.of_tenant {
            held.release();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.release();
    }
}

impl Bodies {
    pub(crate) fn new(config: &GatewayConfig) -> Bodies {
        Bodies {
            used: Arc::new(AtomicUsize::new(0)),
            all_max: config.bodies_bytes_max,
            one_max: config.body_bytes_max,
            time_max: Duration::from_secs(config.body_seconds),
        }
    }

    /// Bytes that bodies take now.
    pub(crate) fn bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// An empty share of the memory.
    pub(crate) fn share(&self) -> Share {
        Share { used: self.used.clone(), bytes: 0, all_max: self.all_max, of_tenant: None }
    }

    /// Longest time that one body may take to arrive.
    pub(crate) fn time_max(&self) -> Duration {
        self.time_max
    }

    /// Reads the body of a request that has a permit to its end and decompresses it.
    ///
    /// # Errors
    /// 413 above the limit of one body, 429 above those of its tenant, 503 above that of all, 408 if
    /// it takes too long, 415 for an unknown `Content-Encoding`, 400 if it breaks off or does not
    /// decompress.
    pub(crate) async fn read(
        &self,
        permit: &Permit,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<ReadBody, Failure> {
        self.read_within(self.one_max, permit, headers, body).await
    }

    /// As [`Bodies::read`], of a body that may have no more than `max` bytes.
    pub(crate) async fn read_within(
        &self,
        max: usize,
        permit: &Permit,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<ReadBody, Failure> {
        let max = max.min(self.one_max);
        let encoding = Encoding::of(headers)?;
        let collecting = self.collect(max, permit, headers, body);
        let Ok(read) = tokio::time::timeout(self.time_max, collecting).await else {
            let message = format!("the body took more than {} s", self.time_max.as_secs());
            return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "body-timeout", message));
        };
        decompress(max, encoding, read?).await
    }

    async fn collect(
        &self,
        max: usize,
        permit: &Permit,
        headers: &HeaderMap,
        mut body: Body,
    ) -> Result<ReadBody, Failure> {
        let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let announced: usize = announced.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut share = self.share();
        share.charge_to(permit.held());
        grow(&mut share, announced, max)?;
        permit.take_body(announced, Instant::now())?;
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        let mut len = 0;
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Failure::invalid(format!("the body broke off: {error}")))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            len += data.len();
            grow(&mut share, len, max)?;
            share.charge(data.len().min(len.saturating_sub(announced)));
            // A body in one frame is used where it lies.
            if len == data.len() && body.is_end_stream() {
                return Ok(ReadBody { bytes: data, _share: share });
            }
            if len == data.len() {
                first = data;
                continue;
            }
            if all.is_empty() {
                all.reserve(announced.max(len));
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        let bytes = if all.is_empty() { first } else { all.freeze() };
        Ok(ReadBody { bytes, _share: share })
    }
}

/// Raises the share to `bytes`, if limits allow.
fn grow(share: &mut Share, bytes: usize, max: usize) -> Result<(), Failure> {
    if bytes > max {
        return Err(too_large(max));
    }
    share.hold(bytes)
}

fn too_large(max: usize) -> Failure {
    let message = format!("the body is larger than {max} bytes");
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message)
}

async fn decompress(max: usize, encoding: Encoding, read: ReadBody) -> Result<ReadBody, Failure> {
    if encoding == Encoding::Identity {
        return Ok(read);
    }
    let ReadBody { bytes, _share: mut share } = read;
    grow(&mut share, max, max)?;
    let inflated = tokio::task::spawn_blocking(move || inflate(encoding, &bytes, max));
    let inflated = inflated.await.map_err(|error| Failure::overloaded(error.to_string()))?;
    let bytes = inflated.map_err(|error| {
        Failure::invalid(format!("the body does not decompress as {encoding:?}: {error}"))
    })?;
    if bytes.len() > max {
        return Err(too_large(max));
    }
    Ok(ReadBody { bytes: bytes.into(), _share: share })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
    /// zlib format, as RFC 9110 §8.4.1.2 defines `deflate`.
    Deflate,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Encoding, Failure> {
        let Some(value) = headers.get(CONTENT_ENCODING) else {
            return Ok(Encoding::Identity);
        };
        match value.as_bytes() {
            b"identity" | b"" => Ok(Encoding::Identity),
            b"gzip" => Ok(Encoding::Gzip),
            b"deflate" => Ok(Encoding::Deflate),
            _ => Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-encoding",
                "Content-Encoding: expected gzip, deflate or none",
            )),
        }
    }
}

/// At most `max + 1` bytes of what `bytes` decompress to.
fn inflate(encoding: Encoding, bytes: &[u8], max: usize) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let limit = max as u64 + 1;
    match encoding {
        Encoding::Identity => bytes.take(limit).read_to_end(&mut out)?,
        Encoding::Gzip => flate2::read::GzDecoder::new(bytes).take(limit).read_to_end(&mut out)?,
        Encoding::Deflate => {
            flate2::read::ZlibDecoder::new(bytes).take(limit).read_to_end(&mut out)?
        }
    };
    Ok(out)
}

/// Runs `work` here, or on a blocking thread if it handles many `bytes`, so that no large request
/// holds up the small ones.
pub(crate) async fn off_thread<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    if bytes <= OFF_THREAD_BYTES {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Failure::overloaded(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{Flow, Tenant};
    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use std::io::Write;

    /// Limits of bodies, and somebody who sends them.
    struct Reader {
        bodies: Bodies,
        permit: Permit,
    }

    impl Reader {
        async fn read(&self, headers: &HeaderMap, body: Body) -> Result<ReadBody, Failure> {
            self.bodies.read(&self.permit, headers, body).await
        }

        fn bytes(&self) -> usize {
            self.bodies.bytes()
        }
    }

    async fn bodies(one: usize, all: usize) -> Reader {
        bodies_of(one, all, &GatewayConfig::default()).await
    }

    async fn bodies_of(one: usize, all: usize, config: &GatewayConfig) -> Reader {
        let mut bodies = Bodies::new(config);
        (bodies.one_max, bodies.all_max) = (one, all);
        let (now, tenant) = (Instant::now(), Arc::new(Tenant::new("acme")));
        let entered = Flow::new(config).enter(tenant, now, now + Duration::from_secs(9)).await;
        Reader { bodies, permit: entered.unwrap() }
    }

    fn encoded(encoding: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_ENCODING, encoding.parse().unwrap())])
    }

    fn status(result: Result<ReadBody, Failure>) -> u16 {
        result.err().map_or(200, |failure| failure.status.as_u16())
    }

    #[tokio::test]
    async fn one_body_may_be_as_large_as_the_limit_and_no_larger() {
        let bodies = bodies(1000, 10_000).await;
        let empty = HeaderMap::new();
        let read = |len| bodies.read(&empty, Body::from(vec![7; len]));
        assert_eq!(read(1000).await.unwrap().bytes.len(), 1000);
        assert_eq!(status(read(1001).await), 413);
        let announced = HeaderMap::from_iter([(CONTENT_LENGTH, "1001".parse().unwrap())]);
        assert_eq!(status(bodies.read(&announced, Body::empty()).await), 413);
        assert_eq!(bodies.bytes(), 0);
    }

    #[tokio::test]
    async fn all_bodies_share_their_memory() {
        let bodies = bodies(1000, 1500).await;
        let first = bodies.read(&HeaderMap::new(), Body::from(vec![0; 1000])).await.unwrap();
        assert_eq!(status(bodies.read(&HeaderMap::new(), Body::from(vec![0; 501])).await), 503);
        assert_eq!(status(bodies.read(&HeaderMap::new(), Body::from(vec![0; 500])).await), 200);
        drop(first);
        assert_eq!(bodies.bytes(), 0);
    }

    #[tokio::test]
    async fn the_bodies_of_one_tenant_have_limits_of_their_own() {
        let mut config = GatewayConfig::default();
        config.flow.default.bodies_bytes_max = Some(700);
        let reader = bodies_of(1000, 10_000, &config).await;
        let first = reader.read(&HeaderMap::new(), Body::from(vec![0; 500])).await.unwrap();
        assert_eq!(status(reader.read(&HeaderMap::new(), Body::from(vec![0; 201])).await), 429);
        assert_eq!(status(reader.read(&HeaderMap::new(), Body::from(vec![0; 200])).await), 200);
        drop(first);
        assert_eq!(status(reader.read(&HeaderMap::new(), Body::from(vec![0; 700])).await), 200);
        assert_eq!(reader.bytes(), 0);
    }

    #[tokio::test]
    async fn bytes_that_were_not_announced_are_charged_as_they_come() {
        let mut config = GatewayConfig::default();
        (config.flow.default.body_bytes_per_second, config.flow.default.body_bytes_burst) =
            (Some(1), Some(800));
        let reader = bodies_of(1000, 10_000, &config).await;
        let announced =
            |len: usize| HeaderMap::from_iter([(CONTENT_LENGTH, len.to_string().parse().unwrap())]);
        let body = || Body::from(vec![0; 500]);
        assert_eq!(status(reader.read(&announced(500), body()).await), 200);
        let refused = reader.read(&announced(500), body()).await.err().unwrap();
        assert_eq!((refused.status.as_u16(), &*refused.code), (429, "rate-limit"));
        assert!(refused.fields.is_some());
        assert_eq!(status(reader.read(&HeaderMap::new(), body()).await), 200);
        assert_eq!(status(reader.read(&HeaderMap::new(), body()).await), 429, "in debt");
    }

    #[tokio::test]
    async fn compressed_bodies_are_limited_by_what_they_become() {
        let bodies = bodies(1000, 10_000).await;
        let gzip = |len: usize| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(&vec![b'a'; len]).unwrap();
            encoder.finish().unwrap()
        };
        let good = bodies.read(&encoded("gzip"), Body::from(gzip(1000))).await.unwrap();
        assert_eq!(&good.bytes[..], [b'a'; 1000]);
        assert_eq!(status(bodies.read(&encoded("gzip"), Body::from(gzip(1001))).await), 413);
        assert_eq!(status(bodies.read(&encoded("gzip"), Body::from("no gzip")).await), 400);
        assert_eq!(status(bodies.read(&encoded("br"), Body::from("x")).await), 415);
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(b"deflated").unwrap();
        let body = Body::from(encoder.finish().unwrap());
        let deflated = bodies.read(&encoded("deflate"), body).await.unwrap();
        assert_eq!(&deflated.bytes[..], b"deflated");
    }
}
