//! Events as JSON lines at the end of a file.
//!
//! The last line says how far the export came, so that a crash between a line and the cursor repeats
//! nothing. A line that a crash cut short is removed.

use super::super::UsageError;
use super::super::disk::Disk;
use super::super::event::UsageEvent;
use super::super::journal::{Position, read, scan};
use super::{Refused, Target};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// How much of the end is read; more than the longest event.
const TAIL_BYTES: u64 = 256 << 10;
/// Records that are looked through at once for the last exported one.
const LOOK_RECORDS: usize = 4096;

pub(crate) struct JsonLines {
    file: File,
    /// Bytes of whole lines.
    len: u64,
}

/// Opens the file, making it if it is new; also returns the id of its last event.
pub(super) fn open(path: &Path) -> Result<(JsonLines, Option<String>), UsageError> {
    let failed = |error: std::io::Error| UsageError::Export {
        message: format!(
            "{}: {error}; gateway.telemetry.usage.export_file must be writable",
            path.display()
        ),
    };
    let options = OpenOptions::new().read(true).append(true).create(true).open(path);
    let mut file = options.map_err(failed)?;
    let end = file.metadata().map_err(failed)?.len();
    let start = end.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start)).map_err(failed)?;
    let mut tail = Vec::new();
    (&file).take(TAIL_BYTES).read_to_end(&mut tail).map_err(failed)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let len = start + whole as u64;
    if len < end {
        file.set_len(len).map_err(failed)?;
    }
    let last = tail[..whole].trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
    let last = last.and_then(|line| serde_json::from_slice::<UsageEvent>(line).ok());
    Ok((JsonLines { file, len }, last.map(|event| event.id)))
}

/// The cursor behind the record of this id, if it is among those that follow `cursor`.
pub(super) fn advance(
    disk: &dyn Disk,
    cursor: Position,
    last: Option<&str>,
) -> Result<Position, UsageError> {
    let Some(last) = last else { return Ok(cursor) };
    let failed = |error| UsageError::disk("read the journal", error);
    let segments: Vec<_> = scan(disk).map_err(failed)?.into();
    let mut from = cursor;
    loop {
        let (kept, next) = read(disk, &segments, from, LOOK_RECORDS).map_err(failed)?;
        let found = kept.iter().position(|one| one.id() == last);
        if let Some(found) = found {
            let behind = kept.get(found + 1).map_or(next, |following| following.position);
            return Ok(behind);
        }
        if kept.len() < LOOK_RECORDS {
            return Ok(cursor);
        }
        from = next;
    }
}

impl Target for JsonLines {
    fn send(&mut self, events: &[UsageEvent]) -> Result<(), Refused> {
        let mut lines = Vec::new();
        for event in events {
            serde_json::to_writer(&mut lines, event).expect("an event is JSON");
            lines.push(b'\n');
        }
        if let Err(error) = self.file.write_all(&lines) {
            // The batch comes again whole. If this fails too, its first lines come twice.
            let cut = self.file.set_len(self.len);
            let reason = match cut {
                Ok(()) => format!("export file: {error}"),
                Err(cut) => format!("export file: {error}; and {cut}"),
            };
            return Err(Refused { reason, retry_after: None });
        }
        self.len += lines.len() as u64;
        Ok(())
    }
}
