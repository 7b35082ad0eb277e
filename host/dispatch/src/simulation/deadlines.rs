//! Calls near their deadline go first, company never makes one late, and an overload sheds what it
//! must and no more.

use super::*;

fn waiting_config(wait: Duration) -> DispatchConfig {
    DispatchConfig { batch_wait_max: wait, ..DispatchConfig::default() }
}

#[test]
fn waiting_for_company_ends_in_time_for_the_deadline() {
    let mut world = World::new(waiting_config(500 * MS)).measured();
    let call = world.arrive(Arrival::new(0, 1, 100).within(20 * MS));
    let start = world.now;
    assert!(world.next().is_empty());
    let ripe_at = world.ripe_at().unwrap();
    assert!(ripe_at - start <= 18 * MS, "it takes 2 ms: {:?}", ripe_at - start);
    assert!(ripe_at - start >= 17 * MS, "{:?}", ripe_at - start);
    world.now = ripe_at;
    assert_eq!(world.next(), [call]);
    assert_eq!(world.in_time(), 1);
}

#[test]
fn a_plan_that_never_ran_waits_for_half_of_the_time_at_most() {
    let mut world = World::new(waiting_config(500 * MS));
    world.arrive(Arrival::new(0, 1, 100).within(20 * MS));
    assert_eq!(world.ripe_at(), Some(world.now + 10 * MS));
    world.arrive(Arrival::new(0, 1, 100).within(6 * MS));
    assert_eq!(world.ripe_at(), Some(world.now + 3 * MS), "the nearer deadline counts");
}

#[test]
fn a_full_batch_waits_no_longer_and_does_not_hold_up_another_plan() {
    let config = DispatchConfig { batch_calls_max: 2, ..waiting_config(500 * MS) };
    let mut world = World::new(config);
    let first = world.arrive(Arrival::new(0, 1, 1));
    assert!(world.next().is_empty());
    let alone = world.arrive(Arrival::new(0, 9, 1));
    assert_eq!(world.next(), [alone], "what joins nothing waits for nothing");
    let second = world.arrive(Arrival::new(1, 1, 1));
    assert_eq!(world.next(), [second, first], "tenant 0 has been given more");
}

#[test]
fn the_nearest_deadline_of_a_tenant_is_first_but_a_slot_keeps_its_order() {
    let mut world = World::new(DispatchConfig::default());
    let [late, soon, sooner] =
        [90, 50, 20].map(|ms| world.arrive(Arrival::new(0, 9, 1).within(ms * MS)));
    assert_eq!([world.next(), world.next(), world.next()], [[sooner], [soon], [late]]);
    let of_slot = |slot| Arrival { slot: Some(slot), ..Arrival::new(0, 9, 1) };
    let [first, second] = [90, 50].map(|ms| world.arrive(of_slot(1).within(ms * MS)));
    let other = world.arrive(of_slot(2).within(60 * MS));
    assert_eq!([world.next(), world.next(), world.next()], [[other], [first], [second]]);
}

#[test]
fn a_call_that_would_be_late_goes_before_its_turn_once() {
    let mut world = World::new(DispatchConfig::default()).measured();
    let long = world.arrive(Arrival::new(0, 1, 2000));
    let next = world.arrive(Arrival::new(0, 1, 2000));
    let urgent = world.arrive(Arrival::new(1, 2, 100).within(15 * MS));
    let also = world.arrive(Arrival::new(2, 3, 100).within(15 * MS));
    assert_eq!(world.next(), [urgent], "the long call takes 21 ms");
    assert_eq!(world.next(), [long], "it is passed over once");
    world.finish();
    assert_eq!(world.outcome(also), Outcome::Late);
    assert_eq!(world.outcome(next), Outcome::Answered);
}

#[test]
fn a_near_deadline_does_not_help_a_tenant_that_is_ahead_of_its_share() {
    let mut world = World::new(DispatchConfig::default()).measured();
    world.arrive(Arrival::new(1, 2, 3000));
    world.next();
    let turn = world.arrive(Arrival::new(0, 1, 2000));
    world.arrive(Arrival::new(1, 2, 100).within(15 * MS));
    assert_eq!(world.next(), [turn], "tenant 1 is ahead by 3000, and asks for 100");
}

#[test]
fn a_call_that_cannot_be_in_time_leaves_unlaunched() {
    let mut world = World::new(DispatchConfig::default()).measured();
    let hopeless = world.arrive(Arrival::new(0, 1, 1000).within(5 * MS));
    let fine = world.arrive(Arrival::new(0, 2, 100).within(5 * MS));
    assert_eq!(world.next(), [fine]);
    assert_eq!(world.outcome(hopeless), Outcome::TooNear, "it takes 11 ms");
}

#[test]
fn a_call_that_was_hopeless_waits_on_when_launches_become_faster() {
    let mut world = World::new(DispatchConfig::default()).measured();
    let call = world.arrive(Arrival::new(0, 1, 1000).within(13 * MS));
    for _ in 0..100 {
        world.plans[1].measured(1000, MS, world.now);
    }
    world.now += 5 * MS;
    assert_eq!(world.next(), [call], "8 ms are enough for 1 ms");
}

/// Twice the load that full batches bear, at a fixed timeout: without care, each launch is made small by
/// a call that is about to be late, and nearly nothing is served.
#[test]
fn an_overload_does_not_make_launches_small() {
    let config = DispatchConfig { batch_calls_max: 16, ..DispatchConfig::default() };
    let mut world = World::new(config).measured();
    (world.fixed, world.unit) = (MS, MS);
    world = world.measured();
    let (start, mut next) = (world.now, world.now);
    // A batch of 16 takes 17 ms: 941 calls a second, against 500 one by one. 1880 come.
    while world.now < start + 5000 * MS {
        while next <= world.now {
            let now = std::mem::replace(&mut world.now, next);
            world.arrive(Arrival::new(0, 1, 1).within(100 * MS));
            world.now = now;
            next += 532 * US;
        }
        if world.launch().is_none() {
            world.now = next;
        }
    }
    let possible = 5000.0 / 17.0 * 16.0;
    let share = world.in_time() as f64 / possible;
    assert!(share > 0.85, "{share:.2} of what full batches could answer in time");
}
