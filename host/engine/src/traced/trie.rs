//! The stages that are kept: by the shapes of the inputs, then by what was observed.
//!
//! Lookups take the lock of one stage's children for a moment. Keeping and evicting happen under the
//! lock of the inventory, which no lookup takes; what is evicted is dropped after the lock.

use super::inputs::InputRules;
use super::names::Slots;
use crate::config::TracedConfig;
use aimass_sandbox::TracedStage;
use aimass_tensor::{Shape, Strings, Tensor};
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A stage of a trace, kept or on the way of one request only.
pub(crate) struct Node {
    /// Unique in the model.
    pub(crate) id: u64,
    /// Stages before it.
    depth: usize,
    /// What leads here: content, or for a first stage shapes.
    key: NodeKey,
    /// The stage; `None` if the plugin is to be asked every time.
    pub(crate) stage: Option<(TracedStage, Slots)>,
    /// Tick of the request that came by last.
    used: AtomicU64,
    children: Mutex<Nodes>,
}

type Nodes = HashMap<u64, Vec<Arc<Node>>>;

/// What leads to a stage.
pub(crate) enum NodeKey {
    /// The shapes of all inputs; of the batch only if `batched` is false.
    Shapes { shapes: Vec<Shape>, batched: bool },
    /// The observed tensors.
    Observed(Vec<Tensor>),
}

/// All stages that are kept of a model.
pub(crate) struct Trie {
    roots_max: usize,
    stages_max: usize,
    content_bytes_max: u64,
    plan_bytes_max: u64,
    hasher: RandomState,
    ticks: AtomicU64,
    ids: AtomicU64,
    roots: Mutex<Nodes>,
    inventory: Mutex<Inventory>,
}

#[derive(Default)]
struct Inventory {
    entries: HashMap<u64, Entry>,
    roots: usize,
    content_bytes: u64,
    plan_bytes: u64,
}

struct Entry {
    node: Arc<Node>,
    parent: Option<u64>,
    digest: u64,
    children: usize,
    content_bytes: u64,
    plan_bytes: u64,
}

/// How much is kept, for tests.
#[cfg(test)]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) roots: usize,
    pub(crate) stages: usize,
    pub(crate) content_bytes: u64,
}

impl Trie {
    pub(crate) fn new(config: &TracedConfig) -> Trie {
        Trie {
            roots_max: config.roots_max,
            stages_max: config.stages_max,
            content_bytes_max: config.content_bytes_max,
            plan_bytes_max: config.plan_bytes_max,
            hasher: RandomState::new(),
            ticks: AtomicU64::new(1),
            ids: AtomicU64::new(1),
            roots: Mutex::default(),
            inventory: Mutex::default(),
        }
    }

    /// The tick of a request: later ones have larger ones.
    pub(crate) fn tick(&self) -> u64 {
        self.ticks.fetch_add(1, Ordering::Relaxed)
    }

    /// A stage that is not kept yet.
    pub(crate) fn node(
        &self,
        depth: usize,
        key: NodeKey,
        stage: Option<(TracedStage, Slots)>,
    ) -> Arc<Node> {
        Arc::new(Node {
            id: self.ids.fetch_add(1, Ordering::Relaxed),
            depth,
            key,
            stage,
            used: AtomicU64::new(self.tick()),
            children: Mutex::default(),
        })
    }

    /// Digest of shapes, batch extents left out.
    pub(crate) fn shapes_digest<'a>(
        &self,
        rules: &InputRules,
        shapes: impl Iterator<Item = &'a Shape>,
    ) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for (index, shape) in shapes.enumerate() {
            let from = usize::from(rules.is_batch(index)).min(shape.rank());
            shape.dims()[from..].hash(&mut hasher);
        }
        hasher.finish()
    }

    /// Digest of shapes, batch extents included.
    pub(crate) fn exact_digest<'a>(&self, shapes: impl Iterator<Item = &'a Shape>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        shapes.for_each(|shape| shape.dims().hash(&mut hasher));
        hasher.finish()
    }

    /// Digest of observed content.
    pub(crate) fn content_digest<'a>(&self, tensors: impl Iterator<Item = &'a Tensor>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        for tensor in tensors {
            tensor.shape().dims().hash(&mut hasher);
            match tensor.strings() {
                Some(strings) => {
                    strings.offsets().hash(&mut hasher);
                    strings.data().hash(&mut hasher);
                }
                None => tensor.bytes().hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// The first stage for inputs of these shapes.
    pub(crate) fn root(
        &self,
        rules: &InputRules,
        digest: u64,
        inputs: &[Tensor],
    ) -> Option<Arc<Node>> {
        let roots = lock(&self.roots);
        let fits = |node: &&Arc<Node>| node.key.fits_shapes(rules, inputs);
        roots.get(&digest)?.iter().find(fits).cloned()
    }

    /// The stage behind `parent` for this content: `observed` answers tensor `index` of it.
    pub(crate) fn child<'a>(
        &self,
        parent: &Node,
        digest: u64,
        observed: impl Fn(usize) -> Option<&'a Tensor>,
    ) -> Option<Arc<Node>> {
        for index in 0.. {
            // Content may be large: it is compared outside of the lock.
            let candidate = lock(&parent.children).get(&digest)?.get(index).cloned()?;
            if candidate.key.fits_content(&observed) {
                return Some(candidate);
            }
        }
        None
    }

    /// Keeps a stage, and evicts what was used longest ago until the limits hold. A stage whose own
    /// content is beyond them, or whose parent has gone, is not kept. Whether it is kept.
    pub(crate) fn keep(&self, parent: Option<&Arc<Node>>, digest: u64, node: &Arc<Node>) -> bool {
        let (content_bytes, plan_bytes) = (node.content_bytes(), node.plan_bytes());
        if content_bytes > self.content_bytes_max || plan_bytes > self.plan_bytes_max {
            return false;
        }
        let mut inventory = lock(&self.inventory);
        let parent_id = parent.map(|parent| parent.id);
        if let Some(id) = parent_id {
            let Some(entry) = inventory.entries.get_mut(&id) else { return false };
            entry.children += 1;
        }
        let siblings = parent.map_or(&self.roots, |parent| &parent.children);
        lock(siblings).entry(digest).or_default().push(node.clone());
        let (node_too, children) = (node.clone(), 0);
        let entry = Entry {
            node: node_too,
            parent: parent_id,
            digest,
            children,
            content_bytes,
            plan_bytes,
        };
        inventory.entries.insert(node.id, entry);
        inventory.roots += usize::from(parent.is_none());
        inventory.content_bytes += content_bytes;
        inventory.plan_bytes += plan_bytes;
        let gone = self.evict(&mut inventory);
        let kept = inventory.entries.contains_key(&node.id);
        drop(inventory);
        drop(gone);
        kept
    }

    fn evict(&self, inventory: &mut Inventory) -> Vec<Entry> {
        let mut gone = Vec::new();
        while inventory.roots > self.roots_max {
            let Some(root) = inventory.oldest(|entry| entry.parent.is_none()) else { break };
            self.remove_tree(inventory, root, &mut gone);
        }
        while inventory.entries.len() > self.stages_max
            || inventory.content_bytes > self.content_bytes_max
            || inventory.plan_bytes > self.plan_bytes_max
        {
            let Some(leaf) = inventory.oldest(|entry| entry.children == 0) else { break };
            self.remove_tree(inventory, leaf, &mut gone);
        }
        gone
    }

    fn remove_tree(&self, inventory: &mut Inventory, top: u64, gone: &mut Vec<Entry>) {
        let mut waiting = vec![top];
        while let Some(id) = waiting.pop() {
            let Some(entry) = inventory.entries.remove(&id) else { continue };
            inventory.content_bytes -= entry.content_bytes;
            inventory.plan_bytes -= entry.plan_bytes;
            let children = std::mem::take(&mut *lock(&entry.node.children));
            waiting.extend(children.values().flatten().map(|child| child.id));
            if id == top {
                self.detach(inventory, &entry);
            }
            gone.push(entry);
        }
    }

    fn detach(&self, inventory: &mut Inventory, entry: &Entry) {
        let parent = entry.parent.and_then(|id| inventory.entries.get_mut(&id));
        inventory.roots -= usize::from(entry.parent.is_none());
        let siblings = match parent {
            Some(parent) => {
                parent.children -= 1;
                &parent.node.children
            }
            None => &self.roots,
        };
        let mut siblings = lock(siblings);
        if let Some(nodes) = siblings.get_mut(&entry.digest) {
            nodes.retain(|node| node.id != entry.node.id);
            if nodes.is_empty() {
                siblings.remove(&entry.digest);
            }
        }
    }

    /// What is kept.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> Kept {
        let inventory = lock(&self.inventory);
        Kept {
            roots: inventory.roots,
            stages: inventory.entries.len(),
            content_bytes: inventory.content_bytes,
        }
    }
}

impl Drop for Trie {
    /// Takes the trie apart stage by stage: a trace can be thousands of stages deep, and dropping one
    /// inside the other would take as many frames.
    fn drop(&mut self) {
        for entry in lock(&self.inventory).entries.values() {
            lock(&entry.node.children).clear();
        }
    }
}

impl Inventory {
    /// Of those that `which` picks, the entry used longest ago; of equals the deepest.
    fn oldest(&self, which: impl Fn(&Entry) -> bool) -> Option<u64> {
        let age = |entry: &&Entry| {
            let used = entry.node.used.load(Ordering::Relaxed);
            (used, std::cmp::Reverse(entry.node.depth), entry.node.id)
        };
        let picked = self.entries.values().filter(|entry| which(entry));
        picked.min_by_key(age).map(|entry| entry.node.id)
    }
}

impl Node {
    /// A request came by.
    pub(crate) fn touch(&self, tick: u64) {
        self.used.store(tick, Ordering::Relaxed);
    }

    /// Bytes that its plan holds for itself.
    fn plan_bytes(&self) -> u64 {
        let plan = self.stage.as_ref().and_then(|(stage, _)| stage.plan.as_ref());
        plan.map_or(0, |plan| plan.constant_bytes())
    }

    fn content_bytes(&self) -> u64 {
        let known = self.stage.iter().flat_map(|(stage, _)| &stage.known);
        let known = known.map(|(_, tensor)| tensor.byte_len() as u64);
        known.sum::<u64>() + self.key.content_bytes()
    }
}

impl NodeKey {
    fn fits_shapes(&self, rules: &InputRules, inputs: &[Tensor]) -> bool {
        let NodeKey::Shapes { shapes, batched } = self else { return false };
        let mut pairs = shapes.iter().zip(inputs).enumerate();
        shapes.len() == inputs.len()
            && pairs.all(|(index, (shape, input))| {
                let from = usize::from(*batched && rules.is_batch(index)).min(shape.rank());
                let got = input.shape();
                shape.rank() == got.rank() && shape.dims()[from..] == got.dims()[from..]
            })
    }

    fn fits_content<'a>(&self, observed: impl Fn(usize) -> Option<&'a Tensor>) -> bool {
        let NodeKey::Observed(tensors) = self else { return false };
        let same = |(index, tensor): (usize, &Tensor)| {
            observed(index).is_some_and(|other| same_content(tensor, other))
        };
        tensors.iter().enumerate().all(same)
    }

    fn content_bytes(&self) -> u64 {
        match self {
            NodeKey::Shapes { .. } => 0,
            NodeKey::Observed(tensors) => {
                tensors.iter().map(|tensor| tensor.byte_len() as u64).sum()
            }
        }
    }
}

fn same_content(a: &Tensor, b: &Tensor) -> bool {
    let strings = |a: &Strings, b: &Strings| a.offsets() == b.offsets() && a.data() == b.data();
    a.dtype() == b.dtype()
        && a.shape() == b.shape()
        && match (a.strings(), b.strings()) {
            (Some(a), Some(b)) => strings(a, b),
            (None, None) => a.bytes() == b.bytes(),
            (Some(_), None) | (None, Some(_)) => false,
        }
}

/// A copy with memory of its own, so that what is kept holds no larger buffer alive.
pub(crate) fn compact(tensor: &Tensor) -> Tensor {
    let copy = match tensor.strings() {
        Some(strings) => {
            let items: Vec<&[u8]> = strings.iter().collect();
            let strings = Strings::from_slices(&items).ok();
            strings.and_then(|strings| Tensor::from_strings(*tensor.shape(), strings).ok())
        }
        None => Tensor::copy_from(tensor.dtype(), *tensor.shape(), tensor.bytes()).ok(),
    };
    copy.unwrap_or_else(|| tensor.clone())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aimass_sandbox::PluginSignature;

    fn trie(roots_max: usize, stages_max: usize, content_bytes_max: u64) -> Trie {
        Trie::new(&TracedConfig { roots_max, stages_max, content_bytes_max, ..Default::default() })
    }

    fn rules() -> InputRules {
        InputRules::of(&PluginSignature::default())
    }

    fn bytes(content: &[u8]) -> Tensor {
        Tensor::from_slice(&[content.len()], content).unwrap()
    }

    fn stage() -> Option<(TracedStage, Slots)> {
        let (known, observe) = (Vec::new(), Vec::new());
        let (batched, reusable, blocked_by) = (false, true, None);
        let stage = TracedStage { plan: None, known, observe, batched, reusable, blocked_by };
        Some((stage, Slots::default()))
    }

    fn root(trie: &Trie, digest: u64) -> Arc<Node> {
        let key = NodeKey::Shapes { shapes: Vec::new(), batched: false };
        let node = trie.node(0, key, stage());
        assert!(trie.keep(None, digest, &node));
        node
    }

    fn child(trie: &Trie, parent: &Arc<Node>, content: &[u8]) -> (Arc<Node>, bool) {
        let content = bytes(content);
        let digest = trie.content_digest([&content].into_iter());
        let node = trie.node(parent.depth + 1, NodeKey::Observed(vec![content]), stage());
        let kept = trie.keep(Some(parent), digest, &node);
        (node, kept)
    }

    fn find(trie: &Trie, parent: &Node, content: &[u8]) -> Option<u64> {
        let content = bytes(content);
        let digest = trie.content_digest([&content].into_iter());
        Some(trie.child(parent, digest, |_| Some(&content))?.id)
    }

    #[test]
    fn content_is_compared_and_not_only_its_digest() {
        let trie = trie(9, 9, 99);
        let root = root(&trie, 0);
        let node = |content: &[u8]| {
            let node = trie.node(1, NodeKey::Observed(vec![bytes(content)]), stage());
            assert!(trie.keep(Some(&root), 7, &node));
            node.id
        };
        let (a, b) = (node(b"a"), node(b"b"));
        let find = |content: &[u8]| {
            let content = bytes(content);
            trie.child(&root, 7, |_| Some(&content)).map(|node| node.id)
        };
        assert_eq!((find(b"a"), find(b"b"), find(b"c")), (Some(a), Some(b), None));
    }

    #[test]
    fn the_leaf_used_longest_ago_goes_first() {
        let trie = trie(9, 3, 99);
        let root = root(&trie, 0);
        let (first, _) = child(&trie, &root, b"a");
        child(&trie, &root, b"b");
        first.touch(trie.tick());
        let (_, kept) = child(&trie, &root, b"c");
        assert!(kept);
        assert_eq!(trie.kept(), Kept { roots: 1, stages: 3, content_bytes: 2 });
        assert!(find(&trie, &root, b"a").is_some() && find(&trie, &root, b"c").is_some());
        assert!(find(&trie, &root, b"b").is_none());
    }

    #[test]
    fn a_path_that_is_too_deep_is_kept_as_far_as_it_fits() {
        let trie = trie(9, 3, 99);
        let tick = trie.tick() + 100;
        let mut node = root(&trie, 0);
        for depth in 1..6 {
            node.touch(tick);
            let (next, kept) = child(&trie, &node, b"a");
            // The child is older than what leads to it, until it is come by.
            assert_eq!(kept, depth < 3, "depth {depth}");
            node = next;
        }
        assert_eq!(trie.kept().stages, 3);
    }

    #[test]
    fn a_root_goes_with_all_that_is_behind_it() {
        let trie = trie(2, 99, 99);
        let old = root(&trie, 1);
        let (middle, _) = child(&trie, &old, b"abc");
        child(&trie, &middle, b"d");
        root(&trie, 2);
        root(&trie, 3);
        assert_eq!(trie.kept(), Kept { roots: 2, stages: 2, content_bytes: 0 });
        assert!(trie.root(&rules(), 1, &[]).is_none() && trie.root(&rules(), 2, &[]).is_some());
        let (_, kept) = child(&trie, &middle, b"e");
        assert!(!kept, "behind a stage that has gone");
        assert_eq!(trie.kept().stages, 2);
    }

    #[test]
    fn content_is_kept_up_to_its_limit_and_never_beyond() {
        let trie = trie(9, 99, 8);
        let root = root(&trie, 0);
        assert!(child(&trie, &root, &[1; 8]).1);
        assert!(!child(&trie, &root, &[2; 9]).1, "more than the limit alone");
        assert_eq!(trie.kept().content_bytes, 8);
        assert!(child(&trie, &root, &[3; 1]).1);
        assert_eq!(trie.kept(), Kept { roots: 1, stages: 2, content_bytes: 1 });
    }

    #[test]
    fn a_deep_trie_is_dropped_without_a_deep_stack() {
        let trie = trie(9, 1_000_000, 1 << 30);
        let mut node = root(&trie, 0);
        for _ in 0..100_000 {
            node = child(&trie, &node, b"a").0;
        }
        drop(node);
        drop(trie);
    }

    #[test]
    fn what_is_kept_holds_no_larger_buffer() {
        let large = bytes(&[7; 64]);
        let row = compact(&large.rows(1..3));
        assert_eq!((row.bytes(), row.shape()[0]), (&[7u8, 7][..], 2));
        assert_ne!(row.bytes().as_ptr(), large.bytes()[1..].as_ptr());
        let strings = Strings::from_slices(&["ab", "c"]).unwrap();
        let strings = Tensor::from_strings(Shape::new(&[2]).unwrap(), strings).unwrap();
        assert!(same_content(&compact(&strings), &strings));
        assert!(!same_content(&compact(&strings.rows(0..1)), &strings));
    }
}
