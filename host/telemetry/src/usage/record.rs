//! One call as the journal keeps it: a compact binary form, versioned by its first byte.

use std::borrow::Cow;
use std::sync::Arc;

/// First byte of a record that names no inner models.
const VERSION: u8 = 1;
/// First byte of a record that does.
const VERSION_WITH_MODELS: u8 = 2;
/// First byte of a mark: a frame that is no record, written to learn whether the disk takes writes.
pub(crate) const MARK: u8 = 0;
/// Longest text of a record, in bytes; longer ones are cut.
const TEXT_BYTES_MAX: usize = 512;
/// Most plugins of a record; further ones are left out.
const PLUGINS_MAX: usize = 64;
/// Most inner models of a record; further ones are left out.
const MODELS_MAX: usize = crate::call::INNER_MODELS_MAX;
/// Longest encoded record.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 10;

/// What a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UsageKind {
    /// One inference that a client waits for.
    Infer,
    /// One line of a batch job.
    Batch,
    /// A training step.
    Train,
    /// Compression of a model.
    Compress,
}

impl UsageKind {
    /// Every kind.
    pub const ALL: [UsageKind; 4] =
        [UsageKind::Infer, UsageKind::Batch, UsageKind::Train, UsageKind::Compress];

    /// Name in records and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            UsageKind::Infer => "infer",
            UsageKind::Batch => "batch",
            UsageKind::Train => "train",
            UsageKind::Compress => "compress",
        }
    }

    /// The kind of this name.
    pub fn of_name(name: &str) -> Option<UsageKind> {
        UsageKind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// What one call used, and who pays for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    /// When the call ended, in microseconds since 1970 (UTC).
    pub time_us: u64,
    /// What the call did.
    pub kind: UsageKind,
    /// Who pays.
    pub tenant: Arc<str>,
    /// Serving name of the model.
    pub model: Arc<str>,
    /// Version that answered; 0 if the call failed before one was chosen.
    pub version: u64,
    /// Plugins of that version's steps, as `publisher/name@version`, in order.
    pub plugins: Arc<[Arc<str>]>,
    /// Models that those plugins called, as `name@version`, each once.
    pub inner_models: Vec<Arc<str>>,
    /// `ok`, `cancelled`, or the family of the error.
    pub outcome: Cow<'static, str>,
    /// The request's id, as in `x-request-id`; empty if it had none.
    pub request: Arc<str>,
    /// Tokens, where the model's package says how to count them.
    pub tokens: Option<u64>,
    /// Bytes of all input tensors.
    pub bytes_in: u64,
    /// Bytes of all output tensors.
    pub bytes_out: u64,
    /// Time on a thread inside plugins, in nanoseconds.
    pub plugin_ns: u64,
    /// Time of the launches that computed the call's plans, in nanoseconds, divided among the calls
    /// that shared a launch.
    pub kernel_ns: u64,
    /// Time that the call's plans waited for the device, in nanoseconds.
    pub queue_ns: u64,
    /// From the request's admission to its record, in nanoseconds.
    pub wall_ns: u64,
}

impl UsageRecord {
    /// Appends the binary form.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let with_models = !self.inner_models.is_empty();
        out.push(if with_models { VERSION_WITH_MODELS } else { VERSION });
        out.push(self.kind as u8);
        for text in [&*self.tenant, &*self.model, &*self.outcome, &*self.request] {
            put_text(text, out);
        }
        put_texts(&self.plugins, PLUGINS_MAX, out);
        if with_models {
            put_texts(&self.inner_models, MODELS_MAX, out);
        }
        out.push(u8::from(self.tokens.is_some()));
        let numbers = [
            self.tokens.unwrap_or(0),
            self.time_us,
            self.version,
            self.bytes_in,
            self.bytes_out,
            self.plugin_ns,
            self.kernel_ns,
            self.queue_ns,
            self.wall_ns,
        ];
        for number in numbers {
            put_number(number, out);
        }
    }

    /// Reads the binary form; nothing if it is not one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<UsageRecord> {
        let mut rest = Reading(bytes);
        let with_models = match rest.byte()? {
            VERSION => false,
            VERSION_WITH_MODELS => true,
            _ => return None,
        };
        let kind = usize::from(rest.byte()?);
        let kind = *UsageKind::ALL.get(kind)?;
        let (tenant, model) = (rest.text()?.into(), rest.text()?.into());
        let (outcome, request) = (rest.text()?.to_owned(), rest.text()?.into());
        let plugins = rest.texts(PLUGINS_MAX)?.into();
        let inner_models = if with_models { rest.texts(MODELS_MAX)? } else { Vec::new() };
        let counted = rest.byte()? == 1;
        let mut numbers = [0; 9];
        for number in &mut numbers {
            *number = rest.number()?;
        }
        let [
            tokens,
            time_us,
            version,
            bytes_in,
            bytes_out,
            plugin_ns,
            kernel_ns,
            queue_ns,
            wall_ns,
        ] = numbers;
        rest.0.is_empty().then_some(UsageRecord {
            time_us,
            kind,
            tenant,
            model,
            version,
            plugins,
            inner_models,
            outcome: Cow::Owned(outcome),
            request,
            tokens: counted.then_some(tokens),
            bytes_in,
            bytes_out,
            plugin_ns,
            kernel_ns,
            queue_ns,
            wall_ns,
        })
    }
}

fn put_number(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    put_number(end as u64, out);
    out.extend_from_slice(&text.as_bytes()[..end]);
}

/// The first texts, at most `max`.
fn put_texts(texts: &[Arc<str>], max: usize, out: &mut Vec<u8>) {
    let texts = &texts[..texts.len().min(max)];
    put_number(texts.len() as u64, out);
    texts.iter().for_each(|text| put_text(text, out));
}

struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number of up to ten groups of seven bits, least first (LEB128).
    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            number |= group.checked_shl(shift).filter(|part| part >> shift == group)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number()?).ok().filter(|len| *len <= TEXT_BYTES_MAX)?;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn texts(&mut self, max: usize) -> Option<Vec<Arc<str>>> {
        let count = usize::try_from(self.number()?).ok().filter(|count| *count <= max)?;
        (0..count).map(|_| self.text().map(Arc::from)).collect()
    }
}

/// A record with a distinct value in every field.
#[cfg(test)]
pub(crate) fn sample(request: &str) -> UsageRecord {
    UsageRecord {
        time_us: 1_790_000_000_123_456,
        kind: UsageKind::Infer,
        tenant: "acme".into(),
        model: "minilm".into(),
        version: 3,
        plugins: ["aimass/wordpiece@0.1.0".into(), "aimass/pool@0.2.0".into()].into(),
        inner_models: vec!["tokens@4".into()],
        outcome: Cow::Borrowed("ok"),
        request: request.into(),
        tokens: Some(17),
        bytes_in: 200,
        bytes_out: 1536,
        plugin_ns: 41_000,
        kernel_ns: 9_000_000,
        queue_ns: 77,
        wall_ns: u64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(record: &UsageRecord) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes);
        bytes
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        for kind in UsageKind::ALL {
            let record = UsageRecord { kind, ..sample("r-1") };
            assert_eq!(UsageRecord::decode(&encoded(&record)), Some(record));
            assert_eq!(UsageKind::of_name(kind.name()), Some(kind));
        }
        let record = UsageRecord {
            tokens: None,
            plugins: [].into(),
            inner_models: Vec::new(),
            ..sample("")
        };
        assert_eq!(UsageRecord::decode(&encoded(&record)), Some(record));
    }

    #[test]
    fn a_record_without_inner_models_is_written_as_before_there_were_any() {
        let record = UsageRecord { inner_models: Vec::new(), ..sample("r") };
        let (without, with) = (encoded(&record), encoded(&sample("r")));
        assert_eq!((without[0], with[0]), (1, 2));
        assert_eq!(with.len() - without.len(), 1 + 1 + "tokens@4".len());
    }

    #[test]
    fn any_prefix_and_any_flipped_byte_is_refused_or_read_without_a_panic() {
        let bytes = encoded(&sample("r-1"));
        for end in 0..bytes.len() {
            assert_eq!(UsageRecord::decode(&bytes[..end]), None, "{end}");
        }
        for index in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[index] = 0xff;
            let _ = UsageRecord::decode(&damaged);
        }
    }

    #[test]
    fn long_texts_are_cut_at_a_character_and_the_record_stays_below_its_limit() {
        let long: Arc<str> = "ä".repeat(400).into();
        let record = UsageRecord {
            tenant: long.clone(),
            model: long.clone(),
            plugins: vec![long.clone(); 100].into(),
            inner_models: vec![long; 100],
            ..sample(&"ä".repeat(400))
        };
        let bytes = encoded(&record);
        assert!(bytes.len() <= RECORD_BYTES_MAX, "{}", bytes.len());
        let read = UsageRecord::decode(&bytes).unwrap();
        assert_eq!((read.tenant.len(), read.plugins.len()), (512, PLUGINS_MAX));
        assert_eq!(read.inner_models.len(), MODELS_MAX);
    }
}
