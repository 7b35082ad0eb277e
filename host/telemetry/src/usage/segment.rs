//! A segment: a file of the journal that only grows. A header, then frames.
//!
//! Header (24 bytes): `AMUSAGE1`, the segment's random name as u64, the time of its making in seconds as
//! u64. Frame: length as u32, CRC-32 (ISO 3309) of the payload as u32, payload. Numbers are
//! little-endian. The file's name holds the sequence number of its first record. A frame of length 0
//! is no frame: files that lost power may end in zeros.

use super::disk::Disk;
use super::record::{MARK, RECORD_BYTES_MAX, UsageRecord};
use std::io;

const MAGIC: &[u8; 8] = b"AMUSAGE1";
/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: usize = 24;
/// Length and checksum of a frame.
const FRAME_BYTES: usize = 8;
/// Bytes that are read at once.
const BLOCK_BYTES: usize = 256 << 10;

/// What a segment is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Random, so that ids of records never meet again.
    pub(crate) nonce: u64,
    /// Seconds since 1970.
    pub(crate) created: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..16].copy_from_slice(&self.nonce.to_le_bytes());
        bytes[16..].copy_from_slice(&self.created.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<SegmentHeader> {
        let (magic, rest) = bytes.split_at_checked(8)?;
        let (nonce, rest) = rest.split_at_checked(8)?;
        let created = rest.get(..8)?;
        (magic == MAGIC).then_some(SegmentHeader {
            nonce: u64::from_le_bytes(nonce.try_into().ok()?),
            created: u64::from_le_bytes(created.try_into().ok()?),
        })
    }

    /// The header of a file; nothing if it is no segment.
    pub(crate) fn read(disk: &dyn Disk, name: &str) -> io::Result<Option<SegmentHeader>> {
        Ok(SegmentHeader::decode(&disk.read(name, 0, HEADER_BYTES)?))
    }
}

/// File name of the segment whose first record has this sequence number.
pub(crate) fn file_name(first: u64) -> String {
    format!("usage-{first:016x}.journal")
}

/// The sequence number in a segment's file name.
pub(crate) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("usage-")?.strip_suffix(".journal")?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// Appends a frame with a record.
pub(crate) fn put_record(record: &UsageRecord, out: &mut Vec<u8>) {
    put_frame(out, |out| record.encode(out));
}

/// Appends a frame that is no record.
pub(crate) fn put_mark(out: &mut Vec<u8>) {
    put_frame(out, |out| out.push(MARK));
}

fn put_frame(out: &mut Vec<u8>, payload: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_BYTES]);
    payload(out);
    let body = start + FRAME_BYTES;
    let len = u32::try_from(out.len() - body).expect("a record has at most 64 KiB");
    let crc = crc32fast::hash(&out[body..]);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..body].copy_from_slice(&crc.to_le_bytes());
}

/// Reads the records of a segment in order, up to the first frame that is not whole.
pub(crate) struct Frames<'a> {
    disk: &'a dyn Disk,
    name: String,
    /// Bytes of the file that may be read.
    end: u64,
    /// Where the next frame starts.
    offset: u64,
    block: Vec<u8>,
    /// How much of the block was read.
    used: usize,
}

impl<'a> Frames<'a> {
    /// From `offset`, which is where a frame starts, to `end`.
    pub(crate) fn new(disk: &'a dyn Disk, first: u64, offset: u64, end: u64) -> Frames<'a> {
        let offset = offset.max(HEADER_BYTES as u64);
        Frames { disk, name: file_name(first), end, offset, block: Vec::new(), used: 0 }
    }

    /// Where the next frame starts: behind the last one that was whole.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record; nothing at the end, or where the file is damaged.
    pub(crate) fn next(&mut self) -> io::Result<Option<UsageRecord>> {
        while let Some(payload) = self.frame()? {
            let body = &self.block[payload.clone()];
            let record = UsageRecord::decode(body);
            let mark = body == [MARK];
            if record.is_none() && !mark {
                return Ok(None);
            }
            self.offset += (FRAME_BYTES + payload.len()) as u64;
            self.used = payload.end;
            if record.is_some() {
                return Ok(record);
            }
        }
        Ok(None)
    }

    fn frame(&mut self) -> io::Result<Option<std::ops::Range<usize>>> {
        if !self.fill(FRAME_BYTES)? {
            return Ok(None);
        }
        let head = &self.block[self.used..self.used + FRAME_BYTES];
        let word = |at: usize| {
            head[at..at + 4].iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte))
        };
        let (len, crc) = (word(0) as usize, word(4));
        if len == 0 || len > RECORD_BYTES_MAX || !self.fill(FRAME_BYTES + len)? {
            return Ok(None);
        }
        let body = self.used + FRAME_BYTES..self.used + FRAME_BYTES + len;
        Ok((crc32fast::hash(&self.block[body.clone()]) == crc).then_some(body))
    }

    /// Makes `len` bytes available behind what was used; false if the file has not so many.
    fn fill(&mut self, len: usize) -> io::Result<bool> {
        if self.block.len() - self.used >= len {
            return Ok(true);
        }
        self.block.drain(..self.used);
        self.used = 0;
        let from = self.offset + self.block.len() as u64;
        let left = self.end.saturating_sub(from);
        let max = usize::try_from(left).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        if max > 0 {
            self.block.extend_from_slice(&self.disk.read(&self.name, from, max)?);
        }
        Ok(self.block.len() >= len)
    }
}
