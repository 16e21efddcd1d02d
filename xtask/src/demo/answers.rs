//! Compares the model's predictions with the folders of the test images.

use anyhow::{Context, Result};
use serde_json::Value;

/// A test image with its class and the result.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// Path of the image.
    pub path: String,
    /// True class: the name of the image's folder.
    pub truth: String,
    /// True when the most likely label is the true class; false also for an image that could not be read.
    pub right: bool,
}

/// Reads the JSON lines that `infer classify` prints.
///
/// # Errors
/// When a line is not the JSON of one image.
pub fn read(jsonl: &str) -> Result<Vec<Answer>> {
    jsonl
        .lines()
        .enumerate()
        .map(|(number, line)| {
            answer(line).with_context(|| format!("classify, line {}: not the JSON of one image", number + 1))
        })
        .collect()
}

fn answer(line: &str) -> Option<Answer> {
    let object: Value = serde_json::from_str(line).ok()?;
    let path = object["path"].as_str()?;
    let truth = std::path::Path::new(path).parent()?.file_name()?.to_str()?;
    let right = object["predictions"][0]["label"].as_str() == Some(truth);
    Some(Answer { path: path.to_owned(), truth: truth.to_owned(), right })
}

/// Accuracy, in [0, 1]; 0 without answers.
pub fn accuracy(answers: &[Answer]) -> f64 {
    let right = answers.iter().filter(|answer| answer.right).count();
    right as f64 / answers.len().max(1) as f64
}

/// One correctly classified image from each of up to `count` classes.
pub fn some_right(answers: &[Answer], count: usize) -> Vec<&str> {
    let mut chosen: Vec<&Answer> = Vec::new();
    for answer in answers.iter().filter(|answer| answer.right) {
        if chosen.len() < count && chosen.iter().all(|other| other.truth != answer.truth) {
            chosen.push(answer);
        }
    }
    chosen.into_iter().map(|answer| answer.path.as_str()).collect()
}

/// The first `count` images that were classified wrongly.
pub fn wrong(answers: &[Answer], count: usize) -> Vec<&str> {
    answers.iter().filter(|answer| !answer.right).take(count).map(|answer| answer.path.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_held_against_the_folder() {
        let said = [
            r#"{"path":"t/0/a.png","predictions":[{"index":0,"label":"0","probability":0.9}]}"#,
            r#"{"path":"t/0/b.png","predictions":[{"index":0,"label":"0","probability":0.8}]}"#,
            r#"{"path":"t/1/c.png","predictions":[{"index":7,"label":"7","probability":0.5}]}"#,
            r#"{"path":"t/2/d.png","error":{"kind":"decode","message":"broken"}}"#,
        ];
        let answers = read(&said.join("\n")).unwrap();
        assert_eq!(accuracy(&answers), 0.5);
        assert_eq!(some_right(&answers, 4), ["t/0/a.png"]);
        assert_eq!(wrong(&answers, 1), ["t/1/c.png"]);
        assert_eq!(wrong(&answers, 8).len(), 2);
    }

    #[test]
    fn nonsense_names_its_line() {
        let error = read("{\"path\":\"t/0/a.png\"}\nwarning").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        assert_eq!(accuracy(&[]), 0.0);
    }
}
