//! Client certificates that identify somebody, by an exact subject alternative name.
//!
//! Whether a certificate is good was decided in the TLS handshake; here it only gets a name.

use super::Principal;
use super::roles::Verbs;
use super::settings::CertificateConfig;
use super::tenants::Tenants;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::sync::Arc;
use webpki::EndEntityCert;

/// Names of certificates, and whose they are.
pub(super) struct Certificates {
    by_name: HashMap<String, Arc<Principal>>,
}

impl Certificates {
    pub(super) fn new(settings: &[CertificateConfig], tenants: &Tenants) -> Certificates {
        let entry = |one: &CertificateConfig| {
            let principal = Principal {
                tenant: tenants.of(&one.tenant),
                models: one.models.as_ref().map(|models| models.as_slice().into()),
                verbs: Verbs::of(&one.roles),
            };
            (one.san.clone(), Arc::new(principal))
        };
        Certificates { by_name: settings.iter().map(entry).collect() }
    }

    /// Whose certificate this is. Nobody's if none of its names is known, or if several are: a
    /// certificate cannot choose.
    pub(super) fn find(&self, certificate: &CertificateDer<'_>) -> Option<Arc<Principal>> {
        if self.by_name.is_empty() {
            return None;
        }
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
        let mut known = names.filter_map(|name| self.by_name.get(name));
        let first = known.next()?;
        if known.any(|other| !Arc::ptr_eq(first, other)) {
            tracing::warn!(
                "a client certificate has several configured names; it identifies nobody"
            );
            return None;
        }
        Some(first.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::roles::Role;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(dns: &[&str], uris: &[&str]) -> CertificateDer<'static> {
        let names: Vec<String> = dns.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        for uri in uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into().unwrap()));
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn only_one_exact_name_identifies() {
        let config = |san: &str, tenant: &str| CertificateConfig {
            san: san.into(),
            tenant: tenant.into(),
            roles: vec![Role::Viewer],
            models: None,
        };
        let settings =
            [config("a.example", "a"), config("spiffe://x/b", "b"), config("*.wild.example", "w")];
        let known = Certificates::new(&settings, &Tenants::default());
        let tenant = |dns: &[&str], uris: &[&str]| {
            known.find(&certificate(dns, uris)).map(|who| who.tenant.name.to_string())
        };
        assert_eq!(tenant(&["a.example"], &[]).as_deref(), Some("a"));
        assert_eq!(tenant(&["other", "a.example"], &[]).as_deref(), Some("a"));
        assert_eq!(tenant(&[], &["spiffe://x/b"]).as_deref(), Some("b"));
        for (dns, uris) in [
            (&["x.a.example"][..], &[][..]),
            (&["b.wild.example"], &[]),
            (&["*.example"], &[]),
            (&[], &["spiffe://x/b/c"]),
            (&["a.example"], &["spiffe://x/b"]),
            (&[], &[]),
        ] {
            assert_eq!(tenant(dns, uris), None, "{dns:?} {uris:?}");
        }
        assert!(known.find(&CertificateDer::from(vec![1, 2, 3])).is_none());
    }
}
