//! Roles, which people give, and verbs, which routes ask for. `docs/reference/identity.md` has the
//! same table for readers.
//!
//! | role         | read | infer | publish | operate | administer |
//! |--------------|------|-------|---------|---------|------------|
//! | `viewer`     | yes  |       |         |         |            |
//! | `invoker`    | yes  | yes   |         |         |            |
//! | `publisher`  | yes  | yes   | yes     |         |            |
//! | `operator`   | yes  | yes   |         | yes     |            |
//! | `super-user` | yes  | yes   | yes     | yes     | yes        |
//!
//! A publisher decides what is served and an operator decides whether; neither includes the other.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What somebody is to this server. Several roles add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Sees models and their metadata.
    Viewer,
    /// Sees models and calls them. What a key without roles has.
    Invoker,
    /// Brings versions and moves labels.
    Publisher,
    /// Loads, unloads, drains, and reads what the server says about itself.
    Operator,
    /// Everything, API keys of others included.
    SuperUser,
}

/// What a route lets somebody do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// See models, metadata and metrics.
    Read,
    /// Call a model.
    Infer,
    /// Bring a version, move a label.
    Publish,
    /// Load, unload, drain, change settings of the running server.
    Operate,
    /// Make, change and revoke API keys.
    Administer,
}

/// No role of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("role: expected viewer, invoker, publisher, operator or super-user, got {got:?}")]
pub struct UnknownRole {
    /// What came, at most 80 characters of it.
    pub got: String,
}

/// A set of verbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verbs(u8);

impl Role {
    /// Every role, the least first.
    pub const ALL: [Role; 5] =
        [Role::Viewer, Role::Invoker, Role::Publisher, Role::Operator, Role::SuperUser];

    /// Name in files, claims and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Invoker => "invoker",
            Role::Publisher => "publisher",
            Role::Operator => "operator",
            Role::SuperUser => "super-user",
        }
    }

    /// What it may do.
    pub fn verbs(self) -> &'static [Verb] {
        match self {
            Role::Viewer => &[Verb::Read],
            Role::Invoker => &[Verb::Read, Verb::Infer],
            Role::Publisher => &[Verb::Read, Verb::Infer, Verb::Publish],
            Role::Operator => &[Verb::Read, Verb::Infer, Verb::Operate],
            Role::SuperUser => &Verb::ALL,
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        let role = Role::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| UnknownRole { got: text.chars().take(80).collect() })
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 5] =
        [Verb::Read, Verb::Infer, Verb::Publish, Verb::Operate, Verb::Administer];

    /// Name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Read => "read",
            Verb::Infer => "infer",
            Verb::Publish => "publish",
            Verb::Operate => "operate",
            Verb::Administer => "administer",
        }
    }
}

impl Verbs {
    /// What these roles may do together.
    pub(crate) fn of(roles: &[Role]) -> Verbs {
        let verbs = roles.iter().flat_map(|role| role.verbs());
        Verbs(verbs.fold(0, |set, &verb| set | 1 << verb as u8))
    }

    pub(crate) fn contains(self, verb: Verb) -> bool {
        self.0 & (1 << verb as u8) != 0
    }
}

impl fmt::Display for Verbs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for verb in Verb::ALL.into_iter().filter(|&verb| self.contains(verb)) {
            let comma = if first { "" } else { ", " };
            write!(f, "{comma}{}", verb.as_str())?;
            first = false;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_documentation_is_what_the_code_does() {
        let text = include_str!("../../../../docs/reference/identity.md");
        for role in Role::ALL {
            let row = Verb::ALL.map(|verb| match role.verbs().contains(&verb) {
                true => " yes |",
                false => " |",
            });
            let row = format!("| `{role}` |{}", row.concat());
            assert!(text.contains(&row), "{row} is not in identity.md");
            assert!(role.verbs().contains(&Verb::Read), "unknown routes answer 404 to any role");
        }
    }

    #[test]
    fn roles_add_up_and_names_are_read_back() {
        let both = Verbs::of(&[Role::Publisher, Role::Operator]);
        assert_eq!(both.to_string(), "read, infer, publish, operate");
        assert!(!both.contains(Verb::Administer));
        assert_eq!(Verbs::of(&[]).to_string(), "");
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("admin".parse::<Role>().unwrap_err().to_string().contains("super-user"));
    }
}
