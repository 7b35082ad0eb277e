//! Files of lines: the input, read on a thread, and the output, which knows how many lines it has.

use super::line::is_error;
use aimass_engine::{EngineError, Family};
use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Lines that are read ahead.
const AHEAD: usize = 16;
const BLOCK_BYTES: usize = 256 << 10;

/// One line of the input, or why it is none.
pub(super) type Text = Result<Bytes, String>;

/// The lines of the input file, in order.
pub(super) struct Source {
    lines: mpsc::Receiver<io::Result<Text>>,
    /// Lines of the whole file.
    pub(super) total: u64,
}

impl Source {
    /// Opens the file behind its first `skip` lines. It is counted whole first.
    pub(super) async fn open(
        path: PathBuf,
        bytes_max: usize,
        skip: u64,
    ) -> Result<Source, EngineError> {
        let named = format!("batch input {}", path.display());
        let opening = tokio::task::spawn_blocking(move || {
            let total = count(File::open(&path)?)?;
            let mut input = BufReader::with_capacity(BLOCK_BYTES, File::open(&path)?);
            for _ in 0..skip {
                read_line(&mut input, bytes_max)?;
            }
            Ok::<_, io::Error>((total, input))
        });
        let opened = opening.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let (total, mut input) = opened.map_err(|error| {
            EngineError::new(Family::InvalidInput, "batch-input", format!("{named}: {error}"))
        })?;
        let (sender, lines) = mpsc::channel(AHEAD);
        // It ends at the end of the file, or when nobody receives any more.
        tokio::task::spawn_blocking(move || {
            while let Some(line) = read_line(&mut input, bytes_max).transpose() {
                let broken = line.is_err();
                if sender.blocking_send(line).is_err() || broken {
                    return;
                }
            }
        });
        Ok(Source { lines, total })
    }

    /// The next line; nothing at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Text>, EngineError> {
        let line = self.lines.recv().await.transpose();
        line.map_err(|error| {
            EngineError::new(Family::Unavailable, "batch-input", format!("batch input: {error}"))
        })
    }
}

/// Lines of a file; a last one needs no line feed.
fn count(mut file: File) -> io::Result<u64> {
    let (mut block, mut lines, mut last) = (vec![0; BLOCK_BYTES], 0, b'\n');
    loop {
        let read = file.read(&mut block)?;
        if read == 0 {
            return Ok(lines + u64::from(last != b'\n'));
        }
        lines += block[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
        last = block[read - 1];
    }
}

/// The next line without its end. One that is too long is skipped.
fn read_line(input: &mut impl BufRead, bytes_max: usize) -> io::Result<Option<Text>> {
    let mut line = Vec::new();
    let read = input.by_ref().take(bytes_max as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Ok(line.into())));
    }
    if read <= bytes_max {
        return Ok(Some(Ok(line.into())));
    }
    input.skip_until(b'\n')?;
    Ok(Some(Err(format!("expected a line of at most {bytes_max} bytes"))))
}

/// The output file.
pub(super) struct Target {
    file: File,
    /// Whole lines that it has.
    pub(super) lines: u64,
    /// Lines among them that say an error.
    pub(super) failed: u64,
}

impl Target {
    /// Opens the file, making it if it is new, and cuts off a line that was not finished.
    pub(super) fn open(path: &Path) -> Result<Target, EngineError> {
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(path);
        let target = opened.and_then(|mut file| {
            let (mut lines, mut failed, mut whole) = (0, 0, 0);
            let mut input = BufReader::with_capacity(BLOCK_BYTES, &file);
            let mut line = Vec::new();
            loop {
                line.clear();
                let read = input.read_until(b'\n', &mut line)?;
                if line.last() != Some(&b'\n') {
                    break;
                }
                lines += 1;
                failed += u64::from(is_error(&line));
                whole += read as u64;
            }
            file.set_len(whole)?;
            file.seek(SeekFrom::Start(whole))?;
            Ok(Target { file, lines, failed })
        });
        target.map_err(|error| {
            let message = format!("batch output {}: {error}", path.display());
            EngineError::new(Family::InvalidInput, "batch-output", message)
        })
    }

    /// Adds a line; `answer` ends with its line feed.
    pub(super) fn write(&mut self, answer: &[u8]) -> Result<(), EngineError> {
        self.file.write_all(answer).map_err(|error| broken(&error))
    }

    /// Waits until the device has everything.
    pub(super) fn sync(&self) -> Result<(), EngineError> {
        self.file.sync_all().map_err(|error| broken(&error))
    }
}

fn broken(error: &io::Error) -> EngineError {
    EngineError::new(Family::Unavailable, "batch-output", format!("batch output: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_have_a_limit_and_the_last_needs_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        std::fs::write(&path, "first\n\n123456789\n1234567\nlast").unwrap();
        let mut source = Source::open(path.clone(), 8, 1).await.unwrap();
        assert_eq!(source.total, 5);
        let mut lines = Vec::new();
        while let Some(line) = source.next().await.unwrap() {
            lines.push(line.map_err(|error| error.contains("8 bytes")));
        }
        let expected = [Ok("".into()), Err(true), Ok("1234567".into()), Ok("last".into())];
        assert_eq!(lines, expected);
        let missing = Source::open(folder.path().join("none"), 8, 0).await.err().unwrap();
        assert!(missing.to_string().contains("none"), "{missing}");
    }

    #[test]
    fn output_goes_on_behind_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        std::fs::write(&path, "{\"a\":1}\n{\"error\":{}}\n{\"b\"").unwrap();
        let mut target = Target::open(&path).unwrap();
        assert_eq!((target.lines, target.failed), (2, 1));
        target.write(b"{\"c\":3}\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"a\":1}\n{\"error\":{}}\n{\"c\":3}\n");
    }
}
