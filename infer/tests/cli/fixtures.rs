//! Tests of every file of `tests/foreign/generate.py`: small models as other tools write them, with the right answers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::support::{self, Said, Workplace};

/// Largest difference allowed: the fixtures change by more than 0.01 where a channel order, scale or crop is wrong.
const TOLERANCE: f64 = 2e-3;

#[derive(Deserialize)]
struct Answers {
    images: Vec<String>,
    cases: BTreeMap<String, Case>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    flags: Vec<String>,
    expect: Expect,
    activation: String,
    why: String,
    #[serde(default)]
    threshold: Option<f64>,
    classes: Vec<String>,
    #[serde(default)]
    answers: BTreeMap<String, Answer>,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Expect {
    Run,
    Flags,
    Refuse,
    Either,
}

#[derive(Deserialize)]
struct Answer {
    top: String,
    probabilities: Vec<f64>,
}

#[test]
fn models_of_other_tools_give_the_right_answers_or_are_refused() {
    let folder = support::foreign();
    let answers = std::fs::read(folder.path().join("answers.json")).unwrap();
    let answers: Answers = serde_json::from_slice(&answers).unwrap();
    let place = Workplace::without_model();
    let failures: Vec<String> = answers
        .cases
        .iter()
        .filter_map(|(name, case)| {
            let mut command = place.infer();
            command.current_dir(&folder).args(["classify", "--format", "json", "--top-k", "99", "--model"]);
            let said = Said::by(command.arg(&case.file).args(&case.flags).args(&answers.images));
            check(case, &said).err().map(|reason| format!("{name}: {reason} ({})", case.why))
        })
        .collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), answers.cases.len(), failures.join("\n"));
}

fn check(case: &Case, said: &Said) -> Result<(), String> {
    let error = said.stderr.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    let misused = ["unexpected argument", "invalid value", "internal error"];
    let refused = said.code == 2 && !error.is_empty() && !misused.iter().any(|part| error.contains(part));
    match case.expect {
        Expect::Refuse | Expect::Either if refused => return Ok(()),
        Expect::Refuse => return Err(format!("not refused: {}{error}", said.stdout)),
        _ if said.code != 0 => return Err(format!("exit code {}: {error}", said.code)),
        _ => {}
    }
    let results: Vec<Value> = serde_json::from_str(&said.stdout).map_err(|error| error.to_string())?;
    if results.len() != case.answers.len() {
        return Err(format!("{} results", results.len()));
    }
    results.iter().try_for_each(|result| compare(case, result))
}

fn compare(case: &Case, result: &Value) -> Result<(), String> {
    let image = result["path"].as_str().unwrap_or_default();
    let answer = case.answers.get(image).ok_or_else(|| format!("no answer for {result}"))?;
    if result["activation"] != *case.activation {
        return Err(format!("activation {} instead of {}", result["activation"], case.activation));
    }
    let assumed = result["assumed"].as_array().ok_or_else(|| format!("nothing assumed: {result}"))?;
    if let Some(silent) = assumed.iter().find(|one| one["source"].as_str().is_none_or(str::is_empty)) {
        return Err(format!("an assumption without a source: {silent}"));
    }
    let predictions = result["predictions"].as_array().ok_or_else(|| format!("no predictions: {result}"))?;
    if predictions.len() != case.classes.len() || predictions[0]["label"] != *answer.top {
        return Err(format!("{image} is {}, but {predictions:?}", answer.top));
    }
    for prediction in predictions {
        let class = prediction["index"].as_u64().and_then(|index| usize::try_from(index).ok());
        let class = class.filter(|&class| class < case.classes.len()).ok_or("no index")?;
        let (expected, found) =
            (answer.probabilities[class], prediction["probability"].as_f64().unwrap_or(f64::NAN));
        let differs = (found - expected).abs();
        if differs.is_nan() || differs > TOLERANCE || prediction["label"] != *case.classes[class] {
            return Err(format!("{image}: {prediction}, right is {expected} for {}", case.classes[class]));
        }
        let selected = case.threshold.map(|threshold| expected >= threshold);
        if prediction.get("selected").and_then(Value::as_bool) != selected {
            return Err(format!("{image}: {prediction}, `selected` should be {selected:?}"));
        }
    }
    Ok(())
}
