//! The graph of model names when a version is published: who may call whom, over all ready versions.

use crate::catalog::Catalog;
use crate::errors::of_registry;
use crate::package::ModelManifest;
use crate::{EngineError, Family, Selector};
use aimass_registry::{Registry, Selector as RegistrySelector, Snapshot, parse_reference};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Checks the models that a version of `name` wants to call: each is served, and none of them leads
/// back to `name`.
///
/// # Errors
/// A package error that names the step's model, or the way around.
pub(crate) fn check_calls(
    registry: &Registry,
    name: &str,
    manifest: &ModelManifest,
) -> Result<(), EngineError> {
    if manifest.models_called().next().is_none() {
        return Ok(());
    }
    let snapshot = registry.snapshot().map_err(|error| of_registry(&error))?;
    let served = Catalog::of_snapshot(&snapshot, &Catalog::default(), &BTreeSet::new());
    for reference in manifest.models_called() {
        exists(&served, name, reference)?;
    }
    let first = names(manifest);
    match way_back(name, first, |model| called_by(registry, &snapshot, model))? {
        None => Ok(()),
        Some(way) => Err(refused(
            "model-cycle",
            format!(
                "models may not call themselves through others: {}; remove a name from `models` of \
                 a step, or remove the version that still has it",
                way.join(" -> ")
            ),
        )),
    }
}

/// Serving names in a manifest's grants.
fn names(manifest: &ModelManifest) -> BTreeSet<String> {
    let references = manifest.models_called().filter_map(|text| parse_reference(text).ok());
    references.map(|(name, _)| name.to_owned()).collect()
}

fn exists(served: &Catalog, own: &str, reference: &str) -> Result<(), EngineError> {
    let (name, selector) = parse_reference(reference).map_err(|error| of_registry(&error))?;
    let selector = match selector {
        RegistrySelector::Default => Selector::Default,
        RegistrySelector::Newest => Selector::Newest,
        RegistrySelector::Label(label) => Selector::Label(label),
        RegistrySelector::Version(version) => Selector::Version(version),
    };
    // A model that names itself is a cycle, which says more than that it does not exist yet.
    if name == own {
        return Ok(());
    }
    let found = served.model(name).and_then(|model| model.select(name, &selector).map(|_| ()));
    found.map_err(|error| {
        let message = format!("`models` names {reference}: {}; publish it first", error.message());
        refused("model-not-found", message)
    })
}

/// Models that any ready version of `model` may call.
fn called_by(
    registry: &Registry,
    snapshot: &Snapshot,
    model: &str,
) -> Result<BTreeSet<String>, EngineError> {
    let mut called = BTreeSet::new();
    let Some(record) = snapshot.models.iter().find(|record| record.name == model) else {
        return Ok(called);
    };
    for version in &record.versions {
        if !matches!(version.state, aimass_registry::VersionState::Ready) {
            continue;
        }
        let selector = RegistrySelector::Version(version.version);
        let text = registry.resolve(model, &selector).and_then(|found| found.model_toml());
        let text = text.map_err(|error| of_registry(&error))?;
        // One that an older server took and this one cannot read calls nothing here.
        if let Ok(manifest) = ModelManifest::parse(&text) {
            called.extend(names(&manifest));
        }
    }
    Ok(called)
}

/// The shortest way from `start` over `first` back to `start`, with `start` at both ends.
fn way_back<E>(
    start: &str,
    first: BTreeSet<String>,
    mut called_by: impl FnMut(&str) -> Result<BTreeSet<String>, E>,
) -> Result<Option<Vec<String>>, E> {
    let mut from: BTreeMap<String, String> = BTreeMap::new();
    let mut queue = VecDeque::new();
    let mut reach = |model: String, caller: &str, queue: &mut VecDeque<String>| {
        if !from.contains_key(&model) {
            from.insert(model.clone(), caller.to_owned());
            queue.push_back(model);
        }
    };
    first.into_iter().for_each(|model| reach(model, start, &mut queue));
    while let Some(model) = queue.pop_front() {
        if model == start {
            break;
        }
        called_by(&model)?.into_iter().for_each(|next| reach(next, &model, &mut queue));
    }
    let mut way = vec![start.to_owned()];
    while let Some(caller) = way.last().and_then(|model| from.get(model)) {
        way.push(caller.clone());
        if caller == start {
            way.reverse();
            return Ok(Some(way));
        }
    }
    Ok(None)
}

fn refused(code: &str, message: String) -> EngineError {
    EngineError::new(Family::PackageRefused, code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(first: &[&str], edges: &[(&str, &str)]) -> Option<String> {
        let set = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let called_by = |model: &str| {
            let to = edges.iter().filter(|(from, _)| *from == model).map(|(_, to)| *to);
            Ok::<_, ()>(set(to.collect()))
        };
        way_back("a", set(first.to_vec()), called_by).unwrap().map(|way| way.join(" "))
    }

    #[test]
    fn a_way_back_is_found_and_others_are_not() {
        assert_eq!(way(&["a"], &[]).as_deref(), Some("a a"));
        assert_eq!(way(&["b"], &[("b", "a")]).as_deref(), Some("a b a"));
        let long = [("b", "c"), ("c", "d"), ("d", "a"), ("b", "x"), ("x", "y")];
        assert_eq!(way(&["b"], &long).as_deref(), Some("a b c d a"));
        // A diamond is no cycle, and a cycle elsewhere is not this model's.
        assert_eq!(way(&["b", "c"], &[("b", "d"), ("c", "d"), ("d", "e")]), None);
        assert_eq!(way(&["b"], &[("b", "c"), ("c", "b")]), None);
        assert_eq!(way(&[], &[("b", "a")]), None);
    }
}
