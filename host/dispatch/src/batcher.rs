//! Which waiting calls make the next batch. A pure function, so that every property of it is a test.

use std::collections::HashMap;
use std::hash::Hash;

/// What the choice depends on, for one waiting call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting<G, T> {
    /// Calls of one group may share a launch; `None` runs alone.
    pub group: Option<G>,
    /// Who is charged.
    pub tenant: T,
    /// Rows that the call adds.
    pub rows: usize,
}

/// Indices of the calls of the next batch, ascending; empty only if nothing waits.
///
/// `waiting` is in order of arrival. The oldest call decides the group and is always taken, so no call
/// starves. Others of its group join, one tenant after the other in turns and each tenant in order,
/// while `rows_max` and `calls_max` hold; a tenant that floods the queue cannot crowd the others
/// out of a batch.
pub fn pick_batch<G: PartialEq, T: Copy + Eq + Hash>(
    waiting: &[Waiting<G, T>],
    rows_max: usize,
    calls_max: usize,
) -> Vec<usize> {
    let Some(first) = waiting.first() else {
        return Vec::new();
    };
    if first.group.is_none() {
        return vec![0];
    }
    let mut picked = vec![0];
    let mut rows = first.rows;
    for index in in_turns(waiting, &first.group) {
        if picked.len() >= calls_max || rows >= rows_max {
            break;
        }
        if rows.saturating_add(waiting[index].rows) <= rows_max {
            rows += waiting[index].rows;
            picked.push(index);
        }
    }
    picked.sort_unstable();
    picked
}

/// Calls of `group` behind the first, each tenant's turn after the other's. The first call's tenant
/// has had its turn.
fn in_turns<G: PartialEq, T: Copy + Eq + Hash>(
    waiting: &[Waiting<G, T>],
    group: &Option<G>,
) -> impl Iterator<Item = usize> {
    let mut turns: HashMap<T, usize> = HashMap::from([(waiting[0].tenant, 1)]);
    let mut order: Vec<(usize, usize)> = Vec::new();
    for (index, call) in waiting.iter().enumerate().skip(1) {
        if call.group == *group {
            let turn = turns.entry(call.tenant).or_insert(0);
            order.push((*turn, index));
            *turn += 1;
        }
    }
    order.sort_unstable();
    order.into_iter().map(|(_, index)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call(group: u8, tenant: u8, rows: usize) -> Waiting<u8, u8> {
        Waiting { group: (group < 9).then_some(group), tenant, rows }
    }

    #[test]
    fn the_oldest_call_decides_and_others_of_its_group_join() {
        let waiting = [call(1, 0, 10), call(2, 0, 1), call(1, 0, 10), call(1, 1, 10)];
        assert_eq!(pick_batch(&waiting, 100, 10), [0, 2, 3]);
        assert_eq!(pick_batch(&waiting, 20, 10), [0, 3], "tenant 1 comes before 0's second call");
        assert_eq!(pick_batch(&waiting, 100, 1), [0]);
        assert_eq!(pick_batch(&[call(9, 0, 1), call(9, 0, 1)], 100, 10), [0]);
    }

    #[test]
    fn a_call_above_the_budget_still_runs_alone() {
        assert_eq!(pick_batch(&[call(1, 0, 500), call(1, 0, 1)], 100, 10), [0]);
    }

    #[test]
    fn a_flood_of_one_tenant_leaves_room_for_another() {
        let mut waiting = vec![call(1, 0, 1); 1000];
        waiting.push(call(1, 7, 1));
        assert!(pick_batch(&waiting, 8, 100).contains(&1000));
    }

    proptest! {
        #[test]
        fn batches_keep_group_order_and_limits(
            calls in prop::collection::vec((0u8..11, 0u8..4, 1usize..50), 0..60),
            rows_max in 1usize..200,
            calls_max in 1usize..20,
        ) {
            let waiting: Vec<_> = calls.iter().map(|&(g, t, r)| call(g, t, r)).collect();
            let picked = pick_batch(&waiting, rows_max, calls_max);
            prop_assert_eq!(picked.first().copied(), (!waiting.is_empty()).then_some(0));
            prop_assert!(picked.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(picked.len() <= calls_max.max(1));
            let rows: usize = picked.iter().map(|&i| waiting[i].rows).sum();
            prop_assert!(picked.len() <= 1 || rows <= rows_max);
            prop_assert!(picked.iter().all(|&i| waiting[i].group == waiting[0].group));
        }
    }
}
