//! Settings of a recipe that change nothing.

use toml::{Table, Value};

use super::{FrozenBatchNorm, Recipe, Schedule};
use crate::data::augment::Crop;
use crate::error::SettingError;
use crate::loss::ClassWeights;
use crate::optimizer::Algorithm;

/// Describes each setting that is given in `table`, the text of `recipe`, and has no effect: `SETTING does nothing: WHY`.
///
/// Settings whose effect depends on the network are left to [`Plan`](crate::trainer::Plan).
pub(super) fn unused(table: &Table, recipe: &Recipe) -> Vec<String> {
    let mut found = Found { table, notes: Vec::new() };
    augmentation(&mut found, recipe);
    optimizer(&mut found, recipe);
    schedules(&mut found, recipe);
    let weighs = !matches!(&recipe.loss.class_weights, Some(ClassWeights::Named(named)) if named.is_empty());
    found.unless(weighs, "loss.class_weights", "it names no class");
    let everything =
        |phase: &super::Phase| phase.train.iter().any(|pattern| pattern == "@all" || pattern == "*");
    let freezes = !recipe.phases.iter().all(|phase| everything(phase) && phase.freeze_new.is_empty());
    found.unless(
        freezes || recipe.frozen_bn == FrozenBatchNorm::Auto,
        "frozen_bn",
        "every phase trains everything",
    );
    let why = format!("the longest phase has {} epochs", recipe.longest_phase());
    found.unless(recipe.early_stopping_has_effect(), "early_stopping", &why);
    found.notes
}

/// Refuses pairs of numbers with further values, which the deserializer passes over.
///
/// # Errors
/// [`SettingError`] with the first such setting.
pub(super) fn check_pairs(table: &Table) -> Result<(), SettingError> {
    for (section, key) in [
        ("optimizer", "betas"),
        ("cycle", "momentum"),
        ("augment", "resized_scale"),
        ("augment", "resized_ratio"),
    ] {
        let values = table.get(section).and_then(|section| section.get(key)).and_then(Value::as_array);
        if let Some(values) = values.filter(|values| values.len() != 2) {
            let name = format!("{section}.{key}");
            return Err(SettingError::new(name, "two numbers", Value::Array(values.clone())));
        }
    }
    Ok(())
}

/// Notes on a recipe's text.
struct Found<'t> {
    table: &'t Table,
    notes: Vec<String>,
}

impl Found<'_> {
    /// Notes `setting` (`TABLE.KEY` or `KEY`) with the reason, if it is given although it has no effect.
    fn unless(&mut self, has_effect: bool, setting: &str, why: &str) {
        let mut keys = setting.split('.');
        let first = keys.next().and_then(|key| self.table.get(key));
        let given = keys.try_fold(first, |value, key| Some(value?.as_table()?.get(key))).flatten();
        if let Some(value) = given
            && !has_effect
        {
            let value = if value.is_table() { Value::String("...".into()) } else { value.clone() };
            self.notes.push(format!("{setting} = {value} does nothing: {why}"));
        }
    }
}

fn augmentation(found: &mut Found<'_>, recipe: &Recipe) {
    let augment = &recipe.augment;
    let moves = augment.crop_padding > 0.0;
    match augment.crop {
        Crop::Padded => found.unless(moves, "augment.crop", "set augment.crop_padding, such as 0.125"),
        Crop::Auto => found.unless(
            moves,
            "augment.crop",
            "below 224 pixels it crops only with augment.crop_padding, such as 0.125",
        ),
        Crop::Resized | Crop::None => {}
    }
    let (padded, resized) = match augment.crop {
        Crop::Auto => (true, true),
        Crop::Padded => (true, false),
        Crop::Resized => (false, true),
        Crop::None => (false, false),
    };
    found.unless(padded || !moves, "augment.crop_padding", "augment.crop is not padded or auto");
    found.unless(padded && moves, "augment.crop_border", "there is no padded crop");
    for setting in ["augment.resized_scale", "augment.resized_ratio"] {
        found.unless(resized, setting, "augment.crop is not resized or auto");
    }
}

fn optimizer(found: &mut Found<'_>, recipe: &Recipe) {
    let is_sgd = recipe.optimizer.name == Algorithm::Sgd;
    let adam = "it belongs to adam and adamw";
    found.unless(!is_sgd, "optimizer.betas", adam);
    found.unless(!is_sgd, "optimizer.eps", adam);
    let sgd = "it belongs to sgd; Adam's momentum is betas[0]";
    found.unless(is_sgd || recipe.optimizer.momentum == 0.0, "optimizer.momentum", sgd);
    found.unless(is_sgd || !recipe.optimizer.nesterov, "optimizer.nesterov", "it belongs to sgd");
    let decays = recipe.optimizer.weight_decay > 0.0;
    found.unless(decays, "optimizer.decay_biases_and_norms", "there is no weight_decay");
}

fn schedules(found: &mut Found<'_>, recipe: &Recipe) {
    let any = |is: fn(&Schedule) -> bool| recipe.phases.iter().any(|phase| is(&phase.schedule));
    let plateau = any(|schedule| *schedule == Schedule::Plateau);
    for key in ["factor", "patience", "threshold", "cooldown", "min_learning_rate"] {
        found.unless(plateau, &format!("plateau.{key}"), "no phase has schedule = \"plateau\"");
    }
    let longest = recipe.phases.iter().filter(|phase| phase.schedule == Schedule::Plateau);
    let longest = longest.map(|phase| phase.epochs).max().unwrap_or_default();
    if plateau {
        let why = format!("the longest plateau phase has {longest} epochs");
        found.unless(recipe.plateau.patience < longest, "plateau.patience", &why);
    }
    let peak = any(|schedule| schedule.has_peak());
    for key in ["rise", "start", "end", "momentum"] {
        let why = "no phase has schedule = \"one-cycle\" or \"triangular\"";
        found.unless(peak, &format!("cycle.{key}"), why);
    }
}

#[cfg(test)]
mod tests {
    use super::super::BUILT_IN;
    use super::*;

    const PHASE: &str = "[[phase]]\nname = \"p\"\nepochs = 4\nlearning_rate = 0.1\ntrain = [\"@all\"]\n";

    /// Notes on a recipe with these lines at the top, and these in its phase.
    fn notes(top: &str, phase: &str) -> Vec<String> {
        let text = format!("name = \"n\"\nbatch_size = 8\n{top}\n{PHASE}{phase}");
        let (_, notes) = Recipe::parse(&text, "n.toml").unwrap();
        notes
    }

    #[test]
    fn what_does_nothing_is_named_with_the_reason() {
        let padded = notes("[augment]\ncrop = \"padded\"", "");
        let expected = "augment.crop = \"padded\" does nothing: set augment.crop_padding, such as 0.125";
        assert_eq!(padded, [expected]);
        let cases = [
            ("[augment]\ncrop = \"auto\"", "", "below 224"),
            ("[augment]\ncrop = \"none\"\ncrop_padding = 0.1", "", "augment.crop_padding = 0.1 does nothing"),
            ("[augment]\ncrop_border = \"reflect\"", "", "there is no padded crop"),
            ("[augment]\nresized_scale = [0.5, 1.0]", "", "augment.resized_scale"),
            ("[optimizer]\nname = \"sgd\"\nbetas = [0.9, 0.99]", "", "optimizer.betas"),
            ("[optimizer]\nmomentum = 0.9", "", "belongs to sgd"),
            ("[optimizer]\ndecay_biases_and_norms = false", "", "there is no weight_decay"),
            ("[plateau]\npatience = 3", "schedule = \"cosine\"", "plateau.patience = 3 does nothing"),
            ("[cycle]\nrise = 0.3", "", "cycle.rise"),
            ("frozen_bn = \"eval\"", "", "every phase trains everything"),
            (
                "[plateau]\npatience = 9",
                "",
                "plateau.patience = 9 does nothing: the longest plateau phase has 4",
            ),
            ("[loss]\nclass_weights = {}", "", "it names no class"),
            ("early_stopping = 4", "", "the longest phase has 4 epochs"),
        ];
        for (top, phase, expected) in cases {
            let found = notes(top, phase);
            assert!(found.len() == 1 && found[0].contains(expected), "{top}: {found:?}");
        }
    }

    #[test]
    fn a_pair_of_numbers_has_two() {
        for line in
            ["[optimizer]\nbetas = [0.9, 0.99, 0.5]", "[augment]\nresized_ratio = [0.5, 1.0, 2.0, 3.0]"]
        {
            let text = format!("name = \"n\"\nbatch_size = 8\n{line}\n{PHASE}");
            let error = Recipe::parse(&text, "n.toml").unwrap_err();
            let error = crate::error::chain(&error);
            assert!(error.contains("must be two numbers"), "{error}");
        }
    }

    #[test]
    fn what_does_something_is_not_named() {
        for (top, phase) in [
            ("[augment]\ncrop = \"padded\"\ncrop_padding = 0.1\ncrop_border = \"reflect\"", ""),
            ("[augment]\ncrop = \"resized\"\nresized_ratio = [1.0, 1.0]", ""),
            ("[augment]\ncrop_padding = 0.125", ""),
            ("[optimizer]\nname = \"sgd\"\nmomentum = 0.9\nnesterov = true", ""),
            ("[plateau]\npatience = 3", ""),
            ("[cycle]\nrise = 0.3", "schedule = \"one-cycle\""),
            ("early_stopping = 3", ""),
        ] {
            assert_eq!(notes(top, phase), [""; 0], "{top}");
        }
        for (name, text) in BUILT_IN {
            assert_eq!(Recipe::parse(text, name).unwrap().1, [""; 0], "{name}");
        }
    }
}
