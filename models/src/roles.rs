//! Roles of a network's parts: stem, stages, head and attention.
//!
//! Recipes name parts by role (`@head`), and pretrained weights are fitted by role: a head for other classes is
//! replaced, a stem with a larger kernel is cropped. A network declares them in [`Module::roles`](crate::Module::roles);
//! one that declares none can still be trained with patterns of names.

/// Patterns of parameter names for each role that a network declares.
///
/// `*` in a pattern matches any characters. A role that was declared may match no parameter, as the attention of a
/// network that is built without it.
///
/// ```
/// use ferronnx_models::Roles;
///
/// let roles = Roles::default().stem(["conv1.*"]).stages([["layer1.*"], ["layer2.*"]]).head(["fc.*"]);
/// assert_eq!(roles.get("stages:2").unwrap(), ["layer2.*"]);
/// assert_eq!(roles.get("attention"), None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    stem: Option<Vec<String>>,
    stages: Vec<Vec<String>>,
    head: Option<Vec<String>>,
    attention: Option<Vec<String>>,
    prefix: String,
    cropped: Option<(String, usize)>,
    renamed: Vec<(String, String)>,
}

impl Roles {
    /// Declares the first layers, which see the image.
    #[must_use]
    pub fn stem<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.stem = Some(strings(patterns));
        self
    }

    /// Declares the stages between stem and head, in their order, each by its patterns.
    #[must_use]
    pub fn stages<S: Into<String>, P: IntoIterator<Item = S>>(
        mut self,
        stages: impl IntoIterator<Item = P>,
    ) -> Self {
        self.stages = stages.into_iter().map(strings).collect();
        self
    }

    /// Declares the layers that depend on the classes: their first dimension is the number of classes.
    #[must_use]
    pub fn head<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.head = Some(strings(patterns));
        self
    }

    /// Declares the attention layers.
    #[must_use]
    pub fn attention<S: Into<String>>(mut self, patterns: impl IntoIterator<Item = S>) -> Self {
        self.attention = Some(strings(patterns));
        self
    }

    /// Declares the prefix that this network's names have and those of published checkpoints lack, with its dot.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Declares that other programs call the module `own` of this network `theirs`: both are beginnings of names, with
    /// their dots.
    #[must_use]
    pub fn also_named(mut self, own: impl Into<String>, theirs: impl Into<String>) -> Self {
        self.renamed.push((own.into(), theirs.into()));
        self
    }

    /// Declares that the convolution weight `name` may begin as the centre of a pretrained square kernel of this size.
    #[must_use]
    pub fn cropped_from(mut self, name: impl Into<String>, kernel: usize) -> Self {
        self.cropped = Some((name.into(), kernel));
        self
    }

    /// Patterns of the role `name`: `stem`, `stages`, `stages:3,4` (counted from 1), `head`, `attention` or `all`.
    ///
    /// `None` when the network does not declare it.
    pub fn get(&self, name: &str) -> Option<Vec<&str>> {
        match name {
            "all" => Some(vec!["*"]),
            "stem" => self.stem.as_ref().map(|role| strs(role).collect()),
            "head" => self.head.as_ref().map(|role| strs(role).collect()),
            "attention" => self.attention.as_ref().map(|role| strs(role).collect()),
            "stages" => {
                (!self.stages.is_empty()).then(|| self.stages.iter().flat_map(|role| strs(role)).collect())
            }
            _ => {
                let numbers = name.strip_prefix("stages:")?.split(',');
                let stage =
                    |number: &str| self.stages.get(number.trim().parse::<usize>().ok()?.checked_sub(1)?);
                let stages: Vec<_> = numbers.map(stage).collect::<Option<_>>()?;
                Some(stages.into_iter().flat_map(|role| strs(role)).collect())
            }
        }
    }

    /// Names of the roles that the network declares, with `all`, which every network has.
    pub fn declared(&self) -> Vec<&'static str> {
        ["stem", "stages", "head", "attention", "all"]
            .into_iter()
            .filter(|name| self.get(name).is_some())
            .collect()
    }

    /// The prefix that this network's names have and those of published checkpoints lack; empty for none.
    pub fn checkpoint_prefix(&self) -> &str {
        &self.prefix
    }

    /// Names of the parameter `name` in checkpoints: its own, without the prefix, and in other programs' spellings.
    pub fn spellings(&self, name: &str) -> Vec<String> {
        let bare = name.strip_prefix(&self.prefix).unwrap_or(name);
        let renamed = self.renamed.iter().filter_map(|(own, theirs)| {
            name.strip_prefix(own.as_str()).map(|rest| format!("{theirs}{rest}"))
        });
        let mut spellings: Vec<String> = [name, bare].map(Into::into).into_iter().chain(renamed).collect();
        spellings.dedup();
        spellings
    }

    /// The convolution weight that may begin as the centre of a larger kernel, with the size of that kernel.
    pub fn cropped_kernel(&self) -> Option<(&str, usize)> {
        self.cropped.as_ref().map(|(name, kernel)| (name.as_str(), *kernel))
    }
}

fn strings<S: Into<String>>(patterns: impl IntoIterator<Item = S>) -> Vec<String> {
    patterns.into_iter().map(Into::into).collect()
}

fn strs(patterns: &[String]) -> impl Iterator<Item = &str> {
    patterns.iter().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_declared_empty_or_not_at_all() {
        let roles = Roles::default().stages([["a.*"], ["b.*"], ["c.*"]]).attention([""; 0]);
        assert_eq!(roles.declared(), ["stages", "attention", "all"]);
        assert_eq!(roles.get("attention"), Some(vec![]));
        assert_eq!(roles.get("head"), None);
        assert_eq!(roles.get("all").unwrap(), ["*"]);
    }

    #[test]
    fn stages_are_counted_from_one() {
        let roles = Roles::default().stages([vec!["a.*"], vec!["b.*", "b2.*"], vec!["c.*"]]);
        assert_eq!(roles.get("stages").unwrap(), ["a.*", "b.*", "b2.*", "c.*"]);
        assert_eq!(roles.get("stages:1,2").unwrap(), ["a.*", "b.*", "b2.*"]);
        for wrong in ["stages:", "stages:0", "stages:4", "stages:1,x", "stage", ""] {
            assert_eq!(roles.get(wrong), None, "{wrong}");
        }
    }
}
