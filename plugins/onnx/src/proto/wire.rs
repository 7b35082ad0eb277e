//! Protobuf's wire format (protobuf.dev/programming-guides/encoding) over a file.
//!
//! Only a window of the file is in memory. Payloads of weights are skipped by their length, never
//! read. Every length is held against the message around it.

use aimass_sdk::files::File;
use aimass_sdk::{Error, Result};

/// Bytes that one read of the file brings.
const WINDOW_BYTES: u64 = 256 << 10;

/// A file that is read through a window.
pub(crate) struct Source {
    file: File,
    len: u64,
    window: Vec<u8>,
    window_start: u64,
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
    pub(crate) fn new(file: File) -> Source {
        let len = file.size();
        Source { file, len, window: Vec::new(), window_start: 0 }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Copies a range, which `parse` bounds by a limit of its own.
    pub(crate) fn read(&mut self, span: Span) -> Result<Vec<u8>> {
        if span.len() > WINDOW_BYTES {
            return self.file.read(span.start, span.len());
        }
        let at = self.fill(span.start, span.len())?;
        Ok(self.window[at..at + span.len() as usize].to_vec())
    }

    pub(crate) fn text(&mut self, span: Span) -> Result<String> {
        let bytes = self.read(span)?;
        String::from_utf8(bytes).map_err(|_| broken(span.start, "a name is not UTF-8"))
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
        let mut value = 0u64;
        for (i, byte) in bytes.iter().enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                *at += i as u64 + 1;
                return Ok(value);
            }
        }
        Err(broken(start, "a number has no end"))
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
        if start < self.window_start || start + len > end {
            let wanted = WINDOW_BYTES.max(len).min(self.len.saturating_sub(start));
            if wanted < len {
                return Err(broken(start, "the file ends too early"));
            }
            self.window = self.file.read(start, wanted)?;
            self.window_start = start;
            if (self.window.len() as u64) < len {
                return Err(broken(start, "the file ends too early"));
            }
        }
        Ok((start - self.window_start) as usize)
    }
}

/// The error of a file that is no ONNX model.
pub(crate) fn broken(at: u64, what: &str) -> Error {
    Error::input("onnx-file", format!("expected an ONNX model; at byte {at}: {what}"))
}
