//! Tiles (C2SP `tlog-tiles`): a log's tree cut into files of 256 hashes, and proofs computed from them.
//!
//! A tile at level `l` and index `n` holds the roots of the 256 full subtrees of `256^l` entries each
//! from `256 n` on. A partial tile at the right edge has fewer. Nothing read from a source of tiles is
//! believed: what it yields is a proof, to be checked as any other.

use std::collections::BTreeMap;

use super::tree::{Hash, empty_root, node_hash};
use crate::refusal::{Refusal, RefusalCode};

/// Hashes of a full tile, and entries of a full bundle of entries.
pub const TILE_WIDTH: u64 = 256;

/// Where tiles come from: a folder, or a mirror.
pub trait TileSource {
    /// The file at `path`, such as `tile/0/x001/067.p/5`, of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// A refusal if there is none, or the source fails.
    fn tile(&mut self, path: &str, bytes_max: usize) -> Result<Vec<u8>, Refusal>;
}

/// `tile/<level>/<index>[.p/<width>]`; `level` is `entries` for bundles of entries.
pub fn tile_path(level: &str, index: u64, width: u64) -> String {
    let mut number = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        number = format!("x{:03}/{number}", rest % 1000);
        rest /= 1000;
    }
    let partial = if width < TILE_WIDTH { format!(".p/{width}") } else { String::new() };
    format!("tile/{level}/{number}{partial}")
}

/// A log of `size` entries, read tile by tile. Each tile is fetched once.
pub struct TileReader<'a> {
    source: &'a mut dyn TileSource,
    size: u64,
    tiles: BTreeMap<(u32, u64), Vec<Hash>>,
}

impl<'a> TileReader<'a> {
    /// A reader of the tree of the first `size` entries.
    pub fn new(source: &'a mut dyn TileSource, size: u64) -> Self {
        TileReader { source, size, tiles: BTreeMap::new() }
    }

    /// Root of the whole tree.
    ///
    /// # Errors
    /// `AMT-LOG` if a tile is missing or has another length.
    pub fn root(&mut self) -> Result<Hash, Refusal> {
        match self.size {
            0 => Ok(empty_root()),
            size => self.range(0, size),
        }
    }

    /// The inclusion proof of entry `index` (RFC 6962, §2.1.1), from the leaf up.
    ///
    /// # Errors
    /// As [`TileReader::root`], and `AMT-LOG` if there is no such entry.
    pub fn inclusion(&mut self, index: u64) -> Result<Vec<Hash>, Refusal> {
        if index >= self.size {
            return Err(no_tile("an entry of the log", &format!("index {index} of {}", self.size)));
        }
        let (mut start, mut end, mut proof) = (0, self.size, Vec::new());
        while end - start > 1 {
            let middle = start + split(end - start);
            if index < middle {
                proof.push(self.range(middle, end)?);
                end = middle;
            } else {
                proof.push(self.range(start, middle)?);
                start = middle;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    /// The consistency proof from the tree of `old` entries to this one (RFC 6962, §2.1.2).
    ///
    /// # Errors
    /// As [`TileReader::root`], and `AMT-LOG` if `old` is larger than this tree.
    pub fn consistency(&mut self, old: u64) -> Result<Vec<Hash>, Refusal> {
        if old > self.size {
            return Err(no_tile("an earlier size of the log", &format!("{old} of {}", self.size)));
        }
        if old == 0 || old == self.size {
            return Ok(Vec::new());
        }
        let (mut start, mut end, mut proof) = (0, self.size, Vec::new());
        while old != end {
            let middle = start + split(end - start);
            if old <= middle {
                proof.push(self.range(middle, end)?);
                end = middle;
            } else {
                proof.push(self.range(start, middle)?);
                start = middle;
            }
        }
        if start > 0 {
            proof.push(self.range(start, end)?);
        }
        proof.reverse();
        Ok(proof)
    }

    /// Root over entries `start..end`, a range that occurs in the tree.
    fn range(&mut self, start: u64, end: u64) -> Result<Hash, Refusal> {
        let length = end - start;
        if length.is_power_of_two() {
            return self.full(length.trailing_zeros(), start / length);
        }
        let middle = start + split(length);
        Ok(node_hash(&self.range(start, middle)?, &self.range(middle, end)?))
    }

    /// Root of the full subtree of `2^height` entries with this index.
    fn full(&mut self, height: u32, index: u64) -> Result<Hash, Refusal> {
        let (level, inside) = (height / 8, height % 8);
        let first = index << inside;
        let tile = self.tile(level, first / TILE_WIDTH)?;
        let at = (first % TILE_WIDTH) as usize;
        let mut row: Vec<Hash> =
            tile.get(at..at + (1 << inside)).map(<[Hash]>::to_vec).ok_or_else(|| {
                no_tile("a tile as wide as the size of the log says", "a narrower one")
            })?;
        while row.len() > 1 {
            row = row.chunks_exact(2).map(|pair| node_hash(&pair[0], &pair[1])).collect();
        }
        row.first().copied().ok_or_else(|| no_tile("a hash", "none"))
    }

    fn tile(&mut self, level: u32, index: u64) -> Result<&[Hash], Refusal> {
        if !self.tiles.contains_key(&(level, index)) {
            let whole = self.size >> (8 * level);
            let width = whole.saturating_sub(index * TILE_WIDTH).min(TILE_WIDTH);
            let path = tile_path(&level.to_string(), index, width);
            let bytes = self.source.tile(&path, 32 * TILE_WIDTH as usize)?;
            if bytes.len() as u64 != 32 * width {
                let got = format!("{} bytes", bytes.len());
                return Err(no_tile(&format!("{path} of {} bytes", 32 * width), &got));
            }
            let hashes = bytes.chunks_exact(32).map(|hash| std::array::from_fn(|at| hash[at]));
            self.tiles.insert((level, index), hashes.collect());
        }
        Ok(self.tiles.get(&(level, index)).map_or(&[], |tile| tile))
    }
}

/// The largest power of two below `length`, which is at least 2.
fn split(length: u64) -> u64 {
    1 << (63 - (length - 1).leading_zeros())
}

fn no_tile(expected: &str, got: &str) -> Refusal {
    Refusal::new(RefusalCode::Log, expected, got, "read the log from another mirror")
}
