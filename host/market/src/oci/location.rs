//! Where a registry is: `oci://host[:port]/repository[?also=host,…]`.

use std::net::IpAddr;

use crate::MarketError;

const SCHEME: &str = "oci://";
const PLAIN_SCHEME: &str = "oci+http://";
const SECURE_SCHEME: &str = "oci+https://";
const REPOSITORY_BYTES_MAX: usize = 255;
const ALSO_MAX: usize = 8;
const EXPECTED: &str = "oci://host[:port]/repository[?also=host,…]";

/// A repository of a registry.
///
/// `oci://` speaks HTTPS, and plain HTTP to a loopback address; `oci+https://` speaks HTTPS to any;
/// `oci+http://` plain HTTP to any, and sends no credentials then. `also` names the only other hosts that the registry may lead to: the
/// one that gives tokens, and those that hand out blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    text: String,
    authority: String,
    repository: String,
    also: Vec<String>,
    plain: bool,
    loopback: bool,
}

impl Location {
    /// Whether `text` names a registry, well or badly.
    pub fn is_one(text: &str) -> bool {
        [SCHEME, PLAIN_SCHEME, SECURE_SCHEME].iter().any(|scheme| text.starts_with(scheme))
    }

    /// Reads a location.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] with what is expected: names as the distribution specification has them, no
    /// tag, no user, at most 8 other hosts.
    pub fn parse(text: &str) -> Result<Location, MarketError> {
        let wrong = |got: &str, remedy: &str| {
            Err(MarketError::wrong("location", EXPECTED, format!("{got} in {text:?}"), remedy))
        };
        let (flagged, secure) = (text.strip_prefix(PLAIN_SCHEME), text.strip_prefix(SECURE_SCHEME));
        let Some(rest) = flagged.or(secure).or_else(|| text.strip_prefix(SCHEME)) else {
            return wrong("another scheme", "begin with oci://");
        };
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(a, b)| (a, Some(b)));
        let (authority, repository) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.contains('@') {
            let remedy = "keep user and password in the docker configuration";
            return wrong("a user", remedy);
        }
        if !is_authority(authority) {
            return wrong("another host", "write the host, and its port if it has one");
        }
        if !is_repository(repository) {
            let remedy = "use a-z, 0-9, `.`, `_`, `-` and `/`, and no tag";
            return wrong("another repository", remedy);
        }
        let also: Vec<String> = match query.map(|query| query.strip_prefix("also=")) {
            None => Vec::new(),
            Some(Some(hosts)) => hosts.split(',').map(str::to_owned).collect(),
            Some(None) => return wrong("another parameter", "the only one is `also`"),
        };
        if also.len() > ALSO_MAX || !also.iter().all(|host| is_authority(host)) {
            return wrong("other hosts", "name at most 8, separated by commas");
        }
        let loopback = is_loopback(authority);
        Ok(Location {
            text: text.to_owned(),
            authority: authority.to_owned(),
            repository: repository.to_owned(),
            also,
            plain: flagged.is_some() || (loopback && secure.is_none()),
            loopback,
        })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Host, and port if there is one: what credentials are kept under.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Whether credentials may be sent: over HTTPS, or without leaving this machine.
    pub(super) fn is_private(&self) -> bool {
        !self.plain || self.loopback
    }

    /// The address of `rest` in the repository.
    pub(super) fn url(&self, rest: &str) -> String {
        format!("{}/v2/{}/{rest}", self.origin(), self.repository)
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        format!("{scheme}://{}", self.authority)
    }

    /// Whether `url` is this registry's own.
    pub(super) fn is_home(&self, url: &str) -> bool {
        url.strip_prefix(&self.origin()).is_some_and(|rest| rest.starts_with(['/', '?']))
    }

    /// Whether the registry may lead to `url`: its own, or a host of `also`, over HTTPS where the registry
    /// itself speaks it.
    pub(super) fn may_lead_to(&self, url: &str) -> bool {
        let rest = match url.strip_prefix("https://") {
            Some(rest) => Some(rest),
            None => url.strip_prefix("http://").filter(|_| self.plain),
        };
        let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        self.is_home(url) || host.is_some_and(|host| self.also.iter().any(|one| one == host))
    }
}

/// A host name or an address, with a port or without one.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let port_is_one = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_one = match inside {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
            (1..=253).contains(&host.len()) && host.bytes().all(allowed)
        }
    };
    port_is_one && host_is_one
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => host,
        Some(_) | None => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The names of the distribution specification: parts of letters and digits, between them `.`, `_`, `__`
/// or dashes.
fn is_repository(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separator =
        |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    let part = |part: &str| {
        let ends = part.bytes().next().zip(part.bytes().next_back());
        ends.is_some_and(|(first, last)| alphanumeric(first) && alphanumeric(last))
            && part
                .split(|one: char| one.is_ascii_lowercase() || one.is_ascii_digit())
                .all(|between| between.is_empty() || separator(between))
    };
    text.len() <= REPOSITORY_BYTES_MAX && text.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_hosts_and_repositories() {
        let one = Location::parse("oci://127.0.0.1:5000/acme/market").expect("a location");
        assert_eq!(one.url("tags/list"), "http://127.0.0.1:5000/v2/acme/market/tags/list");
        assert!(one.is_private());
        let one = Location::parse("oci://ghcr.io/a__b.c--d/e").expect("a location");
        assert_eq!(one.url("x"), "https://ghcr.io/v2/a__b.c--d/e/x");
        let one = Location::parse("oci+http://registry.lan/m").expect("a location");
        assert_eq!(one.url("x"), "http://registry.lan/v2/m/x");
        assert!(!one.is_private(), "plain HTTP on a network");
        let one = Location::parse("oci+https://localhost:5000/m").expect("a location");
        assert_eq!(one.url("x"), "https://localhost:5000/v2/m/x");
        assert!(one.is_private() && !one.may_lead_to("http://localhost:5000/v2/m/x"));
        assert!(Location::parse("oci://[::1]:5000/m").expect("a location").is_private());
        let most = "a".repeat(REPOSITORY_BYTES_MAX);
        assert!(Location::parse(&format!("oci://h/{most}")).is_ok());
        for text in [
            "oci://",
            "oci://host",
            "oci://host/",
            "oci://host/market:1.0",
            "oci://host/market@sha256:aa",
            "oci://host/Market",
            "oci://host/a..b",
            "oci://host/a//b",
            "oci://host/-a",
            "oci://host/a___b",
            "oci://user:secret@host/market",
            "oci://ho st/market",
            "oci://host:0/market",
            "oci://host:99999/market",
            "oci://[::g]/market",
            "oci://host/market?tag=x",
            "oci://host/market?also=a,b,c,d,e,f,g,h,i",
            "oci://host/market?also=",
            &format!("oci://h/{most}a"),
        ] {
            assert!(Location::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_registry_leads_to_itself_and_to_named_hosts() {
        let one = Location::parse("oci://r.io/m?also=blobs.io,t.io:8443").expect("a location");
        for (url, may) in [
            ("https://r.io/v2/x", true),
            ("http://r.io/v2/x", false),
            ("https://r.io.evil.org/x", false),
            ("https://r.io@evil.org/x", false),
            ("https://r.io:444/x", false),
            ("https://blobs.io/x", true),
            ("http://blobs.io/x", false),
            ("https://t.io:8443?x", true),
            ("https://t.io/x", false),
            ("https://169.254.169.254/x", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(one.may_lead_to(url), may, "{url}");
        }
    }
}
