//! Settings that differ between runs.

use indexmap::{IndexMap, IndexSet};
use serde::Serialize;
use toml::Value;

use super::RunSummary;
use crate::run::RunConfig;

/// Setting that is not the same in all runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Name in `config.toml`: `recipe.batch_size`.
    pub setting: String,
    /// Value in each run, in their order; `None` where it is not set.
    pub values: Vec<Option<String>>,
}

/// Settings that say nothing more: `data` has the path of the images, whose digest and classes follow.
const IMPLIED: [&str; 2] = ["data_digest", "labels"];

/// Lists the settings that differ between the runs that can be read.
pub fn differences(runs: &[RunSummary]) -> Vec<Difference> {
    let settings: Vec<Option<IndexMap<String, String>>> =
        runs.iter().map(|run| Some(flat(&Value::try_from(run.config.as_ref()?).ok()?))).collect();
    let names: IndexSet<&String> = settings.iter().flatten().flat_map(IndexMap::keys).collect();
    let difference = |name: &String| {
        let values = settings.iter().map(|settings| settings.as_ref()?.get(name).cloned());
        Difference { setting: name.clone(), values: values.collect() }
    };
    let differs = |difference: &Difference| {
        let mut known = settings.iter().zip(&difference.values).filter(|(run, _)| run.is_some());
        let first = known.next();
        known.any(|(_, value)| Some(value) != first.map(|(_, value)| value))
    };
    names.into_iter().map(difference).filter(differs).collect()
}

/// Settings of a configuration by their dotted names: `recipe.phase.head.learning_rate`.
pub fn settings_of(config: &RunConfig) -> IndexMap<String, String> {
    Value::try_from(config).map(|config| flat(&config)).unwrap_or_default()
}

/// Flattens a table into dotted names; phases and groups go by their own names.
fn flat(config: &Value) -> IndexMap<String, String> {
    let mut settings = IndexMap::new();
    flatten("", config, &mut settings);
    settings
}

fn flatten(name: &str, value: &Value, settings: &mut IndexMap<String, String>) {
    let below = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        _ if IMPLIED.contains(&name) => {}
        Value::Table(table) => table.iter().for_each(|(key, value)| flatten(&below(key), value, settings)),
        Value::Array(items) if items.iter().any(Value::is_table) => {
            for (index, item) in items.iter().enumerate() {
                let own = item.get("name").and_then(Value::as_str).map(Into::into);
                flatten(&below(&own.unwrap_or_else(|| (index + 1).to_string())), item, settings);
            }
        }
        Value::String(text) => drop(settings.insert(name.into(), text.clone())),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            settings.insert(name.into(), format!("[{}]", items.join(", ")));
        }
        other => drop(settings.insert(name.into(), plain(other))),
    }
}

/// Formats a value; a number that was a 32-bit float has the digits of one.
fn plain(value: &Value) -> String {
    match value {
        Value::Float(number) if f64::from(*number as f32) == *number => (*number as f32).to_string(),
        Value::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_flattened_with_the_names_of_its_phases() {
        let text = "seed = 7\nlabels = [\"a\"]\n[recipe]\nlr = 0.1\nbetas = [0.9, 0.99]\n\
                    [[recipe.phase]]\nname = \"head\"\nepochs = 3\n[[recipe.phase]]\nepochs = 4\n";
        let flat = flat(&toml::from_str(text).unwrap());
        let pairs: Vec<_> = flat.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut expected = vec![
            ("recipe.betas", "[0.9, 0.99]"),
            ("recipe.lr", "0.1"),
            ("recipe.phase.head.epochs", "3"),
            ("recipe.phase.head.name", "head"),
            ("recipe.phase.2.epochs", "4"),
            ("seed", "7"),
        ];
        let mut found = pairs;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}
