//! The journal: segments in order, of which the last one grows. One thread writes.
//!
//! Every opening starts a new segment, so that nothing is ever written behind a damaged end. What a
//! crash left unfinished is cut off. Sequence numbers order records and never go back; the id of a record is its
//! segment's random name and its number, so that no two records share one even if a disk forgot the
//! end of a segment that was exported already.

use super::disk::{Appending, Disk};
use super::record::UsageRecord;
use super::segment::{self, Frames, HEADER_BYTES, SegmentHeader};
use super::{Durability, UsageConfig};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// What a file takes at least.
const FILE_BYTES_MIN: u64 = 4096;

/// Where a record is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Sequence number of the record.
    pub(crate) sequence: u64,
    /// First sequence number of its segment.
    pub(crate) segment: u64,
    /// Where its frame starts in the segment.
    pub(crate) offset: u64,
}

/// One file of the journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    /// Sequence number of its first record.
    pub(crate) first: u64,
    pub(crate) header: SegmentHeader,
    /// Bytes that hold whole frames, and the header.
    pub(crate) bytes: u64,
}

/// An open journal.
pub(crate) struct Journal {
    disk: Arc<dyn Disk>,
    durability: Durability,
    segment_bytes_max: u64,
    segments: VecDeque<Segment>,
    file: Option<Box<dyn Appending>>,
    next: u64,
}

impl Journal {
    /// Opens the journal: whatever is not a whole frame is cut off the last segment. Numbers go on from
    /// `at_least`, if that is beyond what the segments hold.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        config: &UsageConfig,
        at_least: u64,
    ) -> io::Result<Journal> {
        let mut next = at_least.max(clear(&*disk)?);
        let mut segments = scan(&*disk)?;
        if let Some(last) = segments.back_mut() {
            let mut frames = Frames::new(&*disk, last.first, 0, last.bytes);
            let mut count = 0;
            while frames.next()?.is_some() {
                count += 1;
            }
            if frames.offset() < last.bytes {
                disk.truncate(&segment::file_name(last.first), frames.offset())?;
                last.bytes = frames.offset();
            }
            next = next.max(last.first + count);
            if count == 0 {
                // Its name may be needed again.
                disk.remove(&segment::file_name(last.first))?;
                segments.pop_back();
            }
        }
        Ok(Journal {
            disk,
            durability: config.durability,
            segment_bytes_max: config.segment_bytes_max,
            segments,
            file: None,
            next,
        })
    }

    /// Number of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> &VecDeque<Segment> {
        &self.segments
    }

    /// Bytes of all segments on disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes.max(FILE_BYTES_MIN)).sum()
    }

    /// Whether the last segment is full, so that the next append starts another.
    pub(crate) fn is_full(&self) -> bool {
        let full = |last: &Segment| last.bytes >= self.segment_bytes_max;
        self.file.is_some() && self.segments.back().is_some_and(full)
    }

    /// Whether there is a segment that grows.
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Writes `count` records as frames; they are kept as the durability says when it returns.
    ///
    /// # Errors
    /// The disk's; none of the frames is in the journal then.
    pub(crate) fn append(&mut self, frames: &[u8], count: u64, now: u64) -> io::Result<()> {
        if self.file.is_none() || self.is_full() {
            self.start_segment(now)?;
        }
        let (Some(file), Some(last)) = (self.file.as_mut(), self.segments.back_mut()) else {
            return Err(io::Error::other("the journal has no open segment"));
        };
        let written = file.append(frames).and_then(|()| match self.durability {
            Durability::Os => Ok(()),
            Durability::Disk => file.sync(),
        });
        if let Err(error) = written {
            if file.cut(last.bytes).is_err() {
                // What follows a half-written frame would be lost: go on in another file.
                self.leave_segment();
            }
            return Err(error);
        }
        last.bytes += frames.len() as u64;
        self.next += count;
        Ok(())
    }

    /// Removes the oldest segment.
    pub(crate) fn remove_oldest(&mut self) -> io::Result<()> {
        if let Some(oldest) = self.segments.front() {
            self.disk.remove(&segment::file_name(oldest.first))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    fn start_segment(&mut self, now: u64) -> io::Result<()> {
        self.leave_segment();
        let mut nonce = [0; 8];
        getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
        let header = SegmentHeader { nonce: u64::from_le_bytes(nonce), created: now };
        let name = segment::file_name(self.next);
        let mut file = self.disk.create(&name)?;
        if let Err(error) = file.append(&header.encode()) {
            drop(file);
            // Without this the name would be taken when there is room again.
            self.disk.remove(&name)?;
            return Err(error);
        }
        self.segments.push_back(Segment { first: self.next, header, bytes: HEADER_BYTES as u64 });
        self.file = Some(file);
        Ok(())
    }

    /// Ends the last segment; one without records goes, its name is needed again.
    fn leave_segment(&mut self) {
        let Some(mut file) = self.file.take() else { return };
        if let Err(error) = file.sync() {
            tracing::warn!(%error, "a segment of the usage journal was not synced");
        }
        drop(file);
        let unused = |last: &Segment| last.first == self.next;
        if let Some(last) = self.segments.back().copied().filter(unused) {
            match self.disk.remove(&segment::file_name(last.first)) {
                Ok(()) => {
                    self.segments.pop_back();
                }
                // A number is skipped, so that another name is free.
                Err(_) => self.next += 1,
            }
        }
    }
}

/// The segments of a folder, oldest first. A file without a header is none: it was made and not written.
pub(crate) fn scan(disk: &dyn Disk) -> io::Result<VecDeque<Segment>> {
    let mut segments = Vec::new();
    for (name, bytes) in disk.list()? {
        let Some(first) = segment::first_of(&name) else { continue };
        if let Some(header) = SegmentHeader::read(disk, &name)? {
            segments.push(Segment { first, header, bytes });
        }
    }
    segments.sort_by_key(|segment| segment.first);
    Ok(segments.into())
}

/// Removes files that were made and not written. Others without a header are kept for people to look
/// at; returns the first number that none of their names has.
fn clear(disk: &dyn Disk) -> io::Result<u64> {
    let mut free = 0;
    for (name, bytes) in disk.list()? {
        let Some(first) = segment::first_of(&name) else { continue };
        if bytes < HEADER_BYTES as u64 {
            disk.remove(&name)?;
        } else if SegmentHeader::read(disk, &name)?.is_none() {
            tracing::error!(name, "a file of the usage journal is damaged; it is left out");
            free = free.max(first + 1);
        }
    }
    Ok(free)
}

/// One record as the journal keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    pub(crate) position: Position,
    /// Random name of its segment.
    pub(crate) nonce: u64,
    pub(crate) record: UsageRecord,
}

impl Kept {
    /// The record's id: the same whenever it is read.
    pub(crate) fn id(&self) -> String {
        format!("{:016x}-{}", self.nonce, self.position.sequence)
    }
}

/// At most `max` records from `from` on, and where to go on.
///
/// A damaged segment that is not the last ends early; what follows it is read.
pub(crate) fn read(
    disk: &dyn Disk,
    segments: &[Segment],
    from: Position,
    max: usize,
) -> io::Result<(Vec<Kept>, Position)> {
    let (mut kept, mut at) = (Vec::new(), from);
    for (index, segment) in segments.iter().enumerate() {
        let following = segments.get(index + 1).map(|next| next.first);
        if segment.first < at.segment {
            continue;
        }
        if segment.first > at.segment {
            at = Position { sequence: segment.first, segment: segment.first, offset: 0 };
        }
        let mut frames = Frames::new(disk, segment.first, at.offset, segment.bytes);
        // Frames of a batch that failed half-way may lie behind the last record.
        while kept.len() < max && following.is_none_or(|first| at.sequence < first) {
            at.offset = frames.offset();
            let Some(record) = frames.next()? else { break };
            kept.push(Kept { position: at, nonce: segment.header.nonce, record });
            at.sequence += 1;
            at.offset = frames.offset();
        }
        if kept.len() >= max {
            break;
        }
    }
    Ok((kept, at))
}
