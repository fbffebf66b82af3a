//! What callers of the API ask of a table that is there: the checks, and the intents in the record.

use super::{Circumstances, IndexPhase, Record};
use crate::error::ApiError;
use crate::message::table as text;
use crate::table::{GlobalIndexUpdate, Status, TableSpec, TableUpdate, TimeToLiveStatus, check_tags};

impl Record {
    /// UpdateTable. Nothing is changed when it is refused.
    pub fn update(&mut self, update: &TableUpdate, at: Circumstances) -> Result<(), ApiError> {
        let mut target = self.describe(&|_| None, at.now_ms).updated(update)?;
        for change in &update.global {
            if let GlobalIndexUpdate::Delete(name) = change {
                target.global.retain(|index| index.name != *name);
            }
        }
        self.retarget(target, at)?;
        // Also an update that changes nothing shows as one.
        self.updating = true;
        Ok(())
    }

    /// UpdateTimeToLive. Nothing is changed when it is refused.
    pub fn update_time_to_live(&mut self, attribute: &str, enabled: bool, at: Circumstances) -> Result<(), ApiError> {
        self.describe(&|_| None, at.now_ms).check_changeable()?;
        match (self.spec.time_to_live.as_deref(), enabled) {
            (None, false) => return Err(ApiError::validation(text::TIME_TO_LIVE_ALREADY_OFF)),
            (Some(current), true) if current == attribute => {
                return Err(ApiError::validation(text::TIME_TO_LIVE_ALREADY_ON));
            }
            (Some(current), _) if current != attribute => {
                return Err(ApiError::validation(text::time_to_live_other_attribute(current)));
            }
            _ => {}
        }
        let target = TableSpec {
            time_to_live: enabled.then(|| attribute.to_owned()),
            ..self.spec.clone()
        };
        let updating = self.updating;
        self.retarget(target, at)?;
        // The table stays ACTIVE while time to live is switched.
        self.updating = updating;
        Ok(())
    }

    /// TagResource and UntagResource. Nothing is changed when they are refused.
    pub fn change_tags(&mut self, add: Vec<(String, String)>, remove: &[String]) -> Result<(), ApiError> {
        let mut tags = self.spec.tags.clone();
        tags.retain(|(key, _)| !remove.contains(key) && !add.iter().any(|(added, _)| added == key));
        tags.extend(add);
        tags.sort();
        check_tags(&tags)?;
        self.spec.tags = tags;
        Ok(())
    }

    /// DeleteTable. Nothing is changed when it is refused.
    pub fn delete(&mut self, at: Circumstances) -> Result<(), ApiError> {
        self.describe(&|_| None, at.now_ms).check_changeable()?;
        if self.spec.deletion_protection {
            return Err(ApiError::validation(text::DELETION_PROTECTED));
        }
        self.status = Status::Deleting;
        Ok(())
    }

    /// The specification that the table will have once everything that was accepted is done: without what is still there
    /// only because it is being removed.
    pub fn intended(&self) -> TableSpec {
        let mut spec = self.spec.clone();
        let removing = self.global.iter().filter(|index| index.phase == IndexPhase::Removing);
        for index in removing {
            spec.remove_global_index(&index.name);
        }
        if self.time_to_live == TimeToLiveStatus::Disabling {
            spec.time_to_live = None;
        }
        spec
    }
}
