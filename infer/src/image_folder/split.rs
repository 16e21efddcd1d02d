//! Parts of a data set, and their names in folders and lists.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// Part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Images that the network learns from.
    Train,
    /// Images that choose the best epoch.
    Validation,
    /// Images that are evaluated once, at the end.
    Test,
}

/// Name that is none of a split's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a split: use train, val or test")]
pub struct UnknownSplit;

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        })
    }
}

/// Words that tools put before or after the name of a split: `seg_train`, `training_set`, `val2017`, `Test Images`.
const AFFIXES: [&str; 12] = [
    "dataset", "set", "data", "seg", "split", "images", "image", "imgs", "img", "pictures", "photos", "pics",
];

/// Reads the names that common tools use, in any case; the keywords are those of Hugging Face's
/// [image folders](https://huggingface.co/docs/datasets/repository_structure).
impl FromStr for Split {
    type Err = UnknownSplit;

    fn from_str(name: &str) -> Result<Self, UnknownSplit> {
        if name.chars().any(|c| c.is_alphabetic() && !c.is_ascii()) {
            return Err(UnknownSplit);
        }
        let letters: String = name.chars().filter(char::is_ascii_alphabetic).collect();
        let mut word = &*letters.to_ascii_lowercase();
        loop {
            match word {
                "train" | "training" | "trn" | "trainval" => return Ok(Self::Train),
                "val" | "valid" | "validation" | "dev" => return Ok(Self::Validation),
                "test" | "testing" | "tst" | "eval" | "evaluation" => return Ok(Self::Test),
                _ => {}
            }
            let strip = |affix: &&str| word.strip_prefix(*affix).or_else(|| word.strip_suffix(*affix));
            word = AFFIXES.iter().find_map(strip).ok_or(UnknownSplit)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_common_tools() {
        let named = |split, names: &[&str]| {
            for name in names {
                assert_eq!(name.parse(), Ok(split), "{name}");
            }
        };
        let train = [
            "train",
            "Train",
            "TRAINING",
            "seg_train",
            "training_set",
            "trainset",
            "train2017",
            "Train Images",
        ];
        named(Split::Train, &train);
        named(Split::Train, &["train-data", "TrainVal", "img_train", "01_train", "dataset/train"]);
        named(
            Split::Validation,
            &["val", "Valid", "validation", "dev", "val_images", "ValidationSet", "val2017"],
        );
        named(Split::Test, &["test", "Testing", "seg_test", "test_set", "test1", "eval", "Evaluation Data"]);
    }

    #[test]
    fn other_names_are_none() {
        let others = [
            "",
            "cat",
            "plane",
            "trains",
            "training dogs",
            "invalid",
            "valley",
            "attest",
            "set",
            "тест",
            "_",
        ];
        for name in others.iter().chain(&["seg_pred", "images", "testé", "2017"]) {
            assert_eq!(name.parse::<Split>(), Err(UnknownSplit), "{name}");
        }
    }
}
