//! A stream of frames, and the segments that end in it.

use aimass_sdk::prelude::*;

/// What no sample has as its number.
const NONE: i64 = -1;

/// Samples of a stream at most: 18,000 years at 16,000 a second.
const SAMPLES_MAX: i64 = 1 << 53;

/// When speech starts and ends; lengths are in samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) window: i64,
    pub(crate) threshold: f64,
    pub(crate) end_threshold: f64,
    pub(crate) min_speech: i64,
    pub(crate) min_silence: i64,
    pub(crate) pad: i64,
}

/// A stream between two calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stream {
    /// Samples so far.
    samples: i64,
    /// Where the speech started that goes on.
    start: i64,
    /// Where it may have ended.
    silence: i64,
    /// A segment whose end waits for what follows: its start, padded, and its end, not padded.
    waiting: [i64; 2],
}

impl Stream {
    /// Numbers of a state.
    pub(crate) const LEN: usize = 5;

    /// A new stream if the state is empty.
    ///
    /// # Errors
    /// `input/state` for what no call has answered.
    pub(crate) fn read(rules: &Rules, state: &[i64]) -> Result<Self> {
        let stream = match *state {
            [] => Stream { samples: 0, start: NONE, silence: NONE, waiting: [NONE; 2] },
            [samples, start, silence, first, end] => {
                Stream { samples, start, silence, waiting: [first, end] }
            }
            _ => return Err(Self::broken()),
        };
        let Stream { samples, start, silence, waiting: [first, end] } = stream;
        let past = |place: i64| (NONE..=samples).contains(&place);
        let valid = (0..=SAMPLES_MAX).contains(&samples)
            && samples % rules.window == 0
            && [start, silence, first, end].into_iter().all(past)
            && (silence == NONE || (start != NONE && start <= silence))
            && (first == NONE) == (end == NONE)
            && first <= end;
        if valid { Ok(stream) } else { Err(Self::broken()) }
    }

    fn broken() -> Error {
        Error::input(
            "state",
            "expected the state of the call before, or an empty one to start with",
        )
    }

    /// For the next call.
    pub(crate) fn write(&self) -> [i64; Self::LEN] {
        [self.samples, self.start, self.silence, self.waiting[0], self.waiting[1]]
    }

    /// Takes the next frame; NaN counts as neither speech nor silence.
    pub(crate) fn push(&mut self, rules: &Rules, probability: f64, segments: &mut Vec<[i64; 2]>) {
        let at = self.samples;
        self.samples = (at + rules.window).min(SAMPLES_MAX / rules.window * rules.window);
        if probability >= rules.threshold {
            self.silence = NONE;
            if self.start == NONE {
                self.start = at;
                return self.settle(rules, segments);
            }
        }
        if probability < rules.end_threshold && self.start != NONE {
            if self.silence == NONE {
                self.silence = at;
            }
            if at - self.silence >= rules.min_silence {
                self.close(rules, self.silence, segments);
            }
        }
        self.settle(rules, segments);
    }

    /// Ends the stream: what goes on ends here, and a new stream starts.
    pub(crate) fn end(&mut self, rules: &Rules, segments: &mut Vec<[i64; 2]>) {
        if self.start != NONE {
            self.close(rules, self.samples, segments);
        }
        let [first, end] = self.waiting;
        if end != NONE {
            segments.push([first, (end + rules.pad).min(self.samples)]);
        }
        *self = Stream { samples: 0, start: NONE, silence: NONE, waiting: [NONE; 2] };
    }

    /// Ends the speech that goes on; it waits for what follows if it was long enough.
    fn close(&mut self, rules: &Rules, end: i64, segments: &mut Vec<[i64; 2]>) {
        let start = core::mem::replace(&mut self.start, NONE);
        self.silence = NONE;
        if end - start <= rules.min_speech {
            return;
        }
        let mut pad = rules.pad;
        let [first, before] = self.waiting;
        if before != NONE {
            let between = start - before;
            // Neighbors that are too near share what lies between them.
            let share = if between < 2 * rules.pad { between / 2 } else { rules.pad };
            segments.push([first, before + share]);
            pad = share;
        }
        self.waiting = [(start - pad).max(0), end];
    }

    /// Answers the segment that waits if nothing can come near it any more.
    fn settle(&mut self, rules: &Rules, segments: &mut Vec<[i64; 2]>) {
        let [first, end] = self.waiting;
        let next = if self.start == NONE { self.samples } else { self.start };
        if end != NONE && next - end >= 2 * rules.pad {
            segments.push([first, end + rules.pad]);
            self.waiting = [NONE; 2];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules = Rules {
        window: 512,
        threshold: 0.5,
        end_threshold: 0.35,
        min_speech: 1024,
        min_silence: 1536,
        pad: 480,
    };

    fn segments(rules: &Rules, frames: &[f64], cuts: &[usize]) -> Vec<[i64; 2]> {
        let mut found = Vec::new();
        let mut state = Vec::new();
        let mut rest = frames;
        for cut in cuts.iter().copied().chain([usize::MAX]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            rest = later;
            let mut stream = Stream::read(rules, &state).unwrap();
            now.iter().for_each(|frame| stream.push(rules, *frame, &mut found));
            if cut == usize::MAX {
                stream.end(rules, &mut found);
            }
            state = stream.write().to_vec();
        }
        assert_eq!(Stream::read(rules, &state), Stream::read(rules, &[]));
        found
    }

    #[test]
    fn speech_ends_with_enough_silence() {
        let frames = |runs: &[(usize, f64)]| -> Vec<f64> {
            runs.iter().flat_map(|(count, value)| vec![*value; *count]).collect()
        };
        let talk = frames(&[(4, 0.0), (5, 0.9), (2, 0.1), (3, 0.9), (6, 0.1), (4, 0.6), (3, 0.4)]);
        assert_eq!(
            segments(&RULES, &talk, &[]),
            [[2048 - 480, 7168 + 480], [10_240 - 480, 13_824]]
        );
        let short = frames(&[(1, 0.0), (2, 0.9), (9, 0.0)]);
        assert_eq!(segments(&RULES, &short, &[]), Vec::<[i64; 2]>::new());
        let odd = frames(&[(3, 0.9), (3, f64::NAN)]);
        assert_eq!(segments(&RULES, &odd, &[]), [[0, 3072]]);
    }

    #[test]
    fn states_that_no_call_answered_are_refused() {
        let one = [512, -1, -1, -1, -1];
        assert!(Stream::read(&RULES, &one).is_ok());
        for (at, value) in
            [(0, -512), (0, 511), (0, i64::MAX), (1, 513), (2, 0), (3, 0), (4, 0), (1, -2)]
        {
            let mut state = one;
            state[at] = value;
            assert_eq!(Stream::read(&RULES, &state).unwrap_err().code, "state", "{state:?}");
        }
        assert!(Stream::read(&RULES, &one[1..]).is_err());
        assert!(Stream::read(&RULES, &[512, -1, -1, 512, 0]).is_err());
    }

    proptest! {
        #[test]
        fn calls_together_answer_what_one_call_does(
            frames in prop::collection::vec(0.0f64..1.0, 0..120),
            cuts in prop::collection::vec(0usize..30, 0..8),
            pad in 0i64..3000,
            min_silence in 0i64..2000,
        ) {
            let rules = Rules { pad, min_silence, ..RULES };
            prop_assert_eq!(segments(&rules, &frames, &cuts), segments(&rules, &frames, &[]));
        }

        #[test]
        fn segments_are_in_order_and_inside(frames in prop::collection::vec(0.0f64..1.0, 0..120)) {
            let mut done = 0;
            for [start, end] in segments(&RULES, &frames, &[]) {
                prop_assert!(done <= start && start < end && end <= frames.len() as i64 * 512);
                done = end;
            }
        }
    }
}
