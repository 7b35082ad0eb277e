//! Where long decoding runs: threads for blocking work, as many at once as there are cores.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

/// The right to decode; calls wait for it in turn, each until its deadline.
pub(crate) struct Decoders {
    permits: Arc<Semaphore>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Busy {
    /// The deadline has passed first.
    Deadline,
    /// The work panicked.
    Panicked,
}

impl Decoders {
    /// At most `count` at once; at least one.
    pub(crate) fn new(count: usize) -> Arc<Decoders> {
        Arc::new(Decoders { permits: Arc::new(Semaphore::new(count.max(1))) })
    }

    /// Runs `work` on another thread.
    ///
    /// Work that is late, or whose caller is gone, runs to its end, which limits of its size keep
    /// near, and holds its place until then.
    ///
    /// # Errors
    /// [`Busy::Deadline`] if the answer is not there by `deadline`; [`Busy::Panicked`].
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let permits = self.permits.clone();
        let answer = async move {
            let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
            let work = move || {
                let answer = decoded(work);
                drop(permit);
                answer
            };
            tokio::task::spawn_blocking(work).await.unwrap_or(Err(Busy::Panicked))
        };
        timeout_at(deadline.into(), answer).await.unwrap_or(Err(Busy::Deadline))
    }
}

/// The answer of `work`.
///
/// # Errors
/// [`Busy::Panicked`]: decoders are other people's code, and read strangers' bytes.
pub(crate) fn decoded<T>(work: impl FnOnce() -> T) -> Result<T, Busy> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| Busy::Panicked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[tokio::test]
    async fn work_that_is_late_keeps_its_place_until_it_ends() {
        let decoders = Decoders::new(1);
        let soon = || Instant::now() + Duration::from_millis(50);
        let (end, ended) = mpsc::sync_channel::<()>(1);
        let late = decoders.run(soon(), move || ended.recv().is_ok());
        assert_eq!(late.await, Err(Busy::Deadline));
        assert_eq!(decoders.run(soon(), || 1).await, Err(Busy::Deadline));
        end.send(()).unwrap();
        let later = Instant::now() + Duration::from_secs(60);
        assert_eq!(decoders.run(later, || 2).await, Ok(2));
    }

    #[tokio::test]
    async fn work_that_panics_gives_its_place_back() {
        let decoders = Decoders::new(1);
        let later = || Instant::now() + Duration::from_secs(60);
        let panics = || -> u32 { panic!("on purpose") };
        assert_eq!(decoders.run(later(), panics).await, Err(Busy::Panicked));
        assert_eq!(decoders.run(later(), || 3).await, Ok(3));
        assert_eq!(decoded(panics), Err(Busy::Panicked));
    }
}
