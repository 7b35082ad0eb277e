//! What holds in every history, whatever arrives, leaves or expires, and when.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

/// Of a launch of several calls, and what a single call takes at most.
const TIME_MAX: Duration = Duration::from_millis(5);

/// What happens next, and how long after what happened before.
#[derive(Clone, Debug)]
enum Event {
    Arrive(Arrival),
    /// The caller of this call, counted back from the last, goes away.
    Cancel(u32),
    Launch,
}

fn event() -> impl Strategy<Value = (u64, Event)> {
    let timeouts = prop::sample::select(vec![1u64, 3, 10, 40, 1000]);
    let slots = prop::option::weighted(0.1, 0u8..2);
    let arrival = (0u8..4, 0u8..11, 1u64..300, timeouts, slots);
    let arrive = arrival.prop_map(|(tenant, plan, size, timeout, slot)| {
        let timeout = MS * timeout as u32;
        Event::Arrive(Arrival { tenant, plan, size, timeout, slot })
    });
    let cancel = (0u32..8).prop_map(Event::Cancel);
    (0u64..900, prop_oneof![6 => arrive, 1 => cancel, 3 => Just(Event::Launch)])
}

fn config() -> impl Strategy<Value = DispatchConfig> {
    let limits = (1usize..400, 1usize..9, 1u64..500, 0u64..4, 1usize..40, 1usize..20);
    limits.prop_map(|(rows, calls, bytes, wait, queue, tenant)| DispatchConfig {
        batch_rows_max: rows,
        batch_calls_max: calls,
        batch_bytes_max: bytes,
        batch_wait_max: MS * wait as u32,
        batch_time_max: TIME_MAX,
        queue_calls_max: queue,
        queue_bytes_max: 3000,
        queue_calls_tenant_max: tenant,
        ..DispatchConfig::default()
    })
}

fn lived(config: DispatchConfig, measured: bool, events: Vec<(u64, Event)>) -> World {
    let mut world = World::new(config);
    if measured {
        world = world.measured();
    }
    for (after, event) in events {
        world.now += US * after as u32;
        match event {
            Event::Arrive(arrival) => {
                world.arrive(arrival);
            }
            Event::Cancel(back) => {
                if let Some(call) = (world.arrivals.len() as u32).checked_sub(back + 1) {
                    world.cancel(call);
                }
            }
            Event::Launch => {
                world.launch();
            }
        }
    }
    world.finish();
    world
}

/// Every launch keeps the budget, and holds calls of one group.
fn assert_budgets(world: &World, config: &DispatchConfig) -> Result<(), TestCaseError> {
    for launch in &world.launches {
        let calls: Vec<&Arrival> =
            launch.calls.iter().map(|&call| &world.arrivals[call as usize]).collect();
        let size: u64 = calls.iter().map(|call| call.size).sum();
        prop_assert!(!calls.is_empty());
        if calls.len() > 1 {
            prop_assert!(calls.len() <= config.batch_calls_max);
            prop_assert!(size as usize <= config.batch_rows_max && size <= config.batch_bytes_max);
            prop_assert!(calls.iter().all(|call| call.plan == calls[0].plan && call.plan < 9));
            prop_assert!(calls.iter().all(|call| call.slot.is_none()), "slots run alone");
        }
    }
    Ok(())
}

/// Calls of one tenant, plan and timeout, and those of one slot, run in the order of their arrival; a
/// call is overtaken only by a launch that may have ended too late for it, or by a larger call, which
/// has to start earlier.
fn assert_order(world: &World) -> Result<(), TestCaseError> {
    // By tenant, plan, timeout and slot: the last call, and its launch.
    type Kind = (u8, u8, Duration, Option<u8>);
    let mut last: HashMap<Kind, (usize, u32)> = HashMap::new();
    let mut last_of_slot: HashMap<(u8, u8), u32> = HashMap::new();
    for (index, launch) in world.launches.iter().enumerate() {
        for &call in &launch.calls {
            let Arrival { tenant, plan, size, timeout, slot } = world.arrivals[call as usize];
            let before = last.entry((tenant, plan, timeout, slot)).or_insert((index, call));
            let overtaken = before.0 < index && before.1 > call;
            let spared = world.deadlines[call as usize] < world.launches[before.0].start + TIME_MAX;
            let by_larger = world.arrivals[before.1 as usize].size > size;
            let may = slot.is_none() && (spared || by_larger);
            prop_assert!(!overtaken || may, "{call} after {}", before.1);
            if before.1 < call {
                *before = (index, call);
            }
            if let Some(slot) = slot {
                let earlier = last_of_slot.insert((tenant, slot), call);
                prop_assert!(earlier.is_none_or(|earlier| earlier < call), "slot {slot}");
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_call_ends_once_in_budget_and_in_order(
        config in config(),
        measured in any::<bool>(),
        events in prop::collection::vec(event(), 0..150),
    ) {
        let world = lived(config.clone(), measured, events);
        for call in 0..world.arrivals.len() as u32 {
            world.outcome(call);
        }
        assert_budgets(&world, &config)?;
        assert_order(&world)?;
        world.queue.assert_empty();
    }
}

#[test]
fn a_queue_holds_what_it_may_and_names_the_limit_beyond() {
    let config = DispatchConfig {
        queue_calls_max: 8,
        queue_calls_tenant_max: 3,
        queue_bytes_max: 100,
        ..DispatchConfig::default()
    };
    let mut world = World::new(config);
    let ends = |world: &mut World, tenant, size| {
        let call = world.arrive(Arrival::new(tenant, 1, size));
        world.outcomes[call as usize].is_empty()
    };
    assert_eq!([1, 1, 1, 1].map(|size| ends(&mut world, 0, size)), [true, true, true, false]);
    assert!(!ends(&mut world, 1, 98), "101 bytes");
    assert!(ends(&mut world, 1, 97), "100 bytes");
    world.finish();
    assert!(ends(&mut world, 1, 1000), "a call alone is bounded elsewhere");
    assert!(!ends(&mut world, 2, 1));
}

#[test]
fn however_many_tenants_flood_the_queue_there_is_a_place_for_another() {
    let config = DispatchConfig { queue_calls_max: 40, ..DispatchConfig::default() };
    let mut world = World::new(config);
    for call in 0..1000 {
        world.arrive(Arrival::new(call as u8 % 7, 1, 1));
    }
    let quiet = world.arrive(Arrival::new(99, 1, 1));
    world.finish();
    assert_eq!(world.outcome(quiet), Outcome::Answered);
}
