//! One [`Tenant`] a name, however its requests identify themselves, so that they are counted
//! together.

use crate::flow::Tenant;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Tenants that are kept although nothing uses them at the moment. Issuers name tenants, so that
/// the names are not ours to count.
const IDLE_MAX: usize = 16_384;

/// The tenants that this server knows.
#[derive(Default)]
pub(crate) struct Tenants {
    by_name: Mutex<HashMap<Arc<str>, Arc<Tenant>>>,
}

impl Tenants {
    /// The tenant of this name; the same one while anything still uses it.
    pub(crate) fn of(&self, name: &str) -> Arc<Tenant> {
        let mut tenants = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = tenants.get(name) {
            return tenant.clone();
        }
        if tenants.len() >= IDLE_MAX {
            tenants.retain(|_, tenant| Arc::strong_count(tenant) > 1);
        }
        let tenant = Arc::new(Tenant::new(name));
        tenants.insert(tenant.name.clone(), tenant.clone());
        tenant
    }

    /// Every tenant, by name.
    pub(crate) fn all(&self) -> Vec<Arc<Tenant>> {
        let tenants = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = tenants.values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_tenant_and_idle_ones_do_not_pile_up() {
        let tenants = Tenants::default();
        let kept = tenants.of("kept");
        assert!(Arc::ptr_eq(&kept, &tenants.of("kept")));
        for index in 0..2 * IDLE_MAX {
            tenants.of(&index.to_string());
        }
        assert!(tenants.all().len() <= IDLE_MAX);
        assert!(Arc::ptr_eq(&kept, &tenants.of("kept")));
    }
}
