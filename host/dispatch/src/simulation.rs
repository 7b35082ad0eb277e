//! Whole histories of the queue on a simulated clock: nothing sleeps, nothing is random but its seed.

mod deadlines;
mod fair_shares;
mod histories;

use crate::plan_record::{Load, PlanRecord};
use crate::queue::{Expired, Next, Queue, Waiting};
use crate::{DispatchConfig, DispatchError, SlotKey};
use aimass_graph::Signature;
use std::sync::Arc;
use std::time::{Duration, Instant};

const US: Duration = Duration::from_micros(1);
const MS: Duration = Duration::from_millis(1);

/// A call as a test writes it down.
#[derive(Clone, Debug)]
struct Arrival {
    tenant: u8,
    /// Plan that is called; 9 and above run alone.
    plan: u8,
    /// Rows, units of work and bytes at once.
    size: u64,
    timeout: Duration,
    slot: Option<u8>,
}

impl Arrival {
    fn new(tenant: u8, plan: u8, size: u64) -> Arrival {
        Arrival { tenant, plan, size, timeout: 3600 * 1000 * MS, slot: None }
    }

    fn within(self, timeout: Duration) -> Arrival {
        Arrival { timeout, ..self }
    }
}

/// One launch of the past.
struct Launch {
    start: Instant,
    end: Instant,
    /// Names of its calls.
    calls: Vec<u32>,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Refused,
    Late,
    TooNear,
    Cancelled,
}

/// A queue before a machine that takes a fixed time a launch, and some for each unit of work.
struct World {
    queue: Queue<u32>,
    now: Instant,
    fixed: Duration,
    unit: Duration,
    plans: Vec<Arc<PlanRecord>>,
    arrivals: Vec<Arrival>,
    deadlines: Vec<Instant>,
    /// By call: its name in the queue while it waits.
    waits: Vec<Option<u64>>,
    outcomes: Vec<Vec<Outcome>>,
    launches: Vec<Launch>,
}

impl World {
    fn new(config: DispatchConfig) -> World {
        let signature = Signature { inputs: vec![], outputs: vec![] };
        World {
            queue: Queue::new(config),
            now: Instant::now(),
            fixed: MS,
            unit: 10 * US,
            plans: (0..12).map(|key| Arc::new(PlanRecord::new([key; 32], &signature))).collect(),
            arrivals: Vec::new(),
            deadlines: Vec::new(),
            waits: Vec::new(),
            outcomes: Vec::new(),
            launches: Vec::new(),
        }
    }

    /// As if every plan had run often, at all sizes.
    fn measured(mut self) -> World {
        for size in 0..16 {
            for _ in 0..60 {
                let work = 1 << size;
                let took = self.takes(work);
                self.plans.iter().for_each(|plan| plan.measured(work, took, self.now));
            }
        }
        self.now += MS;
        self
    }

    fn takes(&self, work: u64) -> Duration {
        self.fixed + self.unit * u32::try_from(work).unwrap()
    }

    /// A call arrives; its name, counted from 0.
    fn arrive(&mut self, arrival: Arrival) -> u32 {
        let name = self.arrivals.len() as u32;
        let tenant: Arc<str> = Arc::from(format!("t{}", arrival.tenant));
        let Arrival { plan, size, .. } = arrival;
        let waiting = Waiting {
            group: (plan < 9 && arrival.slot.is_none()).then_some(([plan; 32], 0)),
            record: self.plans[usize::from(plan)].clone(),
            load: Load { rows: size as usize, bytes: size, work: size },
            slot: arrival.slot.map(|slot| SlotKey {
                tenant: tenant.clone(),
                model_version: Arc::from("m@1"),
                sequence: Arc::from(format!("{slot}")),
            }),
            tenant,
            input_bytes: size,
            arrived: self.now,
            deadline: self.now + arrival.timeout,
            probe: false,
            item: name,
        };
        let pushed = self.queue.push(waiting, self.now);
        let refused = pushed.as_ref().err().map(|error| match error {
            DispatchError::Overloaded { .. } | DispatchError::Quota { .. } => Outcome::Refused,
            other => panic!("{other}"),
        });
        self.outcomes.push(refused.into_iter().collect());
        self.waits.push(pushed.ok());
        self.deadlines.push(self.now + arrival.timeout);
        self.arrivals.push(arrival);
        name
    }

    /// The caller goes away, if its call still waits.
    fn cancel(&mut self, call: u32) {
        let waits = self.waits.get(call as usize).copied().flatten();
        if let Some(waiting) = waits.and_then(|id| self.queue.remove(id)) {
            assert_eq!(waiting.item, call);
            self.outcomes[call as usize].push(Outcome::Cancelled);
        }
    }

    /// Runs the next launch to its end; `None` if nothing is ripe.
    fn launch(&mut self) -> Option<&Launch> {
        for (waiting, why) in self.queue.expire(self.now) {
            let outcome = match why {
                Expired::Late => Outcome::Late,
                Expired::TooNear { .. } => Outcome::TooNear,
            };
            self.outcomes[waiting.item as usize].push(outcome);
        }
        let Next::Launch(calls) = self.queue.next(self.now) else { return None };
        let work = calls.iter().map(|call| call.load.work).sum();
        let (start, took) = (self.now, self.takes(work));
        self.now += took;
        calls[0].record.measured(work, took, self.now);
        for call in &calls {
            assert!(call.deadline > start, "a call past its deadline runs");
            self.outcomes[call.item as usize].push(Outcome::Answered);
        }
        let calls = calls.iter().map(|call| call.item).collect();
        self.launches.push(Launch { start, end: self.now, calls });
        self.launches.last()
    }

    /// Names of the calls of the next launch.
    fn next(&mut self) -> Vec<u32> {
        self.launch().map(|launch| launch.calls.clone()).unwrap_or_default()
    }

    /// When nothing is ripe: the moment when something will be.
    fn ripe_at(&mut self) -> Option<Instant> {
        match self.queue.next(self.now) {
            Next::Wait(at) => at,
            Next::Launch(calls) => panic!("{} calls are ripe", calls.len()),
        }
    }

    /// Launches until nothing waits.
    fn finish(&mut self) {
        loop {
            while self.launch().is_some() {}
            match self.ripe_at() {
                Some(at) => self.now = at,
                None => return,
            }
        }
    }

    /// How a call ended.
    fn outcome(&self, call: u32) -> Outcome {
        let outcomes = &self.outcomes[call as usize];
        assert_eq!(outcomes.len(), 1, "call {call} ends once: {outcomes:?}");
        outcomes[0]
    }

    /// Calls whose launch ended before their deadline.
    fn in_time(&self) -> usize {
        let launched = self.launches.iter().flat_map(|launch| {
            launch.calls.iter().map(|&call| launch.end <= self.deadlines[call as usize])
        });
        launched.filter(|in_time| *in_time).count()
    }

    /// Work done for a tenant.
    fn work_of(&self, tenant: u8) -> u64 {
        let calls = self.launches.iter().flat_map(|launch| &launch.calls);
        let arrivals = calls.map(|&call| &self.arrivals[call as usize]);
        arrivals.filter(|arrival| arrival.tenant == tenant).map(|arrival| arrival.size).sum()
    }
}
