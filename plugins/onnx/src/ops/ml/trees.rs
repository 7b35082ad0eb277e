//! Ensembles of decision trees: all trees of all rows go one comparison down at a time.
//!
//! A step is a few gathers from the tables of [`Forest`]: the feature, the number to compare it with,
//! the next node. After as many steps as the deepest tree has, every place is a leaf.

use super::classes::{Labels, Transform, add_columns};
use super::forest::{Branch, Forest, Mode, Split, Vote, bounded};
use super::{Table, floats, matrix, one};
use crate::constant::constant;
use crate::content::{number_tensor, scalar};
use crate::node::{Cx, Inputs};
use crate::value::{R, T, TensorValue, Value, invalid, unsupported};
use aimass_sdk::{DType, Error};
use std::collections::{HashMap, HashSet};

pub(super) const TABLE: Table = &[
    ("TreeEnsemble", tree_ensemble),
    ("TreeEnsembleClassifier", tree_ensemble_classifier),
    ("TreeEnsembleRegressor", tree_ensemble_regressor),
];

/// Elements of the table of votes: nodes by targets.
const VOTES_MAX: usize = 16 << 20;

/// How the votes for a target become one number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aggregate {
    Average,
    Sum,
    Min,
    Max,
}

/// Whole numbers of an attribute.
fn ints<'a>(cx: &Cx<'a>, name: &str) -> R<&'a [i64]> {
    Ok(cx.attr_ints_opt(name)?.unwrap_or_default())
}

/// Numbers of an attribute, or of its twin `.._as_tensor`.
fn numbers(cx: &mut Cx<'_>, name: &str) -> R<Vec<f64>> {
    if let Some(tensor) = cx.attr_tensor_opt(&format!("{name}_as_tensor"))? {
        let tensor = constant(cx, tensor)?;
        return cx.floats(&tensor);
    }
    Ok(cx.attr_floats_opt(name)?.unwrap_or_default().iter().map(|&value| value.into()).collect())
}

fn same_length(name: &str, expected: usize, got: usize) -> R<()> {
    if expected == got {
        return Ok(());
    }
    Err(invalid(format!("{name}: expected {expected} elements, got {got}")))
}

/// A node, or -1, as an index of a table.
fn index(value: i64, len: usize, what: &str) -> R<usize> {
    usize::try_from(value)
        .ok()
        .filter(|index| *index < len)
        .ok_or_else(|| invalid(format!("{what} {value} is none of {len}")))
}

/// The trees of `TreeEnsembleClassifier` and `TreeEnsembleRegressor`; attributes of votes start with
/// `votes` (`class` or `target`). `wide` says that features are f64.
fn read_trees(cx: &mut Cx<'_>, votes: &str, targets: usize, wide: bool) -> R<Forest> {
    let (trees, ids) = (ints(cx, "nodes_treeids")?, ints(cx, "nodes_nodeids")?);
    let features = ints(cx, "nodes_featureids")?;
    let (yes, no) = (ints(cx, "nodes_truenodeids")?, ints(cx, "nodes_falsenodeids")?);
    let missing = ints(cx, "nodes_missing_value_tracks_true")?;
    let modes = cx.attr_texts_opt("nodes_modes")?.unwrap_or_default();
    let values = numbers(cx, "nodes_values")?;
    let count = trees.len();
    bounded(count)?;
    for (name, len) in [
        ("nodes_nodeids", ids.len()),
        ("nodes_featureids", features.len()),
        ("nodes_truenodeids", yes.len()),
        ("nodes_falsenodeids", no.len()),
        ("nodes_modes", modes.len()),
        ("nodes_values", values.len()),
    ] {
        same_length(name, count, len)?;
    }
    let places = Places::of(trees, ids);
    let mut forest = Forest { roots: places.roots(), ..Forest::default() };
    let find = |tree: i64, id: i64| {
        let place = places.find(tree, id);
        place.ok_or_else(|| invalid(format!("tree {tree} has no node {id}")))
    };
    for at in 0..count {
        forest.nodes.push(match mode_of(&modes[at])? {
            None => Split::leaf(at),
            Some(mode) => {
                let (yes, no) = (find(trees[at], yes[at])?, find(trees[at], no[at])?);
                let missing = missing.get(at).is_some_and(|&missing| missing != 0);
                let (feature, value) = (features[at], values[at]);
                Split::of(Branch { mode, feature, value, missing, yes, no }, wide)?
            }
        });
    }
    let (trees, ids) = (format!("{votes}_treeids"), format!("{votes}_nodeids"));
    let (trees, ids) = (ints(cx, &trees)?, ints(cx, &ids)?);
    let to = ints(cx, &format!("{votes}_ids"))?;
    let weights = numbers(cx, &format!("{votes}_weights"))?;
    same_length("weights", to.len(), weights.len())?;
    same_length("weights", trees.len().min(ids.len()), weights.len())?;
    for at in 0..to.len() {
        let (node, target) = (find(trees[at], ids[at])?, index(to[at], targets, "target")?);
        forest.votes.push(Vote { node, target, weight: weights[at] });
    }
    Ok(forest)
}

/// Where the nodes of trees are.
struct Places {
    /// By tree, its first node and how many follow it; the last tree wins.
    runs: HashMap<i64, (usize, usize)>,
    /// First nodes, in order.
    roots: Vec<usize>,
    /// By tree and node, where the nodes of some tree do not count up from 0 in one run.
    scattered: Option<HashMap<(i64, i64), usize>>,
}

impl Places {
    fn of(trees: &[i64], ids: &[i64]) -> Places {
        let (mut runs, mut roots) = (HashMap::new(), Vec::new());
        let mut regular = true;
        let mut start = 0;
        for run in trees.chunk_by(|a, b| a == b) {
            regular &= (0..run.len()).all(|at| ids[start + at] == at as i64);
            regular &= runs.insert(run[0], (start, run.len())).is_none();
            roots.push(start);
            start += run.len();
        }
        let scattered = (!regular).then(|| {
            let pairs = trees.iter().copied().zip(ids.iter().copied()).enumerate();
            // The first node of a tree is its root, wherever its other nodes are.
            let mut seen = HashSet::new();
            roots.retain(|&root: &usize| seen.insert(trees[root]));
            pairs.map(|(at, pair)| (pair, at)).collect()
        });
        Places { runs, roots, scattered }
    }

    fn roots(&self) -> Vec<usize> {
        self.roots.clone()
    }

    fn find(&self, tree: i64, id: i64) -> Option<usize> {
        match &self.scattered {
            Some(scattered) => scattered.get(&(tree, id)).copied(),
            None => {
                let &(start, len) = self.runs.get(&tree)?;
                usize::try_from(id).ok().filter(|id| *id < len).map(|id| start + id)
            }
        }
    }
}

/// None for a leaf.
fn mode_of(name: &[u8]) -> R<Option<Mode>> {
    Ok(Some(match name {
        b"LEAF" => return Ok(None),
        b"BRANCH_LEQ" => Mode::LessOrEqual,
        b"BRANCH_LT" => Mode::Less,
        b"BRANCH_GTE" => Mode::GreaterOrEqual,
        b"BRANCH_GT" => Mode::Greater,
        b"BRANCH_EQ" => Mode::Equal,
        b"BRANCH_NEQ" => Mode::NotEqual,
        other => {
            let other = String::from_utf8_lossy(other);
            return Err(invalid(format!("nodes_modes: unknown mode {other}")));
        }
    }))
}

/// The leaf that each row of `x` reaches in each tree: i32 [n, trees].
fn leaves(cx: &mut Cx<'_>, forest: &Forest, x: &T) -> R<T> {
    let depth = forest.depth()?;
    let features = x.extent(1)?;
    let nodes = &forest.nodes;
    if let Some(node) = nodes.iter().find(|node| node.feature as u64 >= features) {
        let got = node.feature;
        return Err(invalid(format!("expected features below {features}, a tree compares {got}")));
    }
    let count = nodes.len() as u64;
    let table = |value: fn(&Split) -> i32| {
        let bytes = nodes.iter().flat_map(|node| value(node).to_le_bytes()).collect();
        TensorValue::of_bytes(DType::I32, &[count], bytes)
    };
    let flags = |value: fn(&Split) -> bool| {
        let bytes: Vec<u8> = nodes.iter().map(|node| u8::from(value(node))).collect();
        bytes.contains(&1).then(|| TensorValue::of_bytes(DType::Bool, &[count], bytes))
    };
    let numbers: Vec<f64> = nodes.iter().map(|node| node.value).collect();
    let tables = Tables {
        feature: table(|node| node.feature),
        value: number_tensor(x.dtype, &[count], &numbers)?,
        yes: table(|node| node.yes),
        no: table(|node| node.no),
        equal: flags(|node| node.equal),
        nan: flags(|node| node.nan),
    };
    let roots: Vec<u8> =
        forest.roots.iter().flat_map(|&root| (root as i32).to_le_bytes()).collect();
    let mut places = TensorValue::of_bytes(DType::I32, &[forest.roots.len() as u64], roots);
    for _ in 0..depth {
        places = tables.step(cx, x, &places)?;
    }
    if depth == 0 {
        let mut dims = x.dims.clone();
        dims[1] = places.dims[0];
        return cx.broadcast(&places, &dims);
    }
    Ok(places)
}

/// The forest in the graph. What no node needs is none.
struct Tables {
    feature: T,
    value: T,
    yes: T,
    no: T,
    equal: Option<T>,
    nan: Option<T>,
}

impl Tables {
    /// The next node of every tree for every row. `places` is [trees] at the roots, then [n, trees].
    fn step(&self, cx: &mut Cx<'_>, x: &T, places: &T) -> R<T> {
        let feature = cx.gather(&self.feature, places, 0)?;
        let value = match places.rank() {
            1 => cx.gather(x, &feature, 1)?,
            _ => cx.gather_elements(x, &feature, 1)?,
        };
        let bound = cx.gather(&self.value, places, 0)?;
        let mut holds = cx.less_equal(&value, &bound)?;
        if let Some(equal) = &self.equal {
            let wanted = cx.gather(equal, places, 0)?;
            let same = cx.equal(&value, &bound)?;
            holds = cx.select(&wanted, &same, &holds)?;
        }
        if let Some(nan) = &self.nan {
            let goes = cx.gather(nan, places, 0)?;
            let is_nan = cx.is_nan(&value)?;
            let goes = cx.logical_and(&goes, &is_nan)?;
            holds = cx.logical_or(&holds, &goes)?;
        }
        let (yes, no) = (cx.gather(&self.yes, places, 0)?, cx.gather(&self.no, places, 0)?);
        cx.select(&holds, &yes, &no)
    }
}

/// The votes of these leaves as one number a target: [n, targets].
fn tally(cx: &mut Cx<'_>, forest: &Forest, places: &T, how: (usize, Aggregate, DType)) -> R<T> {
    let (targets, aggregate, dtype) = how;
    let sums = matches!(aggregate, Aggregate::Sum | Aggregate::Average);
    let total = match forest.single_targets().filter(|_| sums) {
        Some(target_of) => single_votes(cx, forest, places, (&target_of, targets, dtype))?,
        None => all_votes(cx, forest, places, how)?,
    };
    match aggregate {
        Aggregate::Average => cx.mul_number(&total, 1.0 / forest.roots.len().max(1) as f64),
        Aggregate::Sum | Aggregate::Min | Aggregate::Max => Ok(total),
    }
}

/// Sums where each leaf has one vote and each tree one target.
fn single_votes(
    cx: &mut Cx<'_>,
    forest: &Forest,
    places: &T,
    (target_of, targets, dtype): (&[usize], usize, DType),
) -> R<T> {
    let mut weights = vec![0.0; forest.nodes.len()];
    for vote in &forest.votes {
        weights[vote.node] = vote.weight;
    }
    let table = number_tensor(dtype, &[weights.len() as u64], &weights)?;
    let votes = cx.gather(&table, places, 0)?;
    if targets == 1 {
        return cx.reduce_sum(&votes, &[1], true);
    }
    table_size(target_of.len(), targets)?;
    let mut counts = vec![0.0; target_of.len() * targets];
    for (tree, target) in target_of.iter().enumerate() {
        counts[tree * targets + target] = 1.0;
    }
    let counts = number_tensor(dtype, &[target_of.len() as u64, targets as u64], &counts)?;
    cx.matmul(&votes, &counts)
}

/// Any votes, by way of a table of nodes and targets.
fn all_votes(
    cx: &mut Cx<'_>,
    forest: &Forest,
    places: &T,
    (targets, aggregate, dtype): (usize, Aggregate, DType),
) -> R<T> {
    let nothing = match aggregate {
        Aggregate::Sum | Aggregate::Average => 0.0,
        Aggregate::Min => f64::INFINITY,
        Aggregate::Max => f64::NEG_INFINITY,
    };
    table_size(forest.nodes.len(), targets)?;
    let mut weights = vec![nothing; forest.nodes.len() * targets];
    for vote in &forest.votes {
        let weight = &mut weights[vote.node * targets + vote.target];
        *weight = match aggregate {
            Aggregate::Sum | Aggregate::Average => *weight + vote.weight,
            Aggregate::Min => weight.min(vote.weight),
            Aggregate::Max => weight.max(vote.weight),
        };
    }
    let table = number_tensor(dtype, &[forest.nodes.len() as u64, targets as u64], &weights)?;
    let votes = cx.gather(&table, places, 0)?;
    let total = match aggregate {
        Aggregate::Sum | Aggregate::Average => return cx.reduce_sum(&votes, &[1], false),
        Aggregate::Min => cx.reduce_min(&votes, &[1], false)?,
        Aggregate::Max => cx.reduce_max(&votes, &[1], false)?,
    };
    // A target that no tree votes for is 0.
    let none = cx.is_inf(&total)?;
    let zero = scalar(dtype, 0.0)?;
    cx.select(&none, &zero, &total)
}

fn table_size(rows: usize, targets: usize) -> R<()> {
    match rows.checked_mul(targets) {
        Some(size) if size <= VOTES_MAX => Ok(()),
        _ => {
            let message = format!(
                "expected at most {VOTES_MAX} nodes times targets, got {rows} times {targets}"
            );
            Err(Error::limit("onnx-tree-votes", message).into())
        }
    }
}

fn aggregate_of(cx: &Cx<'_>) -> R<Aggregate> {
    Ok(match cx.attr_text("aggregate_function", "SUM")? {
        "AVERAGE" => Aggregate::Average,
        "SUM" => Aggregate::Sum,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        other => return Err(invalid(format!("aggregate_function: unknown function {other}"))),
    })
}

fn positive(value: i64, name: &str) -> R<usize> {
    usize::try_from(value)
        .ok()
        .filter(|value| *value > 0)
        .ok_or_else(|| invalid(format!("{name}: expected at least 1, got {value}")))
}

fn tree_ensemble_regressor(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = matrix(cx, inputs.tensor(0)?)?;
    let x = floats(cx, &x)?;
    let targets = positive(cx.attr_int("n_targets", 1)?, "n_targets")?;
    let (aggregate, transform) = (aggregate_of(cx)?, Transform::of(cx)?);
    let forest = read_trees(cx, "target", targets, x.dtype == DType::F64)?;
    let places = leaves(cx, &forest, &x)?;
    let scores = tally(cx, &forest, &places, (targets, aggregate, x.dtype))?;
    let base = numbers(cx, "base_values")?;
    let scores = add_columns(cx, &scores, &base)?;
    let scores = cx.cast(&scores, DType::F32)?;
    one(transform.apply(cx, &scores)?)
}

fn tree_ensemble_classifier(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let x = matrix(cx, inputs.tensor(0)?)?;
    let x = floats(cx, &x)?;
    let transform = Transform::of(cx)?;
    let labels = Labels::of(cx, "classlabels_int64s", "classlabels_strings")?;
    let forest = read_trees(cx, "class", labels.len(), x.dtype == DType::F64)?;
    let places = leaves(cx, &forest, &x)?;
    let base = numbers(cx, "base_values")?;
    let scores = tally(cx, &forest, &places, (labels.len(), Aggregate::Sum, x.dtype))?;
    let scores = cx.cast(&scores, DType::F32)?;
    let Some(first) = forest.votes.first().map(|vote| vote.target) else {
        return Err(invalid("expected leaves with votes"));
    };
    let single = forest.votes.iter().all(|vote| vote.target == first);
    if labels.len() > 2 || !single {
        let scores = add_columns(cx, &scores, &base)?;
        let label = labels.top(cx, &scores)?;
        return Ok(vec![label, transform.apply(cx, &scores)?.into()]);
    }
    // One class has all votes: they decide against the other one.
    let probability = forest.votes.iter().all(|vote| vote.weight >= 0.0);
    let own = cx.slice(&scores, 1, (first as u64, first as u64 + 1), 1)?;
    let own = add_columns(cx, &own, base.get(..1).unwrap_or_default())?;
    let bound = if probability && labels.len() == 2 { 0.5 } else { 0.0 };
    let bound = scalar(DType::F32, bound)?;
    let second = cx.greater(&own, &bound)?;
    if labels.len() == 1 {
        if matches!(labels, Labels::Texts(_)) {
            return Err(unsupported("one class whose label is a text"));
        }
        let label = Labels::Numbers(vec![0, 1]).choose(cx, &second)?;
        return Ok(vec![label, own.into()]);
    }
    let label = labels.choose(cx, &second)?;
    let scores = match first {
        0 => transform.pair(cx, &own, probability)?,
        _ => transform.apply(cx, &scores)?,
    };
    Ok(vec![label, scores.into()])
}

/// `TreeEnsemble` of opset 5: leaves are a table of their own.
fn tree_ensemble(cx: &mut Cx<'_>, inputs: Inputs<'_>) -> R<Vec<Value>> {
    let given = matrix(cx, inputs.tensor(0)?)?;
    let x = floats(cx, &given)?;
    let targets = positive(cx.attr_int("n_targets", 1)?, "n_targets")?;
    let aggregate = match cx.attr_int("aggregate_function", 1)? {
        0 => Aggregate::Average,
        1 => Aggregate::Sum,
        2 => Aggregate::Min,
        3 => Aggregate::Max,
        other => return Err(invalid(format!("aggregate_function: unknown function {other}"))),
    };
    let transform = Transform::of_number(cx)?;
    let forest = read_ensemble(cx, targets, x.dtype == DType::F64)?;
    let places = leaves(cx, &forest, &x)?;
    let scores = tally(cx, &forest, &places, (targets, aggregate, x.dtype))?;
    let scores = transform.apply(cx, &scores)?;
    one(cx.cast(&scores, given.dtype)?)
}

fn read_ensemble(cx: &mut Cx<'_>, targets: usize, wide: bool) -> R<Forest> {
    let (features, roots) = (ints(cx, "nodes_featureids")?, ints(cx, "tree_roots")?);
    let (yes, no) = (ints(cx, "nodes_truenodeids")?, ints(cx, "nodes_falsenodeids")?);
    let (yes_leafs, no_leafs) = (ints(cx, "nodes_trueleafs")?, ints(cx, "nodes_falseleafs")?);
    let missing = ints(cx, "nodes_missing_value_tracks_true")?;
    let to = ints(cx, "leaf_targetids")?;
    let (modes, values) = (tensor(cx, "nodes_modes")?, tensor(cx, "nodes_splits")?);
    let weights = tensor(cx, "leaf_weights")?;
    let members = match cx.attr_tensor_opt("membership_values")? {
        Some(_) => tensor(cx, "membership_values")?,
        None => Vec::new(),
    };
    let mut sets = members.split(|value| value.is_nan());
    let count = features.len();
    for (name, len) in [
        ("nodes_truenodeids", yes.len()),
        ("nodes_falsenodeids", no.len()),
        ("nodes_trueleafs", yes_leafs.len()),
        ("nodes_falseleafs", no_leafs.len()),
        ("nodes_modes", modes.len()),
        ("nodes_splits", values.len()),
    ] {
        same_length(name, count, len)?;
    }
    same_length("leaf_weights", to.len(), weights.len())?;
    bounded(count.saturating_add(to.len()).saturating_add(members.len()))?;
    // Nodes keep their places; leaves come next, then the further members of sets.
    let mut forest = Forest::default();
    let mut more = Vec::new();
    for at in 0..count {
        let way = |id: i64, leaf: i64| match leaf {
            0 => index(id, count, "node"),
            _ => Ok(count + index(id, to.len(), "leaf")?),
        };
        let (yes, no) = (way(yes[at], yes_leafs[at])?, way(no[at], no_leafs[at])?);
        let missing = missing.get(at).is_some_and(|&missing| missing != 0);
        let branch = Branch {
            mode: mode_of_number(modes[at])?,
            feature: features[at],
            value: values[at],
            missing,
            yes,
            no,
        };
        let set = if branch.mode == Mode::Member { sets.next().unwrap_or_default() } else { &[] };
        forest.nodes.push(match branch.mode {
            Mode::Member => {
                let end = count + to.len() + more.len();
                Split::of(member_chain(branch, set, end, &mut more), wide)?
            }
            _ => Split::of(branch, wide)?,
        });
    }
    forest.nodes.extend((count..count + to.len()).map(Split::leaf));
    for branch in more {
        forest.nodes.push(Split::of(branch, wide)?);
    }
    for (at, &target) in to.iter().enumerate() {
        let target = index(target, targets, "target")?;
        forest.votes.push(Vote { node: count + at, target, weight: weights[at] });
    }
    for &root in roots {
        forest.roots.push(index(root, count, "root")?);
    }
    Ok(forest)
}

/// A set of members as comparisons with each, one after the other. Answers the first; the others
/// join `more`, whose first element stands at node `start`.
fn member_chain(branch: Branch, set: &[f64], start: usize, more: &mut Vec<Branch>) -> Branch {
    let last = set.len().saturating_sub(1);
    let one = |index: usize| Branch {
        mode: Mode::Equal,
        value: set.get(index).copied().unwrap_or(f64::NAN),
        missing: branch.missing && index == 0,
        no: if index == last { branch.no } else { start + index },
        ..branch
    };
    more.extend((1..=last).map(one));
    one(0)
}

fn tensor(cx: &mut Cx<'_>, name: &str) -> R<Vec<f64>> {
    let tensor = cx.attr_tensor_opt(name)?;
    let tensor = tensor.ok_or_else(|| invalid(format!("expected an attribute {name}")))?;
    let tensor = constant(cx, tensor)?;
    cx.floats(&tensor)
}

fn mode_of_number(number: f64) -> R<Mode> {
    Ok(match number as i64 {
        0 => Mode::LessOrEqual,
        1 => Mode::Less,
        2 => Mode::GreaterOrEqual,
        3 => Mode::Greater,
        4 => Mode::Equal,
        5 => Mode::NotEqual,
        6 => Mode::Member,
        other => return Err(invalid(format!("nodes_modes: unknown mode {other}"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_in_runs_and_anywhere() {
        let regular = Places::of(&[4, 4, 4, 7, 7], &[0, 1, 2, 0, 1]);
        assert_eq!((regular.roots(), regular.scattered.is_none()), (vec![0, 3], true));
        assert_eq!((regular.find(4, 2), regular.find(7, 1)), (Some(2), Some(4)));
        assert_eq!(
            (regular.find(7, 2), regular.find(7, -1), regular.find(5, 0)),
            (None, None, None)
        );
        let mixed = Places::of(&[4, 7, 4, 7], &[10, 11, 12, 13]);
        assert_eq!(mixed.roots(), [0, 1]);
        assert_eq!(
            (mixed.find(4, 12), mixed.find(7, 13), mixed.find(4, 13)),
            (Some(2), Some(3), None)
        );
        assert_eq!(Places::of(&[], &[]).roots(), [0usize; 0]);
    }

    #[test]
    fn a_set_becomes_a_chain_of_comparisons() {
        let branch =
            Branch { mode: Mode::Member, feature: 3, value: 0.0, missing: true, yes: 1, no: 2 };
        let mut more = Vec::new();
        let first = member_chain(branch, &[5.0, 6.0, 7.0], 10, &mut more);
        let ways = |branch: &Branch| (branch.value, branch.yes, branch.no, branch.missing);
        assert_eq!(ways(&first), (5.0, 1, 10, true));
        assert_eq!(
            more.iter().map(ways).collect::<Vec<_>>(),
            [(6.0, 1, 11, false), (7.0, 1, 2, false)]
        );
        let mut none = Vec::new();
        let first = member_chain(branch, &[], 10, &mut none);
        assert!(first.value.is_nan() && first.no == 2 && none.is_empty());
    }
}
