//! The time by which validity is judged, for a host whose own clock may be wrong.
//!
//! Witnesses state when they saw a checkpoint, so every verified cosignature is a lower bound of the
//! time. A host keeps the newest as its floor: setting its clock back revives nothing that has expired.

use std::time::SystemTime;

use crate::checks::CLOCK_FLOOR;
use crate::refusal::{Refusal, RefusalCode};
use crate::timestamp::Timestamp;

/// How far clocks may differ: 5 minutes.
pub const CLOCK_SKEW_SECONDS: u64 = 300;

/// The trusted time, and what to tell the operator about the clock of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedTime {
    /// The latest of the machine's clock, the floor and the newest cosignature.
    pub now: Timestamp,
    /// Whether the machine's clock is more than 5 minutes behind what was proved.
    pub clock_is_behind: bool,
}

impl TrustedTime {
    /// Judges the machine's clock `wall` by the `floor` that was proved before and the newest
    /// cosignature at hand, in seconds since 1970.
    ///
    /// # Errors
    /// `AMT-CLOCK` if the cosignature is more than 5 minutes ahead of both, or if nothing says a time
    /// after 2025-01-01.
    pub fn judge(
        wall: SystemTime,
        floor: Timestamp,
        cosigned: Option<u64>,
    ) -> Result<Self, Refusal> {
        let wall = Timestamp::from_system(wall);
        let known = wall.max(floor);
        let cosigned = cosigned.map_or(floor, Timestamp::from_unix);
        let refused = |expected: String, got: String| {
            let remedy = "set the clock of this machine; if it is right, a witness's is not";
            Err(Refusal::new(RefusalCode::Clock, expected, got, remedy))
        };
        if cosigned.as_unix() > known.as_unix().saturating_add(CLOCK_SKEW_SECONDS) {
            return refused(format!("a cosignature before {known}"), cosigned.to_string());
        }
        let now = known.max(cosigned);
        if now.as_unix() < CLOCK_FLOOR {
            return refused("a time after 2025-01-01".to_owned(), now.to_string());
        }
        let clock_is_behind = wall.as_unix().saturating_add(CLOCK_SKEW_SECONDS) < floor.as_unix();
        Ok(TrustedTime { now, clock_is_behind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const NOW: u64 = 1_795_168_800;

    fn judge(wall: u64, floor: u64, cosigned: Option<u64>) -> Result<(u64, bool), RefusalCode> {
        let wall = UNIX_EPOCH + Duration::from_secs(wall);
        TrustedTime::judge(wall, Timestamp::from_unix(floor), cosigned)
            .map(|time| (time.now.as_unix(), time.clock_is_behind))
            .map_err(|refusal| refusal.code)
    }

    #[test]
    fn the_latest_proof_of_time_counts() {
        assert_eq!(judge(NOW, 0, None), Ok((NOW, false)));
        assert_eq!(judge(NOW, NOW + 300, None), Ok((NOW + 300, false)));
        assert_eq!(judge(NOW, NOW + 301, None), Ok((NOW + 301, true)));
        assert_eq!(judge(NOW, 0, Some(NOW + 300)), Ok((NOW + 300, false)));
        assert_eq!(judge(NOW, 0, Some(NOW + 301)), Err(RefusalCode::Clock));
        assert_eq!(judge(NOW, NOW + 900, Some(NOW + 1000)), Ok((NOW + 1000, true)));
        assert_eq!(judge(0, NOW, None), Ok((NOW, true)));
        assert_eq!(judge(0, 0, None), Err(RefusalCode::Clock));
        assert_eq!(judge(NOW, 0, Some(u64::MAX)), Err(RefusalCode::Clock));
    }
}
