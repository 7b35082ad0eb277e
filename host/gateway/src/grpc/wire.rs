//! The Protocol Buffers encoding, as far as an infer request and its answer need it: read without
//! copies from one block, written into one block.
//!
//! Generated code would build a structure of everything that a message claims before anything is
//! checked, and 2 bytes on the wire can ask for 150 in memory. This reader hands out one field at a
//! time, so that its user counts first.

use bytes::BufMut;
use std::ops::Range;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireFault {
    #[error("the message ends inside a field")]
    End,
    #[error("a number has more than 64 bits")]
    Varint,
    #[error("wire type {0} does not exist")]
    WireType(u8),
    #[error("field number 0")]
    FieldZero,
    #[error("field {number} has wire type {got}, expected {expected}")]
    Type { number: u32, expected: &'static str, got: &'static str },
    #[error("field {0} is not UTF-8")]
    Utf8(u32),
}

/// One value of a message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Varint(u64),
    Fixed64(u64),
    /// Where the bytes lie in the block.
    Len(Range<usize>),
    Fixed32(u32),
}

/// A field's number and value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) number: u32,
    pub(crate) value: Value,
}

/// The fields of the message that lies in `block[at..end]`, in the order of the wire.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    block: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Fields<'a> {
    /// The message in `range` of `block`.
    pub(crate) fn of(block: &'a [u8], range: Range<usize>) -> Fields<'a> {
        let end = range.end.min(block.len());
        Fields { block, at: range.start.min(end), end }
    }

    /// The next field; none at the end of the message.
    pub(crate) fn next(&mut self) -> Result<Option<Field>, WireFault> {
        if self.at == self.end {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).map_err(|_| WireFault::Varint)?;
        if number == 0 {
            return Err(WireFault::FieldZero);
        }
        let value = match (key & 7) as u8 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.take()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| WireFault::End)?;
                if len > self.end - self.at {
                    return Err(WireFault::End);
                }
                let start = self.at;
                self.at += len;
                Value::Len(start..self.at)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.take()?)),
            other => return Err(WireFault::WireType(other)),
        };
        Ok(Some(Field { number, value }))
    }

    /// A number in groups of 7 bits, as packed fields hold them one after the other.
    pub(crate) fn varint(&mut self) -> Result<u64, WireFault> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.block[..self.end].get(self.at).ok_or(WireFault::End)?;
            self.at += 1;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(WireFault::Varint);
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(WireFault::Varint)
    }

    /// Whether all of the message was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireFault> {
        let bytes = self.block[self.at..self.end].first_chunk::<N>().ok_or(WireFault::End)?;
        self.at += N;
        Ok(*bytes)
    }
}

impl Field {
    /// Where a string, bytes or message lies.
    pub(crate) fn range(&self) -> Result<Range<usize>, WireFault> {
        match &self.value {
            Value::Len(range) => Ok(range.clone()),
            other => Err(self.wrong("a length", other)),
        }
    }

    /// A string.
    pub(crate) fn text<'a>(&self, block: &'a [u8]) -> Result<&'a str, WireFault> {
        std::str::from_utf8(&block[self.range()?]).map_err(|_| WireFault::Utf8(self.number))
    }

    /// A whole number or truth value.
    pub(crate) fn number(&self) -> Result<u64, WireFault> {
        match &self.value {
            Value::Varint(value) => Ok(*value),
            other => Err(self.wrong("a number", other)),
        }
    }

    /// A double.
    pub(crate) fn double(&self) -> Result<f64, WireFault> {
        match &self.value {
            Value::Fixed64(bits) => Ok(f64::from_bits(*bits)),
            other => Err(self.wrong("64 bits", other)),
        }
    }

    fn wrong(&self, expected: &'static str, got: &Value) -> WireFault {
        let got = match got {
            Value::Varint(_) => "a number",
            Value::Fixed64(_) => "64 bits",
            Value::Len(_) => "a length",
            Value::Fixed32(_) => "32 bits",
        };
        WireFault::Type { number: self.number, expected, got }
    }
}

/// Bytes that a number takes.
pub(crate) fn varint_len(value: u64) -> usize {
    // 7 bits a byte, at least one.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Writes a number.
pub(crate) fn put_varint(mut value: u64, out: &mut impl BufMut) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Writes the head of a string, bytes or message of `len` bytes; its bytes follow.
pub(crate) fn put_head(number: u32, len: usize, out: &mut impl BufMut) {
    put_varint(u64::from(number) << 3 | 2, out);
    put_varint(len as u64, out);
}

/// Writes a string or bytes.
pub(crate) fn put_bytes(number: u32, bytes: &[u8], out: &mut impl BufMut) {
    put_head(number, bytes.len(), out);
    out.put_slice(bytes);
}

/// Bytes that [`put_bytes`] writes for a field below 16.
pub(crate) fn bytes_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Sample {
        #[prost(uint64, tag = "1")]
        number: u64,
        #[prost(string, tag = "2")]
        text: String,
        #[prost(double, tag = "4")]
        double: f64,
        #[prost(fixed32, tag = "5")]
        bits: u32,
    }

    #[test]
    fn what_prost_writes_is_read_and_what_is_written_prost_reads() {
        let sample = Sample { number: u64::MAX, text: "é".repeat(100), double: 0.5, bits: 7 };
        let block = sample.encode_to_vec();
        let mut fields = Fields::of(&block, 0..block.len());
        assert_eq!(fields.next().unwrap().unwrap().number(), Ok(u64::MAX));
        assert_eq!(fields.next().unwrap().unwrap().text(&block), Ok(&*sample.text));
        assert_eq!(fields.next().unwrap().unwrap().double(), Ok(0.5));
        assert_eq!(fields.next().unwrap().unwrap().value, Value::Fixed32(7));
        assert_eq!(fields.next(), Ok(None));
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::MAX] {
            let mut out = Vec::new();
            put_varint(1 << 3, &mut out);
            put_varint(value, &mut out);
            assert_eq!(Sample::decode(&*out).unwrap().number, value);
            assert_eq!(out.len(), 1 + varint_len(value));
        }
        let mut out = Vec::new();
        put_bytes(2, &[b'x'; 200], &mut out);
        assert_eq!(Sample::decode(&*out).unwrap().text.len(), 200);
        assert_eq!(out.len(), bytes_len(200));
    }

    #[test]
    fn broken_messages_are_refused() {
        let fault = |block: &[u8]| {
            let mut fields = Fields::of(block, 0..block.len());
            loop {
                match fields.next() {
                    Ok(Some(_)) => {}
                    Ok(None) => return None,
                    Err(fault) => return Some(fault),
                }
            }
        };
        assert_eq!(fault(b""), None);
        assert_eq!(fault(b"\x0a\x05abcd"), Some(WireFault::End));
        assert_eq!(fault(b"\x08"), Some(WireFault::End));
        assert_eq!(fault(b"\x09\0\0\0"), Some(WireFault::End));
        assert_eq!(fault(b"\x0b"), Some(WireFault::WireType(3)));
        assert_eq!(fault(b"\x00\x00"), Some(WireFault::FieldZero));
        assert_eq!(fault(&[&[8][..], &[0xff; 9], &[2]].concat()), Some(WireFault::Varint));
        assert_eq!(fault(&[&[8][..], &[0xff; 10]].concat()), Some(WireFault::Varint));
        assert_eq!(fault(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Some(WireFault::End));
    }
}
