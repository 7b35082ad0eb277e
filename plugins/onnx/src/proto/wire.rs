//! Protobuf's wire format (protobuf.dev/programming-guides/encoding) over a file.
//!
//! Only a window of the file is in memory. Payloads of weights are skipped by their length, never
//! read. Every length is held against the message around it.

use aimass_sdk::files::File;
use aimass_sdk::{Error, Result};

/// Bytes that one read of the file brings at most.
const WINDOW_BYTES_MAX: u64 = 256 << 10;
/// Bytes of the first read after a payload was skipped.
const WINDOW_BYTES_MIN: u64 = 4 << 10;

/// Where a model's bytes come from.
pub(crate) trait Bytes {
    /// Length in bytes.
    fn size(&self) -> u64;

    /// Copies `len` bytes from `offset`.
    ///
    /// # Errors
    /// If they are not there.
    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>>;
}

impl Bytes for File {
    fn size(&self) -> u64 {
        File::size(self)
    }

    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        File::read(self, offset, len)
    }
}

impl Bytes for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let end = offset.checked_add(len).and_then(|end| usize::try_from(end).ok());
        let range = end.and_then(|end| self.get(offset as usize..end));
        range.map(<[u8]>::to_vec).ok_or_else(|| broken(offset, "the file ends too early"))
    }
}

/// Bytes that are read through a window.
pub(crate) struct Source {
    bytes: Box<dyn Bytes>,
    len: u64,
    window: Vec<u8>,
    window_start: u64,
    /// Bytes of the next read: more, the longer reads follow each other.
    ahead: u64,
}

/// One field of a message: its number and where its value lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Field {
    pub(crate) number: u64,
    pub(crate) value: FieldValue,
}

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum FieldValue {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire type 2: bytes of the file.
    Bytes(Span),
}

/// A range of the file, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Span {
    pub(crate) fn len(self) -> u64 {
        self.end - self.start
    }
}

impl Source {
    pub(crate) fn new(bytes: impl Bytes + 'static) -> Source {
        let len = bytes.size();
        let (window, ahead) = (Vec::new(), WINDOW_BYTES_MAX);
        Source { bytes: Box::new(bytes), len, window, window_start: 0, ahead }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Copies a range, which `parse` bounds by a limit of its own.
    pub(crate) fn read(&mut self, span: Span) -> Result<Vec<u8>> {
        if span.len() > WINDOW_BYTES_MAX {
            return self.bytes.read(span.start, span.len());
        }
        Ok(self.view(span)?.to_vec())
    }

    /// A range of at most 256 KiB.
    fn view(&mut self, span: Span) -> Result<&[u8]> {
        let at = self.fill(span.start, span.len())?;
        Ok(&self.window[at..at + span.len() as usize])
    }

    /// Hands a text to `take`.
    pub(crate) fn text<V>(&mut self, span: Span, take: impl FnOnce(&str) -> V) -> Result<V> {
        let no_text = |_| broken(span.start, "a name is not UTF-8");
        if span.len() > WINDOW_BYTES_MAX {
            let bytes = self.bytes.read(span.start, span.len())?;
            return std::str::from_utf8(&bytes).map(take).map_err(no_text);
        }
        std::str::from_utf8(self.view(span)?).map(take).map_err(no_text)
    }

    /// The fields of the message at `span`, one by one.
    pub(crate) fn next_field(&mut self, at: &mut u64, span: Span) -> Result<Option<Field>> {
        if *at >= span.end {
            return Ok(None);
        }
        let tag = self.varint(at, span)?;
        let value = match tag & 7 {
            0 => FieldValue::Varint(self.varint(at, span)?),
            1 => FieldValue::Fixed64(u64::from_le_bytes(self.fixed(at, span)?)),
            5 => FieldValue::Fixed32(u32::from_le_bytes(self.fixed(at, span)?)),
            2 => {
                let len = self.varint(at, span)?;
                let end = at.checked_add(len).filter(|end| *end <= span.end);
                let end = end.ok_or_else(|| broken(*at, "a length passes its message's end"))?;
                let bytes = Span { start: *at, end };
                *at = end;
                FieldValue::Bytes(bytes)
            }
            _ => return Err(broken(*at, "an unknown wire type")),
        };
        Ok(Some(Field { number: tag >> 3, value }))
    }

    /// The next varint of a packed list or a message.
    pub(crate) fn varint(&mut self, at: &mut u64, span: Span) -> Result<u64> {
        let start = *at;
        let len = (span.end - start).min(10);
        let window = self.fill(start, len)?;
        let bytes = &self.window[window..window + len as usize];
        let (value, len) = varint(bytes).ok_or_else(|| broken(start, "a number has no end"))?;
        *at += len as u64;
        Ok(value)
    }

    /// Fields that follow each other with the one-byte tag `tag`, as far as the window has them: hands
    /// each value to `take`. `at` stands behind the last of them then.
    pub(crate) fn same_varints(
        &mut self,
        at: &mut u64,
        span: Span,
        tag: u8,
        mut take: impl FnMut(u64),
    ) {
        let Some(start) = at.checked_sub(self.window_start) else { return };
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let end = span.end.saturating_sub(self.window_start).min(self.window.len() as u64) as usize;
        let mut rest = self.window.get(start..end).unwrap_or_default();
        while let Some((&first, after)) = rest.split_first()
            && first == tag
            && let Some((value, len)) = varint(after)
        {
            take(value);
            *at += 1 + len as u64;
            rest = &after[len..];
        }
    }

    pub(crate) fn fixed<const N: usize>(&mut self, at: &mut u64, span: Span) -> Result<[u8; N]> {
        if span.end - *at < N as u64 {
            return Err(broken(*at, "a number passes its message's end"));
        }
        let window = self.fill(*at, N as u64)?;
        *at += N as u64;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.window[window..window + N]);
        Ok(bytes)
    }

    /// Brings `start..start + len` into the window; answers where it starts there.
    fn fill(&mut self, start: u64, len: u64) -> Result<usize> {
        let end = self.window_start + self.window.len() as u64;
        if start < self.window_start || len > end.saturating_sub(start) {
            let left = self.len.checked_sub(start).filter(|left| *left >= len);
            let left = left.ok_or_else(|| broken(start, "the file ends too early"))?;
            // A start within the window or right behind it goes on; any other one skips a payload.
            let goes_on = (self.window_start..=end).contains(&start);
            let wanted = if goes_on { self.ahead } else { WINDOW_BYTES_MIN };
            self.ahead = (2 * wanted).min(WINDOW_BYTES_MAX);
            self.window = self.bytes.read(start, wanted.max(len).min(left))?;
            self.window_start = start;
            if (self.window.len() as u64) < len {
                return Err(broken(start, "the file ends too early"));
            }
        }
        Ok((start - self.window_start) as usize)
    }
}

/// The number at the start of `bytes`, and how many of them it takes: ten at most.
fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// The error of a file that is no ONNX model.
pub(crate) fn broken(at: u64, what: &str) -> Error {
    Error::input("onnx-file", format!("expected an ONNX model; at byte {at}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<Field>> {
        let mut source = Source::new(bytes.to_vec());
        let span = Span { start: 0, end: source.len() };
        let (mut at, mut fields) = (0, Vec::new());
        while let Some(field) = source.next_field(&mut at, span)? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn every_wire_type_is_read() {
        let field = |number, value| Field { number, value };
        let bytes = [
            &[0x08, 0xac, 0x02][..],
            &[0x11, 1, 0, 0, 0, 0, 0, 0, 0x80],
            &[0x1d, 0xff, 0, 0, 0],
            &[0x22, 2, 7, 7],
            &[0x80, 0x08, 0x00],
        ]
        .concat();
        assert_eq!(
            fields(&bytes).unwrap(),
            [
                field(1, FieldValue::Varint(300)),
                field(2, FieldValue::Fixed64(1 << 63 | 1)),
                field(3, FieldValue::Fixed32(255)),
                field(4, FieldValue::Bytes(Span { start: 19, end: 21 })),
                field(128, FieldValue::Varint(0)),
            ]
        );
    }

    #[test]
    fn what_passes_the_end_is_refused() {
        for bytes in [
            &[0x80][..],
            &[0x08],
            &[0x08, 0x80],
            &[0x11, 1, 2],
            &[0x1d, 1],
            &[0x22, 3, 1, 1],
            &[0x22, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x0b],
            &[0x0f],
            &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01],
        ] {
            assert!(fields(bytes).is_err(), "{bytes:?}");
        }
        let largest = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&largest).unwrap()[0].value, FieldValue::Varint(u64::MAX));
    }

    #[test]
    fn payloads_are_skipped_and_the_window_grows_again() {
        let mut bytes = Vec::new();
        for len in [10u32, 300_000, 5_000, 20] {
            bytes.push(0x22);
            let mut rest = len;
            while rest > 0x7f {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            bytes.resize(bytes.len() + len as usize, 0);
        }
        let lens = fields(&bytes).unwrap().into_iter().map(|field| match field.value {
            FieldValue::Bytes(span) => span.len(),
            _ => 0,
        });
        assert_eq!(lens.collect::<Vec<u64>>(), [10, 300_000, 5_000, 20]);
    }

    #[test]
    fn runs_of_one_field_are_read_at_once() {
        let bytes = vec![0x40, 1, 0x40, 0x80, 2, 0x40, 3, 0x48, 4, 0x40];
        let mut source = Source::new(bytes);
        let span = Span { start: 0, end: source.len() };
        let (mut at, mut values) = (0, Vec::new());
        source.varint(&mut 0, span).unwrap();
        source.same_varints(&mut at, span, 0x40, |value| values.push(value));
        assert_eq!((values, at), (vec![1, 256, 3], 7));
        let within = Span { start: 0, end: 4 };
        let mut count = 0;
        source.same_varints(&mut 0, within, 0x40, |_| count += 1);
        assert_eq!(count, 1, "a number that passes the message's end is left to its reader");
    }
}
