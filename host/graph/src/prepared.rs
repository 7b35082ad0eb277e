//! Constants in the layout that the kernel of one op reads, shared by content between all plans of
//! the process.

use crate::packing::Constant;
use crate::{PlanError, ValueSpec};
use aimass_tensor::{Shape, Tensor};
use sha2::{Digest, Sha256};
use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Something that was made of constants, once for all who need it.
pub(crate) struct Prepared<T>(Arc<T>);

/// An input of an op whose constants are about to be prepared.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) spec: &'a ValueSpec,
    pub(crate) constant: Option<&'a Constant>,
}

/// A constant as an op reads it, which need not be the shape that it is kept in.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    spec: &'a ValueSpec,
    constant: &'a Constant,
}

impl<'a> Source<'a> {
    /// The input, if it is a constant.
    pub(crate) fn known(self) -> Option<Known<'a>> {
        self.constant.map(|constant| Known { spec: self.spec, constant })
    }
}

impl Known<'_> {
    /// The constant in the shape of the input.
    ///
    /// # Errors
    /// [`PlanError`] if a weight cannot be read.
    pub(crate) fn load(&self) -> Result<Tensor, PlanError> {
        let extents: Option<Vec<usize>> = self
            .spec
            .dims
            .iter()
            .map(|dim| dim.fixed().and_then(|extent| usize::try_from(extent).ok()))
            .collect();
        let shape = extents.and_then(|extents| Shape::new(&extents).ok());
        let tensor = self.constant.load()?;
        shape
            .and_then(|shape| tensor.reshaped(shape).ok())
            .ok_or(PlanError::Internal("a constant has other elements than its use says"))
    }
}

type Key = [u8; 32];

static CACHE: Mutex<Option<HashMap<Key, Weak<dyn Any + Send + Sync>>>> = Mutex::new(None);

impl<T: Send + Sync + 'static> Prepared<T> {
    /// What `make` makes of the constants, unless a living plan has it already. `layout` names the
    /// type and everything beside the constants that the result depends on.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn of(
        layout: &str,
        constants: &[Known<'_>],
        make: impl FnOnce() -> Result<T, PlanError>,
    ) -> Result<Prepared<T>, PlanError> {
        let mut hash = Sha256::new();
        hash.update(layout);
        for constant in constants {
            hash.update(constant.constant.digest());
            hash.update(constant.spec.to_string());
        }
        let key: Key = hash.finalize().into();
        let find = |cache: &HashMap<Key, Weak<dyn Any + Send + Sync>>| {
            cache.get(&key).and_then(Weak::upgrade)?.downcast::<T>().ok().map(Prepared)
        };
        let lock = || CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = find(lock().get_or_insert_default()) {
            return Ok(found);
        }
        let made: Arc<T> = Arc::new(make()?);
        constants.iter().for_each(|known| known.constant.release());
        let mut cache = lock();
        let cache = cache.get_or_insert_default();
        if let Some(found) = find(cache) {
            return Ok(found);
        }
        cache.retain(|_, known| known.strong_count() > 0);
        let shared: Arc<dyn Any + Send + Sync> = made.clone();
        cache.insert(key, Arc::downgrade(&shared));
        Ok(Prepared(made))
    }
}

impl<T> Clone for Prepared<T> {
    fn clone(&self) -> Prepared<T> {
        Prepared(self.0.clone())
    }
}

impl<T> Deref for Prepared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> PartialEq for Prepared<T> {
    fn eq(&self, other: &Prepared<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> fmt::Debug for Prepared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("prepared")
    }
}
