//! Patterns of parameter names: globs, and roles such as `@head` that a network declares.

use ferronnx_infer::error::first_of;
use ferronnx_models::Roles;
use globset::{Glob, GlobSet, GlobSetBuilder};

/// First character of a role in a recipe.
const ROLE: char = '@';

/// Roles that a network may declare; `@stages:3,4` names single stages.
const ROLES: [&str; 5] = ["stem", "stages", "head", "attention", "all"];

/// Reasons for which a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// The pattern is not a valid glob.
    #[error("the pattern {pattern:?} is not valid")]
    Glob {
        /// The pattern.
        pattern: String,
        /// The reason.
        source: Box<globset::Error>,
    },
    /// No network has a role of this name.
    #[error("there is no role {0:?}: use @stem, @stages, @stages:3,4, @head, @attention or @all")]
    UnknownRole(String),
    /// This network does not declare the role.
    #[error("the network declares no role {role:?}: it declares {declared}")]
    Undeclared {
        /// The role, with its `@`.
        role: String,
        /// The roles that the network declares.
        declared: String,
    },
    /// No parameter of the network matches.
    #[error("the pattern {pattern:?} matches no parameter; roles: {declared}; parameters: {names}")]
    Unmatched {
        /// The pattern.
        pattern: String,
        /// The roles that the network declares.
        declared: String,
        /// A few of the network's parameters.
        names: String,
    },
}

/// Checks what can be checked without a network: globs are valid, roles exist.
pub(super) fn check_syntax(patterns: &[String]) -> Result<(), PatternError> {
    patterns.iter().try_for_each(|pattern| match pattern.strip_prefix(ROLE) {
        Some(role) if ROLES.contains(&role) || is_stages(role) => Ok(()),
        Some(_) => Err(PatternError::UnknownRole(pattern.clone())),
        None => glob(pattern).map(|_| ()),
    })
}

fn is_stages(role: &str) -> bool {
    let number = |text: &str| text.trim().parse::<usize>().is_ok_and(|stage| stage > 0);
    role.strip_prefix("stages:").is_some_and(|numbers| numbers.split(',').all(number))
}

/// Compiles patterns for a network with these roles.
pub(super) fn compile(patterns: &[String], roles: &Roles) -> Result<GlobSet, PatternError> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        for glob_text in expand(pattern, roles)? {
            set.add(glob(glob_text)?);
        }
    }
    set.build().map_err(|source| PatternError::Glob { pattern: patterns.join(", "), source: source.into() })
}

/// Compiles the patterns of a role, such as `head`; nothing matches where the network declares none.
pub(crate) fn role(name: &str, roles: &Roles) -> Result<GlobSet, PatternError> {
    let patterns: Vec<String> = roles.get(name).unwrap_or_default().into_iter().map(Into::into).collect();
    compile(&patterns, roles)
}

/// Checks that each pattern matches one of `names`.
///
/// A role that the network declares may be empty, and so may the patterns that it is declared with: a network without
/// attention can be trained by a recipe that names attention.
pub(super) fn check_matches(patterns: &[String], names: &[&str], roles: &Roles) -> Result<(), PatternError> {
    for pattern in patterns.iter().filter(|pattern| !pattern.starts_with(ROLE)) {
        let matcher = glob(pattern)?.compile_matcher();
        let known = || declared(roles, pattern);
        if !names.iter().any(|name| matcher.is_match(name)) && !known() {
            let (declared, names) = (role_names(roles), few(names));
            return Err(PatternError::Unmatched { pattern: pattern.clone(), declared, names });
        }
    }
    compile(patterns, roles).map(|_| ())
}

/// True if the network itself declares a role with this pattern.
fn declared(roles: &Roles, pattern: &str) -> bool {
    roles.declared().into_iter().filter_map(|role| roles.get(role)).flatten().any(|own| own == pattern)
}

fn expand<'a>(pattern: &'a str, roles: &'a Roles) -> Result<Vec<&'a str>, PatternError> {
    let Some(role) = pattern.strip_prefix(ROLE) else { return Ok(vec![pattern]) };
    roles
        .get(role)
        .ok_or_else(|| PatternError::Undeclared { role: pattern.into(), declared: role_names(roles) })
}

fn glob(pattern: &str) -> Result<Glob, PatternError> {
    Glob::new(pattern).map_err(|source| PatternError::Glob { pattern: pattern.into(), source: source.into() })
}

fn role_names(roles: &Roles) -> String {
    roles.declared().iter().map(|role| format!("{ROLE}{role}")).collect::<Vec<_>>().join(", ")
}

/// The first few of `names`; a network may have hundreds.
fn few(names: &[&str]) -> String {
    first_of(8, names.iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["stem.weight", "body.1.weight", "body.2.weight", "head.bias"];

    fn roles() -> Roles {
        Roles::default()
            .stem(["stem.*"])
            .stages([["body.1.*"], ["body.2.*"]])
            .head(["head.*"])
            .attention(["attention*"])
    }

    fn matching(patterns: &[&str]) -> Result<Vec<&'static str>, PatternError> {
        let patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        check_syntax(&patterns)?;
        check_matches(&patterns, &NAMES, &roles())?;
        let set = compile(&patterns, &roles())?;
        Ok(NAMES.into_iter().filter(|name| set.is_match(name)).collect())
    }

    #[test]
    fn roles_stand_for_the_patterns_of_the_network() {
        assert_eq!(matching(&["@head"]).unwrap(), ["head.bias"]);
        assert_eq!(matching(&["@stages"]).unwrap(), NAMES[1..3]);
        assert_eq!(matching(&["@stages:2", "@stem"]).unwrap(), ["stem.weight", "body.2.weight"]);
        assert_eq!(matching(&["@all"]).unwrap(), NAMES);
        assert_eq!(matching(&["*.bias", "@stem"]).unwrap(), ["stem.weight", "head.bias"]);
    }

    #[test]
    fn a_declared_role_may_be_empty_and_so_may_the_pattern_it_is_declared_with() {
        assert_eq!(matching(&["@attention"]).unwrap(), [""; 0]);
        assert_eq!(matching(&["attention*", "@head"]).unwrap(), ["head.bias"]);
    }

    #[test]
    fn what_matches_nothing_is_an_error_that_says_what_there_is() {
        let error = matching(&["haed.*"]).unwrap_err().to_string();
        assert!(error.contains("\"haed.*\" matches no parameter"), "{error}");
        assert!(error.contains("@stem, @stages, @head, @attention, @all"), "{error}");
        assert!(error.contains("stem.weight, body.1.weight"), "{error}");
        for wrong in ["@haed", "@stages:", "@stages:0", "@stages:x"] {
            assert_eq!(matching(&[wrong]), Err(PatternError::UnknownRole(wrong.into())));
        }
        assert!(matches!(matching(&["@stages:3"]), Err(PatternError::Undeclared { .. })));
        assert!(matches!(matching(&["a["]), Err(PatternError::Glob { .. })));
    }
}
