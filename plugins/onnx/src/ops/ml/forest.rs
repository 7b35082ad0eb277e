//! Decision trees as tables: every node compares one feature with one number and names the node that
//! comes next; a leaf names itself.

use crate::value::{R, invalid};
use aimass_sdk::Error;
use std::collections::HashMap;

/// Nodes of all trees together, leaves included.
const NODES_MAX: usize = 2 << 20;
/// Comparisons from a root to a leaf.
const DEPTH_MAX: usize = 4096;

/// Trees, and what their leaves add to which target.
#[derive(Debug, Default)]
pub(super) struct Forest {
    pub(super) nodes: Vec<Split>,
    /// By tree, its first node.
    pub(super) roots: Vec<usize>,
    pub(super) votes: Vec<Vote>,
}

/// A node. It goes to `yes` if its comparison holds, else to `no`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Split {
    pub(super) feature: i32,
    pub(super) value: f64,
    /// Whether it compares for equality, rather than for `feature <= value`.
    pub(super) equal: bool,
    /// Whether a NaN goes to `yes`.
    pub(super) nan: bool,
    pub(super) yes: i32,
    pub(super) no: i32,
}

/// What a leaf adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Vote {
    pub(super) node: usize,
    pub(super) target: usize,
    pub(super) weight: f64,
}

/// How a node compares, as ONNX names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    LessOrEqual,
    Less,
    GreaterOrEqual,
    Greater,
    Equal,
    NotEqual,
    Member,
}

/// A node as ONNX describes it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Branch {
    pub(super) mode: Mode,
    pub(super) feature: i64,
    pub(super) value: f64,
    /// Whether a missing value (NaN) counts as if the comparison held.
    pub(super) missing: bool,
    pub(super) yes: usize,
    pub(super) no: usize,
}

impl Split {
    /// A leaf at this place.
    pub(super) fn leaf(at: usize) -> Split {
        let at = at as i32;
        Split { feature: 0, value: 0.0, equal: false, nan: false, yes: at, no: at }
    }

    /// A branch, with `<=` and `==` as the only comparisons: the others are their opposites, with the
    /// ways swapped, or have the next number below. `wide` says that features are f64.
    pub(super) fn of(branch: Branch, wide: bool) -> R<Split> {
        let Branch { mode, feature, value, missing, yes, no } = branch;
        let feature = i32::try_from(feature)
            .ok()
            .filter(|feature| *feature >= 0)
            .ok_or_else(|| invalid(format!("a tree compares feature {feature}")))?;
        let value = if wide { value } else { f64::from(value as f32) };
        let below = if wide { value.next_down() } else { f64::from((value as f32).next_down()) };
        let (equal, value, swapped) = match mode {
            Mode::LessOrEqual => (false, value, false),
            Mode::Less => (false, below, false),
            Mode::GreaterOrEqual => (false, below, true),
            Mode::Greater => (false, value, true),
            Mode::Equal => (true, value, false),
            Mode::NotEqual => (true, value, true),
            Mode::Member => return Err(invalid("a set of members was not read")),
        };
        // A NaN is unlike any number, missing or not.
        let missing = missing || mode == Mode::NotEqual;
        let (yes, no) = if swapped { (no, yes) } else { (yes, no) };
        let nan = missing != swapped;
        Ok(Split { feature, value, equal, nan, yes: yes as i32, no: no as i32 })
    }

    fn is_leaf(&self, at: usize) -> bool {
        (self.yes, self.no) == (at as i32, at as i32)
    }
}

/// Refuses more nodes than the plugin holds.
pub(super) fn bounded(nodes: usize) -> R<()> {
    if nodes > NODES_MAX {
        let message = format!("expected trees of at most {NODES_MAX} nodes together, got {nodes}");
        return Err(Error::limit("onnx-tree-nodes", message).into());
    }
    Ok(())
}

impl Forest {
    /// Comparisons on the longest way from a root to a leaf.
    ///
    /// # Errors
    /// If a way has no end, is too long or leaves the table.
    pub(super) fn depth(&self) -> R<usize> {
        // By node, its height; 0 is not known yet.
        let mut heights = vec![0u32; self.nodes.len()];
        let mut open = vec![false; self.nodes.len()];
        let mut path: Vec<usize> = Vec::new();
        let mut deepest = 0;
        for &root in &self.roots {
            path.push(root);
            while let Some(&at) = path.last() {
                let node = self.nodes.get(at).ok_or_else(|| invalid("a tree leaves its nodes"))?;
                let next = [node.yes, node.no].map(|next| next as usize);
                let missing = next.into_iter().find(|&child| {
                    child != at && heights.get(child).is_none_or(|&height| height == 0)
                });
                open[at] = true;
                match missing.filter(|_| heights[at] == 0) {
                    Some(child) if open.get(child).copied().unwrap_or(false) => {
                        return Err(invalid("a tree has a cycle"));
                    }
                    Some(child) if path.len() <= DEPTH_MAX => path.push(child),
                    Some(_) => {
                        let message = format!("expected trees of a depth of at most {DEPTH_MAX}");
                        return Err(Error::limit("onnx-tree-depth", message).into());
                    }
                    None => {
                        let below = next.map(|child| if child == at { 0 } else { heights[child] });
                        heights[at] = 1 + below[0].max(below[1]);
                        open[at] = false;
                        path.pop();
                    }
                }
            }
            deepest = deepest.max(heights[root] as usize - 1);
        }
        // A node with one way to itself would never be left.
        let stuck = |(at, node): (usize, &Split)| {
            !node.is_leaf(at) && [node.yes, node.no].contains(&(at as i32))
        };
        if self.nodes.iter().enumerate().any(stuck) {
            return Err(invalid("a tree has a cycle"));
        }
        Ok(deepest)
    }

    /// The target of all votes of each tree, if there is one for each and one vote a leaf.
    pub(super) fn single_targets(&self) -> Option<Vec<usize>> {
        let mut vote_of: HashMap<usize, usize> = HashMap::new();
        for vote in &self.votes {
            if vote_of.insert(vote.node, vote.target).is_some() {
                return None;
            }
        }
        let mut targets = Vec::with_capacity(self.roots.len());
        let mut steps = 0;
        for &root in &self.roots {
            let (mut target, mut stack) = (None, vec![root]);
            while let Some(at) = stack.pop() {
                steps += 1;
                let node = self.nodes.get(at).filter(|_| steps <= NODES_MAX)?;
                if node.is_leaf(at) {
                    let own = *vote_of.get(&at)?;
                    if *target.get_or_insert(own) != own {
                        return None;
                    }
                } else {
                    stack.extend([node.yes as usize, node.no as usize]);
                }
            }
            targets.push(target?);
        }
        Some(targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(mode: Mode, missing: bool) -> Split {
        let branch = Branch { mode, feature: 0, value: 0.5, missing, yes: 1, no: 2 };
        Split::of(branch, false).unwrap()
    }

    fn goes(split: Split, x: f64) -> i32 {
        let holds = if split.equal { x == split.value } else { x <= split.value };
        if holds || (x.is_nan() && split.nan) { split.yes } else { split.no }
    }

    #[test]
    fn every_comparison_goes_where_onnx_sends_it() {
        let x = [0.25, 0.5, 0.75, f64::NAN];
        for (mode, ways, ways_if_missing) in [
            (Mode::LessOrEqual, [1, 1, 2, 2], [1, 1, 2, 1]),
            (Mode::Less, [1, 2, 2, 2], [1, 2, 2, 1]),
            (Mode::GreaterOrEqual, [2, 1, 1, 2], [2, 1, 1, 1]),
            (Mode::Greater, [2, 2, 1, 2], [2, 2, 1, 1]),
            (Mode::Equal, [2, 1, 2, 2], [2, 1, 2, 1]),
            (Mode::NotEqual, [1, 2, 1, 1], [1, 2, 1, 1]),
        ] {
            assert_eq!(x.map(|x| goes(branch(mode, false), x)), ways, "{mode:?}");
            assert_eq!(x.map(|x| goes(branch(mode, true), x)), ways_if_missing, "{mode:?}");
        }
    }

    fn forest(ways: &[(i32, i32)]) -> Forest {
        let split = |&(yes, no): &(i32, i32)| Split { yes, no, ..Split::leaf(0) };
        Forest { nodes: ways.iter().map(split).collect(), roots: vec![0], votes: Vec::new() }
    }

    #[test]
    fn the_depth_is_that_of_the_longest_way() {
        assert_eq!(forest(&[(0, 0)]).depth().unwrap(), 0);
        assert_eq!(forest(&[(1, 2), (1, 1), (3, 4), (3, 3), (4, 4)]).depth().unwrap(), 2);
        assert_eq!(forest(&[(1, 1), (1, 1)]).depth().unwrap(), 1, "both ways to one leaf");
    }

    #[test]
    fn trees_without_an_end_are_refused() {
        assert!(forest(&[(1, 1), (0, 0)]).depth().is_err());
        assert!(forest(&[(0, 1), (1, 1)]).depth().is_err());
        assert!(forest(&[(1, 9), (1, 1)]).depth().is_err());
        assert!(forest(&[(-1, 1), (1, 1)]).depth().is_err());
        let mut long: Vec<(i32, i32)> = (1..10_000).map(|next| (next, next)).collect();
        long.push((9_999, 9_999));
        assert!(forest(&long).depth().is_err());
    }

    #[test]
    fn trees_with_one_target_each_are_known_as_such() {
        let mut trees = forest(&[(1, 2), (1, 1), (2, 2), (3, 3)]);
        trees.roots.push(3);
        let vote = |node, target| Vote { node, target, weight: 1.0 };
        trees.votes = vec![vote(1, 4), vote(2, 4), vote(3, 0)];
        assert_eq!(trees.single_targets(), Some(vec![4, 0]));
        trees.votes[1].target = 0;
        assert_eq!(trees.single_targets(), None);
        trees.votes.remove(1);
        assert_eq!(trees.single_targets(), None, "a leaf without a vote");
    }
}
