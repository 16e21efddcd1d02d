//! Test predictions of a run, read from `predictions.csv`.

use ferronnx_report::metrics::{Answer, Confusion};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::run::{RunError, RunFolder};

/// Results on the test images.
#[derive(Debug, Clone, PartialEq)]
pub struct Tested {
    /// Digest of the images' names and labels: the same for the same test images.
    pub digest: Vec<u8>,
    /// Number of images.
    pub images: usize,
    /// Scores, of a task with one label an image.
    pub classified: Option<Classified>,
}

/// Scores of a classifier with one label an image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Classified {
    /// Number of images that were classified correctly.
    pub correct: usize,
    /// Mean F1 of all classes.
    pub macro_f1: f64,
}

/// Row of `predictions.csv`; in a multi-label task there are several labels, and a probability of each class instead.
#[derive(Debug, Deserialize)]
struct Row {
    path: String,
    label: String,
    predicted: String,
    probability: Option<f32>,
}

impl Tested {
    /// Reads the predictions of a run with these classes; `None` when there are none.
    pub fn read(folder: &RunFolder, labels: &[String]) -> Result<Option<Self>, RunError> {
        const FILE: &str = "predictions.csv";
        if !folder.path(FILE).exists() {
            return Ok(None);
        }
        let mut reader =
            csv::Reader::from_path(folder.path(FILE)).map_err(|error| folder.damaged(FILE, error))?;
        let rows: Result<Vec<Row>, _> = reader.deserialize().collect();
        Ok(Some(Self::of(rows.map_err(|error| folder.damaged(FILE, error))?, labels)))
    }

    fn of(mut rows: Vec<Row>, labels: &[String]) -> Self {
        let class = |name: &str| labels.iter().position(|label| label == name);
        let answer = |row: &Row| {
            let (actual, predicted) = (class(&row.label)?, class(&row.predicted)?);
            Some(Answer { actual, predicted, probability: row.probability? })
        };
        let answers: Option<Vec<Answer>> = rows.iter().map(answer).collect();
        rows.sort_by(|a, b| a.path.cmp(&b.path));
        let mut digest = Sha256::new();
        for row in &rows {
            // A separator that no text file's field has.
            digest.update([row.path.as_bytes(), row.label.as_bytes(), b""].join(&0));
        }
        Self {
            digest: digest.finalize().to_vec(),
            images: rows.len(),
            classified: answers.map(|answers| Classified {
                correct: answers.iter().filter(|answer| answer.is_correct()).count(),
                macro_f1: Confusion::new(labels.len(), &answers).macro_average().f1,
            }),
        }
    }
}
