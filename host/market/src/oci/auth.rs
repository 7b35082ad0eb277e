//! Who one is at a registry: the docker configuration, and the challenges of RFC 9110 §11 that the
//! distribution specification uses.

use std::fmt;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::{MarketError, files};

const CONFIG_BYTES_MAX: usize = 1 << 20;

/// A user's name and password, or token, at one registry.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    user: String,
    password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Credentials {
    /// These credentials.
    pub fn new(user: &str, password: &str) -> Credentials {
        Credentials { user: user.to_owned(), password: password.to_owned() }
    }

    /// What is known of a registry (`host[:port]`): from the text in `$DOCKER_AUTH_CONFIG`, else from the
    /// file `$REGISTRY_AUTH_FILE`, `$DOCKER_CONFIG/config.json` or `~/.docker/config.json`.
    ///
    /// # Errors
    /// [`MarketError::Wrong`] for a configuration that cannot be read, or that only names a helper program
    /// for this registry: helpers are not run.
    pub fn of_environment(authority: &str) -> Result<Option<Credentials>, MarketError> {
        if let Ok(text) = std::env::var("DOCKER_AUTH_CONFIG") {
            return Credentials::in_config(&text, authority, "$DOCKER_AUTH_CONFIG");
        }
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let path = variable("REGISTRY_AUTH_FILE")
            .or_else(|| Some(variable("DOCKER_CONFIG")?.join("config.json")))
            .or_else(|| Some(variable("HOME")?.join(".docker/config.json")));
        let Some(path) = path else { return Ok(None) };
        match files::read_text(&path, CONFIG_BYTES_MAX)? {
            Some(text) => Credentials::in_config(&text, authority, &path.display().to_string()),
            None => Ok(None),
        }
    }

    /// What the docker configuration `text` says of a registry.
    fn in_config(
        text: &str,
        authority: &str,
        what: &str,
    ) -> Result<Option<Credentials>, MarketError> {
        let wrong = |expected: &str, got: &str, remedy: &str| {
            Err(MarketError::wrong(format!("{what}: {authority}"), expected, got, remedy))
        };
        let Ok(config) = serde_json::from_str::<Value>(text) else {
            return wrong("JSON", "another text", "write it with `docker login`");
        };
        let is_it = |key: &str| {
            let key = key.strip_prefix("https://").unwrap_or(key);
            key.split('/').next() == Some(authority)
        };
        let entries = config["auths"].as_object();
        let entry = entries.and_then(|all| all.iter().find(|(key, _)| is_it(key)));
        let given = entry.map(|(_, entry)| (entry, entry["auth"].as_str().unwrap_or_default()));
        match given {
            Some((entry, "")) if entry["username"].is_string() => {
                let text = |name: &str| entry[name].as_str().unwrap_or_default();
                Ok(Some(Credentials::new(text("username"), text("password"))))
            }
            Some((_, "")) | None => {
                let helper = config["credHelpers"][authority].is_string()
                    || (given.is_some() && config["credsStore"].is_string());
                match helper {
                    true => wrong(
                        "a user and a password",
                        "a helper program, which is not run",
                        "give a configuration with `auths` in DOCKER_CONFIG",
                    ),
                    false => Ok(None),
                }
            }
            Some((_, auth)) => {
                let plain = STANDARD.decode(auth).ok().and_then(|b| String::from_utf8(b).ok());
                let Some((user, password)) = plain.as_deref().and_then(|it| it.split_once(':'))
                else {
                    return wrong("base64 of user:password", "another text", "log in again");
                };
                Ok(Some(Credentials::new(user, password)))
            }
        }
    }

    /// The value of a header `authorization`.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.user, self.password)))
    }
}

/// What a registry wants to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token, to be fetched from this address.
    Bearer(String),
}

impl Challenge {
    /// Reads a header `www-authenticate`; `None` for other schemes, and what cannot be read.
    pub(super) fn parse(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut query, mut rest) = (None, String::new(), rest.trim());
        while !rest.is_empty() {
            let (name, after) = rest.split_once("=\"")?;
            let (value, after) = after.split_once('"')?;
            match name.trim() {
                "realm" => realm = Some(value),
                name @ ("service" | "scope") => {
                    query.push_str(&format!("&{name}={}", encoded(value)));
                }
                _ => {}
            }
            rest = after.trim_start().trim_start_matches(',').trim_start();
        }
        let realm = realm?;
        let join = if realm.contains('?') { "&" } else { "?" };
        Some(Challenge::Bearer(format!("{realm}{join}{}", query.trim_start_matches('&'))))
    }
}

/// A value of a query (RFC 3986 §2.3).
pub(super) fn encoded(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escape = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    value.bytes().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_and_others_are_none() {
        let token = "Bearer realm=\"https://t.io/token\",service=\"r.io\", \
                     scope=\"repository:a/b:pull,push\",error=\"insufficient\"";
        let address = "https://t.io/token?service=r.io&scope=repository%3Aa%2Fb%3Apull%2Cpush";
        assert_eq!(Challenge::parse(token), Some(Challenge::Bearer(address.to_owned())));
        let with_query = Challenge::parse("bearer realm=\"https://t.io/t?x=1\",service=\"s\"");
        let address = "https://t.io/t?x=1&service=s".to_owned();
        assert_eq!(with_query, Some(Challenge::Bearer(address)));
        assert_eq!(Challenge::parse("Basic realm=\"r\""), Some(Challenge::Basic));
        for text in ["", "Digest realm=\"r\"", "Bearer", "Bearer realm=x", "Bearer realm=\"x"] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
    }

    #[test]
    fn credentials_are_those_of_the_host_alone() {
        let of = |text: &str, host| Credentials::in_config(text, host, "it");
        let config = format!(
            r#"{{"auths":{{"r.io":{{"auth":"{}"}},"https://q.io/v1/":{{"username":"u","password":"p"}},
               "s.io":{{}}}},"credHelpers":{{"h.io":"x"}}}}"#,
            STANDARD.encode("me:a:b")
        );
        assert_eq!(of(&config, "r.io").expect("read"), Some(Credentials::new("me", "a:b")));
        assert_eq!(of(&config, "q.io").expect("read"), Some(Credentials::new("u", "p")));
        for other in ["s.io", "r.io:444", "evil.org", "o"] {
            assert_eq!(of(&config, other).expect("read"), None, "{other}");
        }
        assert!(of(&config, "h.io").expect_err("a helper").to_string().contains("not run"));
        assert!(
            of("{", "r.io").is_err() && of(r#"{"auths":{"r.io":{"auth":"%"}}}"#, "r.io").is_err()
        );
        let shown = format!("{:?}", Credentials::new("me", "secret"));
        assert!(!shown.contains("secret"), "{shown}");
    }
}
