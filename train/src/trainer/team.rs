//! Training by several ranks: what they add up, and what they decide together.
//!
//! Every rank calls the same functions at the same steps, so none waits for another that does not come.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::TrainError;
use super::totals::{NotFinite, Totals};
use crate::distributed::{Group, Pending};
use crate::native;
use crate::params::Params;

/// Time within which all ranks know that one of them wants to stop.
const STOPS_WITHIN: Duration = Duration::from_secs(1);

/// The ranks that train together.
#[derive(Debug)]
pub(super) struct Team {
    pub group: Arc<Group>,
    /// True if batch norm takes the statistics of all ranks in every step.
    pub sync_bn: bool,
    /// True if this rank wants to stop.
    stop: bool,
    /// Updates until the ranks ask each other whether to stop.
    updates_left: usize,
    /// Updates between two such questions.
    pace: usize,
    /// Updates since the last report, and its time.
    since: (usize, Instant),
}

/// State of a rank that the others get to know.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Report {
    /// Images trained on, and images left out, since the last report.
    counts: [usize; 2],
    /// First loss that is not finite.
    bad: Option<BadLoss>,
    /// Updates after which the ranks ask each other whether to stop; the first rank's holds.
    pace: usize,
}

#[derive(Debug, Serialize, Deserialize)]
struct BadLoss {
    /// Bits of the loss, because JSON has no NaN.
    bits: u64,
    step: usize,
    indices: Vec<usize>,
}

impl Team {
    pub fn new(group: Arc<Group>, sync_bn: bool) -> Self {
        Self { group, sync_bn, stop: false, updates_left: 0, pace: 1, since: (0, Instant::now()) }
    }

    /// Tells after an update whether to stop, because some rank wants to; asked about once a second.
    pub fn stops(&mut self, stop: bool) -> Result<bool, TrainError> {
        self.stop |= stop;
        self.since.0 += 1;
        self.updates_left = self.updates_left.saturating_sub(1);
        if self.updates_left > 0 {
            return Ok(false);
        }
        self.updates_left = self.pace;
        let stops = self.group.any(self.stop)?;
        self.stop &= !stops;
        Ok(stops)
    }

    /// Adds the counts of all ranks to `totals`; returns the first loss of any rank that is not finite.
    pub fn meet(
        &mut self,
        bad: Option<NotFinite>,
        totals: &mut Totals,
        most: usize,
    ) -> Result<Option<NotFinite>, TrainError> {
        let (updates, time) = std::mem::replace(&mut self.since, (0, Instant::now()));
        let an_update = time.elapsed().as_secs_f64() / updates.max(1) as f64;
        let pace = (STOPS_WITHIN.as_secs_f64() / an_update.max(1e-9)) as usize;
        let bad =
            bad.map(|NotFinite { loss, step, indices }| BadLoss { bits: loss.to_bits(), step, indices });
        let own = Report { counts: totals.take_own(), bad, pace: pace.clamp(1, most) };
        let reports = exchange(&self.group, &own)?;
        self.pace = reports.first().map_or(1, |first| first.pace);
        for report in &reports {
            totals.add_counts(report.counts);
        }
        let bad = reports.into_iter().filter_map(|report| report.bad).min_by_key(|bad| bad.step);
        Ok(bad.map(|BadLoss { bits, step, indices }| NotFinite { loss: f64::from_bits(bits), step, indices }))
    }

    /// Begins to add the `sums` `[2]` of a batch of `images` images over the ranks, and to average the running statistics
    /// that each of them has, weighted by images.
    pub fn tally(&self, params: &Params, images: usize, sums: &Tensor) -> Result<Tally, TrainError> {
        let _guard = tch::no_grad_guard();
        // The statistics of a rank without images count only if no rank has any.
        let weight = if images == 0 { 1e-9 } else { images as f64 };
        let buffers: Vec<Tensor> = match self.sync_bn {
            true => Vec::new(),
            false => params.buffers().map(Tensor::shallow_clone).collect(),
        };
        // Few operations for many buffers: on a GPU each takes longer than its numbers.
        let flat = buffers.iter().map(|buffer| buffer.f_view(-1)).collect::<Result<Vec<_>, _>>()?;
        let mut parts = match flat.is_empty() {
            true => Vec::new(),
            false => vec![Tensor::f_cat(&flat, 0)?.f_to_kind(Kind::Double)?.f_mul_scalar(weight)?],
        };
        parts.push(Tensor::f_full([1], weight, (Kind::Double, sums.device()))?);
        parts.push(sums.f_to_kind(Kind::Double)?);
        let all = Tensor::f_cat(&parts, 0)?;
        let pending = self.group.all_reduce_start(&all)?;
        Ok(Tally { buffers, all, pending })
    }
}

/// Sums of a batch, and running statistics, on their way between the ranks.
#[derive(Debug)]
pub(super) struct Tally {
    buffers: Vec<Tensor>,
    /// Weighted values of the buffers, sum of the weights, and sums of the batch.
    all: Tensor,
    pending: Pending,
}

impl Tally {
    /// Waits for the other ranks, replaces the running statistics by their means, and returns the sums `[2]` of all ranks.
    pub fn finish(self) -> Result<Tensor, TrainError> {
        let Self { buffers, all, pending } = self;
        pending.wait()?;
        let _guard = tch::no_grad_guard();
        let end = all.size1()?;
        let weight = all.f_narrow(0, end - 3, 1)?;
        let kind = buffers.first().map_or(Kind::Double, Tensor::kind);
        let means = all.f_narrow(0, 0, end - 3)?.f_div(&weight)?.f_to_kind(kind)?;
        let (mut start, mut found) = (0, Vec::new());
        for buffer in &buffers {
            found.push(means.f_narrow(0, start, buffer.numel() as i64)?.f_view(&buffer.size()[..])?);
            start += buffer.numel() as i64;
        }
        native::copy_all(&buffers.iter().zip(&found).collect::<Vec<_>>())?;
        Ok(all.f_narrow(0, end - 2, 2)?.f_to_kind(Kind::Float)?)
    }
}

/// Sends `own` to all ranks, and returns what each of them sent, in their order.
pub(crate) fn exchange<T: Serialize + for<'de> Deserialize<'de>>(
    group: &Group,
    own: &T,
) -> Result<Vec<T>, TrainError> {
    let bytes = serde_json::to_vec(own).map_err(TrainError::Message)?;
    let all = group.all_gather(&bytes)?;
    all.iter()
        .map(|bytes| serde_json::from_slice(bytes))
        .collect::<Result<_, _>>()
        .map_err(TrainError::Message)
}
