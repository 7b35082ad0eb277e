//! Recordings of a program's launches, one for each set of extents that comes again.

use aimass_cuda::{Memory, Replay};
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// Recordings that a program keeps.
const KEPT_MAX: usize = 32;
/// Sets of extents that are remembered until they come again.
const SEEN_MAX: usize = 64;

/// What a recording depends on: the extents of all inputs.
pub(super) type Extents = Vec<usize>;

/// One recording and the memory that its launches read and write.
struct Kept {
    extents: Extents,
    working: Weak<Memory>,
    replay: Arc<Replay>,
}

/// Recordings by extents, the one used last at the end.
#[derive(Default)]
pub(super) struct Replays {
    kept: VecDeque<Kept>,
    seen: VecDeque<Extents>,
}

impl Replays {
    /// The recording for these extents in this memory. Those in other memory, which has been
    /// replaced, are dropped.
    pub(super) fn find(&mut self, extents: &Extents, working: &Arc<Memory>) -> Option<Arc<Replay>> {
        self.kept.retain(|kept| std::ptr::eq(kept.working.as_ptr(), Arc::as_ptr(working)));
        let at = self.kept.iter().position(|kept| kept.extents == *extents)?;
        let kept = self.kept.remove(at)?;
        let replay = kept.replay.clone();
        self.kept.push_back(kept);
        Some(replay)
    }

    /// Whether these extents came before, and remembers them.
    pub(super) fn seen(&mut self, extents: &Extents) -> bool {
        if self.seen.contains(extents) {
            return true;
        }
        if self.seen.len() == SEEN_MAX {
            self.seen.pop_front();
        }
        self.seen.push_back(extents.clone());
        false
    }

    /// Keeps a recording, in place of the one that was not used for the longest time.
    pub(super) fn keep(&mut self, extents: Extents, working: &Arc<Memory>, replay: Arc<Replay>) {
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        let working = Arc::downgrade(working);
        self.kept.push_back(Kept { extents, working, replay });
    }

    /// Recordings that are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}
