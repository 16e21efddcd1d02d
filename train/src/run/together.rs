//! Ranks of a run: what they have to agree on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::RunError;
use crate::distributed::Group;
use crate::params::Params;
use crate::trainer::exchange;

/// Ranks that train together, or one process alone, which agrees with itself.
#[derive(Clone, Copy)]
pub(super) struct Together<'a>(pub Option<&'a Arc<Group>>);

impl Together<'_> {
    /// True if `flag` is true in some rank.
    pub fn any(self, flag: bool) -> Result<bool, RunError> {
        Ok(self.0.map_or(Ok(flag), |group| group.any(flag))?)
    }

    /// Checks that all ranks have the same `value`; `subject` names it, and says what it should be.
    ///
    /// # Errors
    /// [`RunError::OtherRank`], the same in all ranks.
    pub fn same<T>(self, subject: &'static str, value: &T) -> Result<(), RunError>
    where
        T: Serialize + for<'de> Deserialize<'de> + PartialEq,
    {
        let Some(group) = self.0 else { return Ok(()) };
        let all = exchange(group, value)?;
        match all.iter().position(|value| *value != all[0]) {
            Some(rank) => Err(RunError::OtherRank { rank, subject }),
            None => Ok(()),
        }
    }

    /// Replaces the parameters by those of the first rank.
    pub fn broadcast(self, params: &Params) -> Result<(), RunError> {
        let tensors: Vec<&Tensor> = params.all().map(|(_, tensor)| tensor).collect();
        Ok(self.0.map_or(Ok(()), |group| group.broadcast(&tensors, 0))?)
    }

    /// Waits for all ranks, and returns the value of the first one.
    pub fn of_first<T: Serialize + for<'de> Deserialize<'de>>(self, value: T) -> Result<T, RunError> {
        let Some(group) = self.0 else { return Ok(value) };
        let first = exchange(group, &value)?.swap_remove(0);
        Ok(if group.world().is_first() { value } else { first })
    }
}
