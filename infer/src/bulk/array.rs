//! Tasks of job arrays: Kubernetes Indexed Jobs, SLURM job arrays and AWS Batch array jobs.

use std::fmt;

use super::shard::{Shard, ShardError, number};

/// Variables with the number of this task, one a system.
const INDICES: [&str; 3] = ["JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "AWS_BATCH_JOB_ARRAY_INDEX"];

/// Task of a job array, as an environment variable numbers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayTask {
    /// Variable that has the number.
    pub variable: &'static str,
    /// Value of the variable.
    pub value: String,
}

impl fmt::Display for ArrayTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.variable, self.value)
    }
}

/// Reason why the environment does not number a shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArrayError {
    /// No variable of a job array is set.
    #[error("this is no task of a job array: none of {} is set", INDICES.join(", "))]
    Missing,
    /// A variable is no number.
    #[error("{0} is no number")]
    Number(ArrayTask),
    /// Two systems number the task differently.
    #[error("{0} and {1} contradict each other")]
    Contradiction(ArrayTask, ArrayTask),
    /// The array has another number of tasks than there are shards.
    #[error("{size} says that the array has {tasks} tasks, which cannot be {shards} shards")]
    Size {
        /// Variable with the number of tasks.
        size: ArrayTask,
        /// Number of tasks.
        tasks: u64,
        /// Number of shards.
        shards: u64,
    },
    /// The numbers of the tasks have gaps.
    #[error(
        "the array does not count its tasks one by one: {0} does not follow from its smallest number and its step"
    )]
    Gaps(ArrayTask),
    /// There is no such shard.
    #[error("{task}")]
    Shard {
        /// Variable with the number.
        task: ArrayTask,
        /// Reason.
        source: ShardError,
    },
}

/// Environment, as a function from names of variables to their values.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Finds the job array that this process is a task of, if any.
pub fn detect(env: impl Fn(&str) -> Option<String>) -> Option<ArrayTask> {
    INDICES.into_iter().find_map(|variable| Some(ArrayTask { variable, value: env(variable)? }))
}

/// Finds the shard of this process among `count`: the number of its task in its job array, counted from 0.
///
/// From `SLURM_ARRAY_TASK_ID`, the smallest number of the array is subtracted, and the rest divided by its step.
///
/// # Errors
/// [`ArrayError`] when no variable numbers the task, several do so differently, or the array has another number of tasks.
pub fn shard(count: u64, env: impl Fn(&str) -> Option<String>) -> Result<Shard, ArrayError> {
    Shard::new(0, count).map_err(|source| ArrayError::Shard {
        task: ArrayTask { variable: "--shard", value: format!("auto/{count}") },
        source,
    })?;
    let env: Env<'_> = &env;
    let mut found: Option<(ArrayTask, u64)> = None;
    for variable in INDICES {
        let Some(task) = read(variable, env) else { continue };
        let index = match variable {
            "SLURM_ARRAY_TASK_ID" => slurm(&task, count, env)?,
            "AWS_BATCH_JOB_ARRAY_INDEX" => {
                check_size("AWS_BATCH_JOB_ARRAY_SIZE", count, env)?;
                value(&task)?
            }
            _ => value(&task)?,
        };
        match found {
            Some((first, other)) if other != index => return Err(ArrayError::Contradiction(first, task)),
            _ => found = Some((task, index)),
        }
    }
    let (task, index) = found.ok_or(ArrayError::Missing)?;
    Shard::new(index, count).map_err(|source| ArrayError::Shard { task, source })
}

/// Number of a task of a SLURM array, counted from 0.
fn slurm(task: &ArrayTask, count: u64, env: Env<'_>) -> Result<u64, ArrayError> {
    let optional = |variable, default| read(variable, env).map_or(Ok(default), |task| value(&task));
    check_size("SLURM_ARRAY_TASK_COUNT", count, env)?;
    let (least, step) = (optional("SLURM_ARRAY_TASK_MIN", 0)?, optional("SLURM_ARRAY_TASK_STEP", 1)?);
    let place = |task: &ArrayTask| {
        let gaps = || ArrayError::Gaps(task.clone());
        let above = value(task)?.checked_sub(least).ok_or_else(gaps)?;
        match above.checked_rem(step) {
            Some(0) => Ok(above / step),
            _ => Err(gaps()),
        }
    };
    // `--array=0,1,5` has three tasks too.
    if let Some(last) = read("SLURM_ARRAY_TASK_MAX", env)
        && read("SLURM_ARRAY_TASK_COUNT", env).is_some()
        && place(&last)? + 1 != count
    {
        return Err(ArrayError::Gaps(last));
    }
    place(task)
}

fn check_size(variable: &'static str, shards: u64, env: Env<'_>) -> Result<(), ArrayError> {
    let Some(size) = read(variable, env) else { return Ok(()) };
    match value(&size)? {
        tasks if tasks == shards => Ok(()),
        tasks => Err(ArrayError::Size { size, tasks, shards }),
    }
}

fn read(variable: &'static str, env: Env<'_>) -> Option<ArrayTask> {
    Some(ArrayTask { variable, value: env(variable)? })
}

fn value(task: &ArrayTask) -> Result<u64, ArrayError> {
    number(&task.value).ok_or_else(|| ArrayError::Number(task.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(count: u64, variables: &[(&str, &str)]) -> Result<u64, String> {
        let env =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
        shard(count, env).map(Shard::index).map_err(|error| crate::error::chain(&error))
    }

    #[test]
    fn each_system_numbers_its_tasks() {
        assert_eq!(found(4, &[("JOB_COMPLETION_INDEX", "3")]), Ok(3));
        let batch = [("AWS_BATCH_JOB_ARRAY_INDEX", "2"), ("AWS_BATCH_JOB_ARRAY_SIZE", "4")];
        assert_eq!(found(4, &batch), Ok(2));
        assert_eq!(found(4, &batch[..1]), Ok(2));
    }

    #[test]
    fn a_slurm_array_begins_anywhere_and_has_steps() {
        let array = |id, least, most, count, step| {
            [
                ("SLURM_ARRAY_TASK_ID", id),
                ("SLURM_ARRAY_TASK_MIN", least),
                ("SLURM_ARRAY_TASK_MAX", most),
                ("SLURM_ARRAY_TASK_COUNT", count),
                ("SLURM_ARRAY_TASK_STEP", step),
            ]
        };
        assert_eq!(found(4, &array("1", "1", "4", "4", "1")), Ok(0));
        assert_eq!(found(4, &array("4", "1", "4", "4", "1")), Ok(3));
        assert_eq!(found(4, &array("7", "1", "7", "4", "2")), Ok(3));
        assert_eq!(found(8, &[("SLURM_ARRAY_TASK_ID", "12"), ("SLURM_ARRAY_TASK_MIN", "10")]), Ok(2));
        // `--array=1,2,9,22` and, of four shards, the two that failed.
        assert!(found(4, &array("9", "1", "22", "4", "1")).unwrap_err().contains("one by one"));
        assert!(found(4, &array("2", "1", "2", "2", "1")).unwrap_err().contains("has 2 tasks"));
        assert!(found(4, &array("2", "1", "7", "4", "2")).unwrap_err().contains("one by one"));
        assert!(found(4, &array("0", "1", "4", "4", "1")).unwrap_err().contains("one by one"));
        assert!(found(4, &array("1", "1", "4", "4", "0")).unwrap_err().contains("one by one"));
    }

    #[test]
    fn what_leaves_doubt_is_refused() {
        assert!(found(4, &[]).unwrap_err().contains("JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID"));
        let error = found(4, &[("JOB_COMPLETION_INDEX", "4")]).unwrap_err();
        assert_eq!(error, "JOB_COMPLETION_INDEX=4: there is no shard 4 of 4: shards are counted from 0 to 3");
        for wrong in ["", "-1", "one", "1.0", " 1"] {
            assert!(
                found(4, &[("JOB_COMPLETION_INDEX", wrong)]).unwrap_err().contains("no number"),
                "{wrong}"
            );
        }
        let two = |index| [("JOB_COMPLETION_INDEX", "1"), ("AWS_BATCH_JOB_ARRAY_INDEX", index)];
        assert!(found(4, &two("2")).unwrap_err().contains("contradict"));
        assert_eq!(found(4, &two("1")), Ok(1));
        let batch = [("AWS_BATCH_JOB_ARRAY_INDEX", "2"), ("AWS_BATCH_JOB_ARRAY_SIZE", "8")];
        assert!(found(4, &batch).unwrap_err().contains("has 8 tasks"));
        assert!(found(0, &[("JOB_COMPLETION_INDEX", "0")]).unwrap_err().contains("0 shards"));
    }
}
