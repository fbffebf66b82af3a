//! What is to be done next about a table.

use super::{IndexPhase, Record};
use crate::table::{Status, TimeToLiveStatus};

/// A step from what a record intends to what is there. Each can be repeated: it may have been interrupted, or done without
/// having been noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make the partitions, let the table be read and written.
    Create,
    /// Tell the partitions the schema.
    Apply,
    /// Stop writing to the index, remove its partitions.
    RemoveIndex(String),
    /// Make the index's partitions, let writes maintain it, copy what is there, let it be queried.
    BuildIndex(String),
    /// Tell the partitions, then make or drop the expiry rows of what is there.
    SwitchTimeToLive,
    /// Stop reading and writing, remove the partitions, then the record.
    Delete,
}

impl Step {
    /// The next one; `None` when everything is as intended.
    pub fn next(record: &Record) -> Option<Self> {
        let index = |phase| {
            let found = record.global.iter().find(|index| index.phase == phase);
            found.map(|index| index.name.clone())
        };
        match record.status {
            Status::Creating => Some(Self::Create),
            Status::Deleting => Some(Self::Delete),
            Status::Active | Status::Updating if record.updating => Some(Self::Apply),
            Status::Active | Status::Updating => index(IndexPhase::Removing)
                .map(Self::RemoveIndex)
                .or_else(|| index(IndexPhase::Building).map(Self::BuildIndex))
                .or_else(|| switching(record.time_to_live).then_some(Self::SwitchTimeToLive)),
        }
    }
}

fn switching(status: TimeToLiveStatus) -> bool {
    matches!(status, TimeToLiveStatus::Enabling | TimeToLiveStatus::Disabling)
}

impl Record {
    /// The table can be read and written.
    pub fn created(&mut self) {
        self.status = Status::Active;
    }

    /// The partitions know the schema.
    pub fn applied(&mut self) {
        self.updating = false;
    }

    /// An index is gone.
    pub fn index_removed(&mut self, name: &str) {
        self.global.retain(|index| index.name != name);
        self.spec.remove_global_index(name);
    }

    /// An index holds everything: it may be queried once the partitions know. Nothing happens to one that was given up
    /// meanwhile.
    pub fn index_built(&mut self, name: &str) {
        let building = self.index_mut(name).filter(|index| index.phase == IndexPhase::Building);
        if let Some(index) = building {
            index.phase = IndexPhase::Ready;
            self.schema_version.0 += 1;
            self.updating = true;
        }
    }

    /// The expiry rows of what is there have been made (`on`) or dropped. If it was switched again meanwhile, the next step
    /// sees to that.
    pub fn time_to_live_switched(&mut self, on: bool) {
        match (on, self.time_to_live) {
            (true, TimeToLiveStatus::Enabling) => self.time_to_live = TimeToLiveStatus::Enabled,
            (false, TimeToLiveStatus::Disabling) => {
                self.time_to_live = TimeToLiveStatus::Disabled;
                self.spec.time_to_live = None;
            }
            _ => {}
        }
    }
}
