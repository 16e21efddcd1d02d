//! Reads medians from the files that Criterion writes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::workspace::short;

/// Results of one Criterion run, in its output folder.
pub struct Measured<'a> {
    home: &'a Path,
}

impl<'a> Measured<'a> {
    /// Results in the folder `home`.
    pub fn new(home: &'a Path) -> Self {
        Self { home }
    }

    /// True if `case` was measured.
    pub fn has(&self, case: &str) -> bool {
        self.file(case).is_file()
    }

    fn file(&self, case: &str) -> PathBuf {
        self.home.join(case).join("new/estimates.json")
    }

    /// Median time of `case`, in microseconds.
    ///
    /// `case` is `GROUP/FUNCTION/VALUE`, with an underscore for each slash inside a name.
    ///
    /// # Errors
    /// When the case was not measured.
    pub fn median_us(&self, case: &str) -> Result<f64> {
        let path = self.file(case);
        let missing =
            || format!("{case} was not measured: run `cargo xtask bench` to its end ({})", short(&path));
        let estimates: Value =
            serde_json::from_slice(&fs::read(&path).with_context(missing)?).with_context(missing)?;
        let nanoseconds = estimates["median"]["point_estimate"].as_f64().with_context(missing)?;
        Ok(nanoseconds / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_read_as_criterion_writes_them() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("cbam_stage1/libtorch/batch1_threads1/new");
        fs::create_dir_all(&folder).unwrap();
        let estimates =
            r#"{"mean":{"point_estimate":9.0},"median":{"confidence_interval":{},"point_estimate":2500.0}}"#;
        fs::write(folder.join("estimates.json"), estimates).unwrap();
        let measured = Measured::new(home.path());
        assert_eq!(measured.median_us("cbam_stage1/libtorch/batch1_threads1").unwrap(), 2.5);
        let error = measured.median_us("cbam_stage1/libtorch/batch1_threads2").unwrap_err();
        assert!(error.to_string().contains("run `cargo xtask bench` to its end"), "{error}");
    }
}
