//! What is known of every byte: whether it was written, and who touched it since which barrier.
//!
//! Two accesses race if they come from different threads, touch one byte, at least one writes, no
//! barrier orders them, and not both are atomic or strong (PTX ISA, "Memory Consistency Model").
//! Order between warps of a block is kept as vector clocks (FastTrack, Flanagan and Freund 2009);
//! blocks of one launch are never ordered.

/// How an access touches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Touch {
    /// Whether it reads.
    pub(crate) reads: bool,
    /// Whether it writes.
    pub(crate) writes: bool,
    /// Whether it is atomic, volatile, relaxed, acquire or release.
    pub(crate) strong: bool,
}

impl Touch {
    /// A plain load.
    pub(crate) const LOAD: Self = Self { reads: true, writes: false, strong: false };
    /// A plain store.
    pub(crate) const STORE: Self = Self { reads: false, writes: true, strong: false };
    /// An atomic.
    pub(crate) const ATOMIC: Self = Self { reads: true, writes: true, strong: true };
}

/// Who touches: a thread of a block at its warp's present clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// Linear index of the block.
    pub(crate) block: u32,
    /// Linear index of the thread in the block.
    pub(crate) thread: u32,
}

/// Packed access: valid, strong, block (28 bits), thread (10), clock (24).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Record(u64);

impl Record {
    fn new(who: Who, clock: u32, strong: bool) -> Self {
        let block = u64::from(who.block & 0xfff_ffff);
        Self(
            1 << 63
                | u64::from(strong) << 62
                | block << 34
                | u64::from(who.thread & 0x3ff) << 24
                | u64::from(clock & 0xff_ffff),
        )
    }

    fn is_valid(self) -> bool {
        self.0 >> 63 == 1
    }

    fn is_strong(self) -> bool {
        self.0 >> 62 & 1 == 1
    }

    fn who(self) -> Who {
        let (block, thread) = (self.0 >> 34 & 0xfff_ffff, self.0 >> 24 & 0x3ff);
        Who { block: block as u32, thread: thread as u32 }
    }

    fn clock(self) -> u32 {
        (self.0 & 0xff_ffff) as u32
    }
}

/// The last write and two readers of one byte.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cell {
    write: Record,
    reads: [Record; 2],
}

/// Vector clocks of the warps of a block.
#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    warps: usize,
    seen: Vec<u32>,
}

impl Clocks {
    /// Clocks of `warps` warps that have seen nothing of each other.
    pub(crate) fn new(warps: usize) -> Self {
        let mut clocks = Self { warps, seen: vec![0; warps * warps] };
        for warp in 0..warps {
            clocks.seen[warp * warps + warp] = 1;
        }
        clocks
    }

    /// The present clock of `warp`.
    pub(crate) fn own(&self, warp: usize) -> u32 {
        self.seen[warp * self.warps + warp]
    }

    /// Orders what the lanes of `warp` did before whatever they do next.
    pub(crate) fn advance(&mut self, warp: usize) {
        self.seen[warp * self.warps + warp] += 1;
    }

    /// A barrier of `members`: each has seen what all have seen.
    pub(crate) fn join(&mut self, members: &[usize]) {
        let warps = self.warps;
        for other in 0..warps {
            let latest = members.iter().map(|warp| self.seen[warp * warps + other]).max();
            for warp in members {
                self.seen[warp * warps + other] = latest.unwrap_or(0);
            }
        }
        for warp in members {
            self.advance(*warp);
        }
    }

    fn orders(&self, earlier: Record, who: Who) -> bool {
        let before = earlier.who();
        if before.block != who.block & 0xfff_ffff {
            return false;
        }
        if before.thread == who.thread {
            return true;
        }
        let (from, to) = ((before.thread / 32) as usize, (who.thread / 32) as usize);
        let seen = self.seen[to * self.warps + from];
        if from == to { earlier.clock() < seen } else { earlier.clock() <= seen }
    }
}

impl Cell {
    /// Notes an access; gives the thread of an earlier one that it races with, and whether that
    /// one wrote.
    pub(crate) fn touch(&mut self, who: Who, touch: Touch, clocks: &Clocks) -> Option<(Who, bool)> {
        let races = |earlier: Record| {
            let both_strong = touch.strong && earlier.is_strong();
            earlier.is_valid() && !both_strong && !clocks.orders(earlier, who)
        };
        let record = Record::new(who, clocks.own((who.thread / 32) as usize), touch.strong);
        if races(self.write) {
            return Some((self.write.who(), true));
        }
        if touch.writes {
            let reader = self.reads.into_iter().find(|reader| races(*reader));
            *self = Self { write: record, reads: [Record::default(); 2] };
            return reader.map(|reader| (reader.who(), false));
        }
        let same = self.reads.iter().position(|reader| reader.who() == who);
        let stale = self.reads.iter().position(|r| !r.is_valid() || clocks.orders(*r, who));
        self.reads[same.or(stale).unwrap_or(1)] = record;
        None
    }
}

/// Bytes of a page of cells.
const PAGE: usize = 1024;

/// Cells of one allocation, made when first touched and forgotten at the next launch.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    pages: Vec<Option<Box<Page>>>,
}

#[derive(Debug)]
struct Page {
    launch: u64,
    cells: [Cell; PAGE],
}

impl Shadow {
    /// Cells of `len` bytes.
    pub(crate) fn new(len: usize) -> Self {
        let mut pages = Vec::new();
        pages.resize_with(len.div_ceil(PAGE), || None);
        Self { pages }
    }

    /// The cell of the byte at `offset` in launch `launch`.
    pub(crate) fn cell(&mut self, offset: usize, launch: u64) -> &mut Cell {
        let page = self.pages[offset / PAGE]
            .get_or_insert_with(|| Box::new(Page { launch, cells: [Cell::default(); PAGE] }));
        if page.launch != launch {
            page.launch = launch;
            page.cells.fill(Cell::default());
        }
        &mut page.cells[offset % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(thread: u32) -> Who {
        Who { block: 3, thread }
    }

    #[test]
    fn a_barrier_orders_warps_and_its_absence_is_a_race() {
        let mut clocks = Clocks::new(2);
        let mut cell = Cell::default();
        assert_eq!(cell.touch(thread(0), Touch::STORE, &clocks), None);
        assert_eq!(cell.touch(thread(40), Touch::LOAD, &clocks), Some((thread(0), true)));
        clocks.join(&[0, 1]);
        assert_eq!(cell.touch(thread(40), Touch::LOAD, &clocks), None);
        assert_eq!(cell.touch(thread(1), Touch::STORE, &clocks), Some((thread(40), false)));
    }

    #[test]
    fn lanes_of_one_warp_need_a_barrier_too() {
        let mut clocks = Clocks::new(1);
        let mut cell = Cell::default();
        assert_eq!(cell.touch(thread(0), Touch::STORE, &clocks), None);
        assert_eq!(cell.touch(thread(0), Touch::LOAD, &clocks), None);
        assert!(cell.touch(thread(1), Touch::LOAD, &clocks).is_some());
        clocks.advance(0);
        assert_eq!(cell.touch(thread(1), Touch::LOAD, &clocks), None);
    }

    #[test]
    fn every_reader_of_an_epoch_forbids_a_write_by_another() {
        let clocks = Clocks::new(4);
        for writer in [0, 5, 99] {
            let mut cell = Cell::default();
            for reader in [0, 5, 99, 70] {
                assert_eq!(cell.touch(thread(reader), Touch::LOAD, &clocks), None);
            }
            assert!(cell.touch(thread(writer), Touch::STORE, &clocks).is_some());
        }
    }

    #[test]
    fn atomics_race_with_plain_accesses_alone_and_blocks_are_never_ordered() {
        let mut clocks = Clocks::new(1);
        let mut cell = Cell::default();
        let other = Who { block: 4, thread: 0 };
        assert_eq!(cell.touch(thread(0), Touch::ATOMIC, &clocks), None);
        assert_eq!(cell.touch(other, Touch::ATOMIC, &clocks), None);
        clocks.join(&[0]);
        assert_eq!(cell.touch(thread(0), Touch::LOAD, &clocks), Some((other, true)));
    }

    #[test]
    fn a_new_launch_forgets() {
        let mut shadow = Shadow::new(2000);
        let clocks = Clocks::new(1);
        assert_eq!(shadow.cell(1999, 1).touch(thread(0), Touch::STORE, &clocks), None);
        assert!(shadow.cell(1999, 1).touch(thread(1), Touch::LOAD, &clocks).is_some());
        assert_eq!(shadow.cell(1999, 2).touch(thread(1), Touch::LOAD, &clocks), None);
    }
}
