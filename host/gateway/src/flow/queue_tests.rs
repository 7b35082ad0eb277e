//! The queue on a simulated clock.

use super::*;

const MS: Duration = Duration::from_millis(1);

struct World {
    queue: Queue<(&'static str, u32)>,
    pace: Pace,
    start: Instant,
}

const RULES: Rules = Rules {
    len_max: 1000,
    wait_max: Duration::from_millis(1000),
    standing_wait: Duration::from_millis(20),
    standing_after: Duration::from_millis(100),
};

fn world() -> World {
    let pace = Pace { gap: MS, mean: 4 * MS, quantile: 8 * MS };
    World { queue: Queue::new(RULES), pace, start: Instant::now() }
}

fn tenant(name: &str) -> Arc<Tenant> {
    Arc::new(Tenant::new(name))
}

impl World {
    fn at(&self, ms: u32) -> Instant {
        self.start + MS * ms
    }

    fn arrive(
        &mut self,
        who: &Arc<Tenant>,
        ms: u32,
        wake: (&'static str, u32),
    ) -> Result<Ticket, Refusal> {
        self.arrive_within(who, ms, wake, 60_000)
    }

    fn arrive_within(
        &mut self,
        tenant: &Arc<Tenant>,
        ms: u32,
        wake: (&'static str, u32),
        time: u32,
    ) -> Result<Ticket, Refusal> {
        let deadline = self.at(ms + time);
        let arrival = Arrival { tenant, weight: wake.1.max(1), len_max: 500, deadline };
        let now = self.at(ms);
        self.queue.arrive(&arrival, &self.pace, now, wake)
    }

    fn next(&mut self, ms: u32) -> Option<&'static str> {
        let now = self.at(ms);
        self.queue.next(&self.pace, now).map(|turn| turn.wake.0)
    }

    fn turns(&mut self, count: u32) -> String {
        (0..count).filter_map(|_| self.next(0)).collect()
    }
}

#[test]
fn a_quiet_tenant_is_next_whatever_another_has_queued() {
    let (mut world, a, b) = (world(), tenant("a"), tenant("b"));
    (0..100).for_each(|_| assert!(world.arrive(&a, 0, ("a", 1)).is_ok()));
    assert_eq!(world.turns(3), "aaa");
    world.arrive(&b, 0, ("b", 1)).unwrap();
    assert_eq!(world.turns(1), "b", "ties go by what was used, and b used nothing");
    (0..3).for_each(|_| assert!(world.arrive(&b, 0, ("b", 1)).is_ok()));
    assert_eq!(world.turns(6), "ababab", "and it saved nothing while it was away");
}

#[test]
fn weights_share_the_places() {
    let (mut world, a, b) = (world(), tenant("a"), tenant("b"));
    for _ in 0..60 {
        world.arrive(&a, 0, ("a", 3)).unwrap();
        world.arrive(&b, 0, ("b", 1)).unwrap();
    }
    let turns = world.turns(40);
    assert_eq!(turns.matches('a').count(), 30, "{turns}");
}

#[test]
fn who_holds_places_longer_gets_fewer() {
    let (mut world, a, b) = (world(), tenant("a"), tenant("b"));
    for _ in 0..200 {
        world.arrive(&a, 0, ("a", 1)).unwrap();
        world.arrive(&b, 0, ("b", 1)).unwrap();
    }
    let (mut turns, now) = ([0, 0], world.at(0));
    for _ in 0..120 {
        let turn = world.queue.next(&world.pace, now).unwrap();
        let (index, who, took) =
            if turn.wake.0 == "a" { (0, &a, 12 * MS) } else { (1, &b, 4 * MS) };
        turns[index] += 1;
        world.queue.settle(who, 1, turn.charged, took);
    }
    assert!((88..=92).contains(&turns[1]), "three of four places for b: {turns:?}");
}

#[test]
fn what_was_used_is_forgotten_after_a_second_without_waiting() {
    for (rest, first) in [(999, "b"), (1000, "a")] {
        let (mut world, a, b) = (world(), tenant("a"), tenant("b"));
        world.arrive(&a, 0, ("a", 1)).unwrap();
        assert_eq!(world.next(0), Some("a"));
        world.arrive(&a, rest, ("a", 1)).unwrap();
        world.arrive(&b, rest, ("b", 1)).unwrap();
        assert_eq!(world.next(rest), Some(first), "after {rest} ms");
    }
}

#[test]
fn the_queue_and_each_tenant_s_part_of_it_are_bounded() {
    let (mut world, a) = (world(), tenant("a"));
    world.pace.gap = Duration::ZERO;
    world.queue.rules.len_max = 501;
    (0..500).for_each(|_| assert!(world.arrive(&a, 0, ("a", 1)).is_ok()));
    assert_eq!(world.arrive(&a, 0, ("a", 1)), Err(Refusal::TenantFull { max: 500 }));
    assert!(world.arrive(&tenant("b"), 0, ("b", 1)).is_ok());
    assert_eq!(world.arrive(&tenant("c"), 0, ("c", 1)), Err(Refusal::Full { max: 501 }));
    world.next(0);
    assert!(world.arrive(&tenant("c"), 0, ("c", 1)).is_ok());
}

#[test]
fn a_burst_may_wait_up_to_the_limit_and_a_standing_queue_only_to_its_target() {
    let (mut world, a) = (world(), tenant("a"));
    world.pace.gap = 10 * MS;
    for _ in 0..100 {
        assert!(world.arrive(&a, 0, ("a", 1)).is_ok());
    }
    let expected = 1010 * MS;
    let refused = world.arrive(&a, 0, ("a", 1));
    assert_eq!(refused, Err(Refusal::TooLong { expected, max: 1000 * MS }));
    (0..96).for_each(|_| assert!(world.next(99).is_some()));
    assert!(world.arrive(&a, 99, ("a", 1)).is_ok(), "five wait");
    world.next(99);
    let (expected, max) = (50 * MS, 40 * MS);
    let refused = world.arrive(&a, 100, ("a", 1));
    assert_eq!(refused, Err(Refusal::TooLong { expected, max }), "four places of 10 ms");
    world.next(100);
    assert!(world.arrive(&a, 100, ("a", 1)).is_ok(), "the fourth");
    (0..4).for_each(|_| assert!(world.next(101).is_some()));
    (0..100).for_each(|_| assert!(world.arrive(&a, 101, ("a", 1)).is_ok()));
}

#[test]
fn a_flood_s_standing_queue_shortens_nobody_else_s_wait() {
    let (mut world, a, b) = (world(), tenant("a"), tenant("b"));
    (0..50).for_each(|_| assert!(world.arrive(&a, 0, ("a", 1)).is_ok()));
    assert!(world.arrive(&a, 100, ("a", 1)).is_err());
    (0..100).for_each(|_| assert!(world.arrive(&b, 100, ("b", 1)).is_ok()));
}

#[test]
fn a_deadline_that_cannot_be_met_is_refused_on_arrival() {
    let (mut world, a) = (world(), tenant("a"));
    (0..9).for_each(|_| assert!(world.arrive(&a, 0, ("a", 1)).is_ok()));
    let refused = world.arrive_within(&a, 0, ("a", 1), 17);
    assert_eq!(refused, Err(Refusal::TooLate { expected: 10 * MS }), "10 to wait, 8 to work");
    assert!(world.arrive_within(&a, 0, ("a", 1), 18).is_ok());
}

#[test]
fn who_goes_away_leaves_no_trace() {
    let (mut world, a, b) = (world(), tenant("a"), tenant("b"));
    let tickets: Vec<Ticket> = (0..3).map(|_| world.arrive(&a, 0, ("a", 1)).unwrap()).collect();
    let other = world.arrive(&b, 0, ("b", 1)).unwrap();
    let now = world.at(0);
    assert!(!world.queue.withdraw("b", tickets[0], now));
    for ticket in tickets {
        assert!(world.queue.withdraw("a", ticket, now));
        assert!(!world.queue.withdraw("a", ticket, now));
    }
    assert_eq!((world.queue.len(), world.queue.lines.len(), world.queue.weights), (1, 1, 1));
    assert!(world.queue.withdraw("b", other, now));
    assert_eq!((world.queue.len(), world.queue.turns.len(), world.queue.weights), (0, 0, 0));
    assert_eq!(world.next(0), None);
    assert_eq!((a.tag.load(Ordering::Relaxed), b.tag.load(Ordering::Relaxed)), (0, 0));
}

/// What one tenant of a simulated server got.
#[derive(Default)]
struct Served {
    waits: Vec<Duration>,
    refused: usize,
}

/// Ten seconds of four places of 10 ms each: 400 requests a second. Tenants send one request every
/// so many microseconds.
fn simulate(every_micros: &[(u64, u32)]) -> Vec<Served> {
    const PLACES: usize = 4;
    const SERVICE: Duration = Duration::from_millis(10);
    let (mut queue, start) = (Queue::new(RULES), Instant::now());
    let pace = Pace { gap: SERVICE / PLACES as u32, mean: SERVICE, quantile: SERVICE };
    let tenants: Vec<_> = (0..every_micros.len()).map(|at| tenant(&format!("{at}"))).collect();
    let mut served: Vec<Served> = tenants.iter().map(|_| Served::default()).collect();
    let mut leaving = VecDeque::new();
    for micros in 0..10_000_000u64 {
        let now = start + Duration::from_micros(micros);
        while leaving.front().is_some_and(|left| *left <= now) {
            leaving.pop_front();
        }
        for (at, (every, weight)) in every_micros.iter().enumerate() {
            if micros % every != at as u64 {
                continue;
            }
            let (tenant, weight) = (&tenants[at], *weight);
            let deadline = now + Duration::from_secs(60);
            let arrival = Arrival { tenant, weight, len_max: 256, deadline };
            if queue.arrive(&arrival, &pace, now, (("", at as u32), now)).is_err() {
                served[at].refused += 1;
            }
        }
        while leaving.len() < PLACES
            && let Some(turn) = queue.next(&pace, now)
        {
            let ((_, at), since) = turn.wake;
            served[at as usize].waits.push(now - since);
            leaving.push_back(now + SERVICE);
        }
    }
    served
}

#[test]
fn at_ten_times_its_capacity_a_server_answers_as_much_as_ever_and_soon() {
    let served = &simulate(&[(250, 1)])[0];
    assert!(served.waits.len() >= 3990, "{} of 4000", served.waits.len());
    assert!(served.waits.len() + served.refused >= 40_000 - 10, "few are undecided at the end");
    let standing = &served.waits[served.waits.len() / 2..];
    assert!(standing.iter().all(|wait| *wait <= 25 * MS), "{:?}", standing.iter().max());
}

#[test]
fn a_flood_of_twenty_times_its_share_is_not_felt_by_a_quiet_tenant() {
    let worst = |served: &Served| served.waits.iter().max().copied().unwrap();
    let flood = simulate(&[(50_000, 1), (2_500, 1)]);
    let even: Vec<(u64, u32)> = std::iter::once((50_000, 1)).chain([(50_000, 1); 20]).collect();
    let even = simulate(&even);
    assert_eq!((flood[0].refused, flood[0].waits.len()), (0, 200));
    assert!(worst(&flood[0]) <= 10 * MS, "one turn: {:?}", worst(&flood[0]));
    assert!(worst(&flood[0]) <= worst(&even[0]).max(10 * MS));
}

#[test]
fn under_overload_tenants_get_their_weights() {
    let served = simulate(&[(500, 3), (500, 1)]);
    let share = served[0].waits.len() as f64 / served[1].waits.len() as f64;
    assert!((2.8..=3.2).contains(&share), "{share}");
}
