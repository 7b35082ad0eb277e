//! Tenants get equal shares of the work, and a flood delays nobody else by more than a launch.

use super::*;
use proptest::prelude::*;

fn backlog(world: &mut World, tenant: u8, plan: u8, calls: usize, size: u64) {
    for _ in 0..calls {
        world.arrive(Arrival::new(tenant, plan, size));
    }
}

#[test]
fn a_quiet_tenant_is_in_the_launch_after_the_one_that_runs() {
    for (plan, own_size) in [(1, 1), (2, 1), (2, 50), (9, 10)] {
        let mut world = World::new(DispatchConfig::default()).measured();
        backlog(&mut world, 0, 1, 1000, 60);
        for _ in 0..20 {
            world.launch().unwrap();
            let quiet = world.arrive(Arrival::new(7, plan, own_size));
            assert!(world.next().contains(&quiet), "plan {plan}, size {own_size}");
        }
    }
}

#[test]
fn a_flood_with_near_deadlines_gains_nothing_by_them() {
    let mut world = World::new(DispatchConfig::default()).measured();
    for _ in 0..300 {
        world.arrive(Arrival::new(0, 1, 60).within(15 * MS));
    }
    world.launch().unwrap();
    let quiet = world.arrive(Arrival::new(7, 2, 50));
    let (first, second) = (world.next(), world.next());
    assert!(first.contains(&quiet) || second.contains(&quiet), "passed over once at most");
}

#[test]
fn work_counts_and_not_the_number_of_calls() {
    let config = DispatchConfig { batch_rows_max: 100, ..DispatchConfig::default() };
    let mut world = World::new(config);
    backlog(&mut world, 0, 1, 1000, 1);
    backlog(&mut world, 1, 2, 100, 50);
    while world.work_of(0) < 900 {
        world.launch().unwrap();
    }
    assert!(world.work_of(1).abs_diff(world.work_of(0)) <= 100, "{}", world.work_of(1));
}

#[test]
fn weights_are_shares() {
    let config = DispatchConfig {
        batch_rows_max: 100,
        tenant_weights: [(Arc::from("t1"), 3)].into(),
        ..DispatchConfig::default()
    };
    let mut world = World::new(config);
    backlog(&mut world, 0, 1, 1000, 10);
    backlog(&mut world, 1, 2, 1000, 10);
    for _ in 0..80 {
        world.launch();
    }
    assert_eq!((world.work_of(0), world.work_of(1)), (2000, 6000));
}

#[test]
fn a_huge_call_is_not_starved_by_small_ones() {
    let config = DispatchConfig { batch_rows_max: 100, ..DispatchConfig::default() };
    let mut world = World::new(config);
    backlog(&mut world, 0, 1, 500, 10);
    backlog(&mut world, 1, 1, 500, 10);
    world.launch().unwrap();
    let huge = world.arrive(Arrival::new(2, 1, 5000));
    assert_eq!(world.next(), [huge], "nothing was done for its tenant yet");
    let own = world.arrive(Arrival::new(0, 1, 5000));
    world.finish();
    let position = |call| world.launches.iter().position(|launch| launch.calls.contains(&call));
    assert!(position(own).is_some());
}

#[test]
fn work_of_failed_launches_counts_against_those_at_fault() {
    let mut world = World::new(DispatchConfig::default());
    backlog(&mut world, 0, 1, 10, 2000);
    backlog(&mut world, 1, 2, 10, 2000);
    world.queue.charge(&Arc::from("t0"), 8000);
    let tenants: Vec<u8> = (0..6)
        .map(|_| {
            let call = world.next()[0];
            world.arrivals[call as usize].tenant
        })
        .collect();
    assert_eq!(tenants, [1, 1, 1, 1, 0, 1]);
}

proptest! {
    /// Goyal et al., theorem 1: while two tenants have work, the work done for them differs by no more
    /// than the largest step of each; a step here is a launch, and a call that goes beyond it.
    #[test]
    fn two_floods_get_equal_work_to_within_a_launch_of_each(
        sizes in prop::collection::vec((1u64..200, 1u64..200), 40..160),
        plans in (0u8..3, 0u8..3),
        weight in 1u32..6,
        rows_max in 1usize..400,
    ) {
        let config = DispatchConfig {
            batch_rows_max: rows_max,
            tenant_weights: [(Arc::from("t1"), weight)].into(),
            ..DispatchConfig::default()
        };
        let mut world = World::new(config);
        for &(a, b) in &sizes {
            world.arrive(Arrival::new(0, plans.0, a));
            world.arrive(Arrival::new(1, plans.1, b));
        }
        let step = ((rows_max as u64).max(200) + 200) as f64;
        let mut left = [sizes.len(); 2];
        while let Some(launch) = world.launch() {
            for call in launch.calls.clone() {
                left[usize::from(world.arrivals[call as usize].tenant)] -= 1;
            }
            if left.contains(&0) {
                break;
            }
            let share = world.work_of(1) as f64 / f64::from(weight);
            let apart = (world.work_of(0) as f64 - share).abs();
            prop_assert!(apart <= step + step / f64::from(weight) + 1.0, "{apart} > {step}");
        }
    }
}
