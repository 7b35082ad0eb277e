//! Names of values, as numbers: a name is text only where it is read and where a person sees it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

/// The name of a value; equal names have equal numbers. The empty name, which stands for none, is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Name(u32);

/// A map by [`Name`].
pub(crate) type NameMap<V> = HashMap<Name, V, BuildHasherDefault<NameHasher>>;
/// A set of [`Name`]s.
pub(crate) type NameSet = HashSet<Name, BuildHasherDefault<NameHasher>>;

impl Name {
    /// Whether it stands for no value.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Spreads consecutive numbers. A file cannot choose them, so that no secret is needed.
#[derive(Debug, Default)]
pub(crate) struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

/// All names of a model.
#[derive(Debug)]
pub(crate) struct Names {
    numbers: HashMap<Rc<str>, Name>,
    texts: Vec<Rc<str>>,
}

impl Default for Names {
    fn default() -> Names {
        let empty: Rc<str> = Rc::from("");
        Names { numbers: HashMap::from([(empty.clone(), Name(0))]), texts: vec![empty] }
    }
}

impl Names {
    /// The number of a name, and whether it is new.
    pub(crate) fn intern(&mut self, text: &str) -> (Name, bool) {
        if let Some(&name) = self.numbers.get(text) {
            return (name, false);
        }
        let name = Name(self.texts.len() as u32);
        let text: Rc<str> = Rc::from(text);
        self.texts.push(text.clone());
        self.numbers.insert(text, name);
        (name, true)
    }

    /// The number of a name that the model has.
    pub(crate) fn get(&self, text: &str) -> Option<Name> {
        self.numbers.get(text).copied()
    }

    /// The text of a name.
    pub(crate) fn text(&self, name: Name) -> &str {
        self.texts.get(name.0 as usize).map_or("", |text| text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_number() {
        let mut names = Names::default();
        assert_eq!(names.intern(""), (Name::default(), false));
        let (x, new) = names.intern("x");
        assert!(new && !x.is_empty());
        assert_eq!(names.intern("x"), (x, false));
        assert_eq!((names.text(x), names.get("x"), names.get("y")), ("x", Some(x), None));
    }

    #[test]
    fn consecutive_numbers_are_spread_over_all_bits() {
        let hash = |number: u32| {
            let mut hasher = NameHasher::default();
            hasher.write_u32(number);
            hasher.finish()
        };
        let (mut high, mut low) = (HashSet::new(), HashSet::new());
        for number in 1..=1000 {
            high.insert(hash(number) >> 57);
            low.insert(hash(number) & 0x3ff);
        }
        assert!(high.len() > 100 && low.len() > 600, "{} {}", high.len(), low.len());
    }
}
