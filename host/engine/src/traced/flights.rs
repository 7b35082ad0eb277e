//! One request makes what several miss; the others wait for it.

use crate::{EngineError, Family};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// What is being made.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Flight {
    /// The first stage for inputs whose shapes, batch extents aside, have this digest.
    Root(u64),
    /// The stage behind this one for observed content of this digest.
    Child(u64, u64),
    /// Whatever follows this stage: whoever made it is about to go on, and goes first.
    Next(u64),
}

/// The failure of a flight, and the digest of exactly what was asked.
type Failure = Option<(u64, EngineError)>;

/// What is being made now.
#[derive(Default)]
pub(crate) struct Flights {
    open: Mutex<HashMap<Flight, watch::Receiver<Failure>>>,
}

/// The right to make something. Dropping it wakes those who wait.
pub(crate) struct FlightGuard {
    flights: Arc<Flights>,
    flight: Flight,
    failure: watch::Sender<Failure>,
}

/// Who makes it.
pub(crate) enum Entered {
    /// The caller.
    Leader(FlightGuard),
    /// Somebody else.
    Busy(Waiter),
}

/// Waits for somebody else's flight.
pub(crate) struct Waiter(watch::Receiver<Failure>);

impl Flights {
    /// Takes the flight, unless it or `first` is under way.
    pub(crate) fn enter(self: &Arc<Flights>, flight: Flight, first: Option<Flight>) -> Entered {
        let mut open = self.lock();
        let busy = first.and_then(|first| open.get(&first)).or_else(|| open.get(&flight));
        if let Some(busy) = busy {
            return Entered::Busy(Waiter(busy.clone()));
        }
        let (failure, receiver) = watch::channel(None);
        open.insert(flight, receiver);
        Entered::Leader(FlightGuard { flights: self.clone(), flight, failure })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Flight, watch::Receiver<Failure>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlightGuard {
    /// Tells those who wait, and asked for exactly this, why there is nothing.
    pub(crate) fn fail(&self, asked: u64, error: &EngineError) {
        self.failure.send_replace(Some((asked, error.clone())));
    }
}

impl Drop for FlightGuard {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.flight);
    }
}

impl Waiter {
    /// Returns when the flight is over.
    ///
    /// # Errors
    /// The leader's, if it asked for exactly the same; the deadline.
    pub(crate) async fn wait(mut self, asked: u64, deadline: Instant) -> Result<(), EngineError> {
        let over = async {
            // Ends when the leader has gone.
            while self.0.changed().await.is_ok() {}
        };
        if tokio::time::timeout_at(deadline.into(), over).await.is_err() {
            return Err(deadline_passed());
        }
        match &*self.0.borrow() {
            Some((failed, error)) if *failed == asked => Err(error.clone()),
            Some(_) | None => Ok(()),
        }
    }
}

/// The deadline passed before a stage was made.
pub(crate) fn deadline_passed() -> EngineError {
    let message = "step format: the deadline passed before the model was traced for this input; it \
                   goes on being traced, try again";
    EngineError::new(Family::Deadline, "deadline", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn leader(entered: Entered) -> FlightGuard {
        match entered {
            Entered::Leader(guard) => guard,
            Entered::Busy(_) => panic!("expected to lead"),
        }
    }

    fn busy(entered: Entered) -> Waiter {
        match entered {
            Entered::Leader(_) => panic!("expected to wait"),
            Entered::Busy(waiter) => waiter,
        }
    }

    #[tokio::test]
    async fn one_leads_and_the_others_wait_until_it_is_gone() {
        let flights = Arc::new(Flights::default());
        let guard = leader(flights.enter(Flight::Child(1, 2), None));
        let waiter = busy(flights.enter(Flight::Child(1, 2), None));
        leader(flights.enter(Flight::Child(1, 3), None));
        let soon = Instant::now() + Duration::from_millis(20);
        let other = busy(flights.enter(Flight::Child(1, 2), None));
        let error = other.wait(2, soon).await.unwrap_err();
        assert_eq!(error.family(), Family::Deadline);
        drop(guard);
        waiter.wait(2, Instant::now() + Duration::from_secs(9)).await.unwrap();
        leader(flights.enter(Flight::Child(1, 2), None));
    }

    #[tokio::test]
    async fn a_failure_reaches_those_who_asked_the_same() {
        let flights = Arc::new(Flights::default());
        let guard = leader(flights.enter(Flight::Root(1), None));
        let same = busy(flights.enter(Flight::Root(1), None));
        let other = busy(flights.enter(Flight::Root(1), None));
        guard.fail(7, &EngineError::invalid("no"));
        drop(guard);
        let later = Instant::now() + Duration::from_secs(9);
        assert_eq!(same.wait(7, later).await.unwrap_err().message(), "no");
        other.wait(8, later).await.unwrap();
    }

    #[tokio::test]
    async fn whoever_made_a_stage_goes_on_first() {
        let flights = Arc::new(Flights::default());
        let next = leader(flights.enter(Flight::Next(1), None));
        busy(flights.enter(Flight::Child(1, 2), Some(Flight::Next(1))));
        let own = leader(flights.enter(Flight::Child(1, 2), None));
        drop(next);
        busy(flights.enter(Flight::Child(1, 2), Some(Flight::Next(1))));
        leader(flights.enter(Flight::Child(1, 3), Some(Flight::Next(1))));
        drop(own);
    }
}
