//! Tokens that were verified, by their SHA-256, so that a token costs one signature check and
//! afterwards one hash.
//!
//! Two halves: what is used moves to the young one; when that is full it becomes the old one and
//! the former old one goes. Lookups of the young half take a read lock only.

use crate::identity::Principal;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// SHA-256 of a token.
pub(super) type Digest = [u8; 32];

/// What was found out about a token.
#[derive(Clone)]
pub(super) struct Verified {
    pub(super) principal: Principal,
    /// Seconds since 1970, leeway included.
    pub(super) until: u64,
    /// Which keys it was verified with; others may not know its key any more.
    pub(super) issuer: usize,
    pub(super) keys: u64,
}

#[derive(Default)]
struct Halves {
    young: HashMap<Digest, Verified>,
    old: HashMap<Digest, Verified>,
}

/// A bounded memory of verified tokens.
pub(super) struct TokenCache {
    half_max: usize,
    halves: RwLock<Halves>,
}

impl TokenCache {
    /// A cache of at most `tokens_max` tokens.
    pub(super) fn new(tokens_max: usize) -> TokenCache {
        TokenCache { half_max: tokens_max / 2, halves: RwLock::default() }
    }

    /// What is known about this token.
    pub(super) fn get(&self, digest: &Digest) -> Option<Verified> {
        let old = {
            let halves = self.halves.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(found) = halves.young.get(digest) {
                return Some(found.clone());
            }
            halves.old.get(digest)?.clone()
        };
        self.put(*digest, old.clone());
        Some(old)
    }

    /// Remembers a token.
    pub(super) fn put(&self, digest: Digest, verified: Verified) {
        if self.half_max == 0 {
            return;
        }
        let mut halves = self.halves.write().unwrap_or_else(PoisonError::into_inner);
        if halves.young.len() >= self.half_max {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(digest, verified);
    }

    /// Tokens that are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let halves = self.halves.read().unwrap_or_else(PoisonError::into_inner);
        halves.young.len() + halves.old.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::roles::{Role, Verbs};
    use crate::identity::tenants::Tenants;

    fn verified(until: u64) -> Verified {
        let principal = Principal {
            tenant: Tenants::default().of("acme"),
            models: None,
            verbs: Verbs::of(&[Role::Viewer]),
        };
        Verified { principal, until, issuer: 0, keys: 1 }
    }

    fn digest(index: u64) -> Digest {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&index.to_le_bytes());
        digest
    }

    #[test]
    fn it_never_holds_more_than_its_limit_and_keeps_what_is_used() {
        let cache = TokenCache::new(10);
        cache.put(digest(0), verified(77));
        for index in 1..1_000 {
            cache.put(digest(index), verified(index));
            assert!(cache.len() <= 10);
            assert_eq!(cache.get(&digest(0)).unwrap().until, 77, "after {index}");
        }
        assert!(cache.get(&digest(5)).is_none());
        let none = TokenCache::new(0);
        none.put(digest(0), verified(1));
        assert_eq!(none.len(), 0);
    }
}
