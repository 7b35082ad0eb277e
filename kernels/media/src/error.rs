//! Why a file is not decoded.

use std::fmt;

/// A format that is decoded here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JPEG: baseline and progressive, Huffman-coded, 8 bits.
    Jpeg,
    /// PNG, third edition.
    Png,
    /// WebP: lossy, lossless, with or without alpha.
    WebP,
    /// RIFF WAVE: PCM and IEEE float.
    Wav,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::WebP => "WebP",
            Format::Wav => "WAV",
        })
    }
}

/// Why a file is not decoded: what was expected, and what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The first bytes are of no format that is decoded here.
    #[error("expected {expected}, got bytes that start with {start:02x?}")]
    Unknown {
        /// Formats that would do.
        expected: &'static str,
        /// The first bytes, at most 8.
        start: Vec<u8>,
    },
    /// Another number of channels was asked for.
    #[error("channels: expected 1, 3 or 4, got {got}")]
    Channels {
        /// What was asked for.
        got: u32,
    },
    /// The picture has too many pixels.
    #[error(
        "a {format} picture of {width} x {height} has more than the {max} pixels that may be \
         decoded; send a smaller one, or have the limit raised"
    )]
    Pixels {
        /// The file's format.
        format: Format,
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit.
        max: u64,
    },
    /// The sound has too many samples.
    #[error(
        "{frames} frames of {channels} channels are more than the {max} samples that may be \
         decoded; send a shorter sound, or have the limit raised"
    )]
    Samples {
        /// Samples a channel.
        frames: u64,
        /// Channels.
        channels: u16,
        /// The limit.
        max: u64,
    },
    /// A part of the format that has no decoder here.
    #[error("{format}: {what} is not supported; expected {expected}")]
    Unsupported {
        /// The file's format.
        format: Format,
        /// What came.
        what: String,
        /// What would do.
        expected: &'static str,
    },
    /// The file ends before what its headers promise.
    #[error("{format}: the file is cut off: {what} takes {takes} bytes, {left} are there")]
    Truncated {
        /// The file's format.
        format: Format,
        /// The part that does not fit.
        what: &'static str,
        /// Bytes that it takes.
        takes: u64,
        /// Bytes that there are.
        left: u64,
    },
    /// The file breaks the rules of its format.
    #[error("{format}: {reason}")]
    Broken {
        /// The file's format.
        format: Format,
        /// Which rule, as the decoder says it.
        reason: String,
    },
    /// The memory for the samples has another size.
    #[error("the output takes {expected} bytes, got memory of {got}")]
    OutputSize {
        /// Bytes that the samples take.
        expected: usize,
        /// Bytes that were given.
        got: usize,
    },
}

impl MediaError {
    /// Whether a limit refuses the file; else the file itself, or what was asked for, is at fault.
    pub fn is_limit(&self) -> bool {
        match self {
            MediaError::Pixels { .. } | MediaError::Samples { .. } => true,
            MediaError::Unknown { .. }
            | MediaError::Channels { .. }
            | MediaError::Unsupported { .. }
            | MediaError::Truncated { .. }
            | MediaError::Broken { .. }
            | MediaError::OutputSize { .. } => false,
        }
    }

    /// Its code in the contract: `pixels`, `samples`, or `media` for everything else.
    pub fn code(&self) -> &'static str {
        match self {
            MediaError::Pixels { .. } => "pixels",
            MediaError::Samples { .. } => "samples",
            MediaError::Unknown { .. }
            | MediaError::Channels { .. }
            | MediaError::Unsupported { .. }
            | MediaError::Truncated { .. }
            | MediaError::Broken { .. }
            | MediaError::OutputSize { .. } => "media",
        }
    }

    pub(crate) fn broken(format: Format, reason: impl fmt::Display) -> MediaError {
        /// Bytes of a decoder's own words.
        const REASON_BYTES_MAX: usize = 200;
        let mut reason = reason.to_string();
        let end = (0..=reason.len().min(REASON_BYTES_MAX))
            .rev()
            .find(|&end| reason.is_char_boundary(end))
            .unwrap_or_default();
        reason.truncate(end);
        MediaError::Broken { format, reason }
    }

    pub(crate) fn unknown(expected: &'static str, data: &[u8]) -> MediaError {
        MediaError::Unknown { expected, start: data[..data.len().min(8)].to_vec() }
    }
}
