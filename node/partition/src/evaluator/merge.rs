//! Evaluation of a merge's steps: they touch no row that another evaluation reads, and whoever proposes them holds back what
//! could come behind them until they are applied.

use super::{Effect, Evaluator};
use crate::effect::EffectWriter;
use crate::error::PartitionError;
use crate::merge::MergeStep;
use crate::storage::Storage;

/// Room for a step: two keys and a schema at most.
const STEP_BYTES: usize = 512;

impl<S: Storage> Evaluator<S> {
    /// Puts a step into the order of the log.
    pub fn merge_step(&mut self, step: &MergeStep) -> Result<Effect, PartitionError> {
        let mut writer = EffectWriter::with_capacity(STEP_BYTES);
        writer.merge(step)?;
        Ok(self.seal(writer))
    }
}
