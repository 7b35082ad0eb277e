//! Loads that failed for what may pass are tried again, later and later; a package that is at fault is not.

use crate::Family;
use crate::catalog::{Cell, CellState};
use crate::engine::Inner;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest time between two attempts, unless the first is later.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Has a version loaded again after a while, if it failed for what may pass and is wanted then.
pub(crate) fn retry_later(inner: &Arc<Inner>, cell: &Arc<Cell>) {
    let may_pass = cell.failure().is_some_and(|error| error.family() == Family::Unavailable);
    if !may_pass {
        cell.failures.store(0, Ordering::Relaxed);
        return;
    }
    let failures = cell.failures.fetch_add(1, Ordering::Relaxed);
    let pause = pause(inner.config.load_retry, failures);
    tracing::info!(model = %cell.name, version = cell.version, ?pause, "loaded again after a pause");
    let (inner, cell) = (Arc::downgrade(inner), Arc::downgrade(cell));
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        let (Some(inner), Some(cell)) = (inner.upgrade(), cell.upgrade()) else { return };
        let catalog = inner.catalog();
        let Ok(served) = catalog.model(&cell.name) else { return };
        let is_wanted = inner.wanted(served).any(|wanted| Arc::ptr_eq(wanted, &cell));
        // Somebody may have loaded it meanwhile.
        let is_again = is_wanted
            && cell.state.send_if_modified(|state| {
                let failed = matches!(state, CellState::Failed(_));
                if failed {
                    *state = CellState::Unloaded;
                }
                failed
            });
        if is_again {
            inner.start_loading(&cell);
        }
    });
}

/// Time before the next attempt, after so many failures in a row before this one.
fn pause(first: Duration, failures: u32) -> Duration {
    first.saturating_mul(2u32.saturating_pow(failures)).min(PAUSE_MAX.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let first = Duration::from_secs(10);
        let pauses = [0, 1, 2, 4, 5, 31, u32::MAX].map(|failures| pause(first, failures).as_secs());
        assert_eq!(pauses, [10, 20, 40, 160, 300, 300, 300]);
        assert_eq!(pause(Duration::from_secs(900), 3).as_secs(), 900);
    }
}
