//! Settings that were changed in `config.toml` since a run began.

use indexmap::IndexSet;

use super::{Edit, RunConfig, RunError, RunFolder};
use crate::compare::settings_of;
use crate::trainer::Position;

/// Settings of this machine, or of the start: they change nothing of what is left to train, or are checked elsewhere.
const ELSEWHERE: [&str; 10] = [
    "version",
    "data",
    "device",
    "graphs",
    "ranks",
    "skip_bad",
    "deterministic",
    "pretrained",
    "pretrained_key",
    "stem_init",
];

/// Describes the settings that differ from those that the run began with, for one that goes on from `position`.
///
/// `before` is the text of `config.toml` then; empty for a run that did not note it.
///
/// # Errors
/// [`RunError::OtherSetting`] for a change with which the saved state has no meaning.
pub(super) fn edits(
    folder: &RunFolder,
    before: &str,
    config: &RunConfig,
    position: &Position,
) -> Result<Vec<String>, RunError> {
    let begun = position.epoch + usize::from(position.step > 0);
    let Ok(before) = toml::from_str::<RunConfig>(before) else { return Ok(Vec::new()) };
    let (now, then) = (settings_of(config), settings_of(&before));
    let names: IndexSet<&String> = then.keys().chain(now.keys()).collect();
    let changed = names
        .into_iter()
        .filter(|name| !ELSEWHERE.contains(&name.as_str()) && now.get(*name) != then.get(*name));
    let value = |found: Option<&String>| found.map_or("none", String::as_str).to_owned();
    let mut notes = Vec::new();
    for name in changed {
        let (now, before) = (value(now.get(name)), value(then.get(name)));
        let reason = match name.as_str() {
            "recipe.optimizer.name" => Some("the saved state is of another algorithm"),
            "shuffle_window" if position.step > 0 => Some("an epoch in that order is under way"),
            "recipe.batch_size" if position.step > 0 => Some("an epoch of that batch size is under way"),
            name if name.ends_with(".epochs") && config.recipe.epochs() < begun => {
                Some("more epochs have begun already")
            }
            _ => None,
        };
        if let Some(reason) = reason {
            let edit = Edit { setting: name.clone(), now, before, reason }.into();
            return Err(RunError::OtherSetting { run: folder.path(""), edit });
        }
        let is_over = config.recipe.phases.iter().take(position.phase).any(|phase| {
            name.strip_prefix("recipe.phase.")
                .is_some_and(|name| name.starts_with(&format!("{}.", phase.name)))
        });
        let over = if is_over { "; nothing comes of it, for the phase is over" } else { "" };
        notes.push(format!("changed in config.toml: {name} = {now}, was {before}{over}"));
    }
    Ok(notes)
}
