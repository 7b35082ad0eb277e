//! What a file may claim.

/// Bounds that headers are held against before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of a picture, width times height. Default 67,108,864 (64 Mi).
    pub pixels_max: u64,
    /// Samples of a sound, of all channels together. Default 67,108,864 (64 Mi): 23 minutes of mono at
    /// 48 kHz.
    pub samples_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { pixels_max: 64 << 20, samples_max: 64 << 20 }
    }
}
