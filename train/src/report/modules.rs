//! Short lists of parameter names: `backbone.layer1` for all that lie below it.

use std::collections::{BTreeMap, BTreeSet};

/// Finds the shortest list of modules that holds all of `chosen` and none of `others`, sorted.
pub fn collapse<'a>(chosen: &'a [String], others: &[String]) -> Vec<&'a str> {
    let taken: BTreeSet<&str> = others.iter().flat_map(|name| ancestors(name)).collect();
    let mut modules = BTreeMap::new();
    for name in chosen {
        let module = ancestors(name).find(|module| !taken.contains(module)).unwrap_or(name);
        modules.insert(module, ());
    }
    modules.into_keys().collect()
}

/// Lists the modules that hold a parameter, the outermost first, and the parameter itself.
fn ancestors(name: &str) -> impl Iterator<Item = &str> {
    name.match_indices('.').map(|(end, _)| &name[..end]).chain([name])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_module_stands_for_what_lies_below_it() {
        let frozen =
            names(&["backbone.conv1.weight", "backbone.layer1.0.bn1.weight", "backbone.layer1.0.bn1.bias"]);
        let trained =
            names(&["backbone.layer4.0.conv1.weight", "backbone.fc.bias", "cbam_layer1.fc.0.weight"]);
        assert_eq!(collapse(&frozen, &trained), ["backbone.conv1", "backbone.layer1"]);
        assert_eq!(collapse(&trained, &frozen), ["backbone.fc", "backbone.layer4", "cbam_layer1"]);
        assert_eq!(collapse(&frozen, &[]), ["backbone"]);
        assert!(collapse(&[], &frozen).is_empty());
    }

    #[test]
    fn a_module_of_which_a_part_learns_is_taken_apart() {
        let chosen = names(&["a.b.weight", "a.c.weight"]);
        assert_eq!(collapse(&chosen, &names(&["a.b.bias"])), ["a.b.weight", "a.c"]);
        // A name that merely begins alike is another module.
        assert_eq!(collapse(&names(&["layer1.weight"]), &names(&["layer10.weight"])), ["layer1"]);
    }
}
