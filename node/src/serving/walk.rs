//! Walks over all items of a partition, piece by piece: each piece is a command in one order with the writes.
//!
//! Repeating one changes nothing, so a walk that was interrupted begins anew.

use std::sync::Arc;

use partita_model::key::KeyBytes;
use partita_model::request::Refusal;
use partita_model::schema::{IndexId, TableSchema};
use partita_partition::command::{Command, CommandReply};
use partita_replication::Group;

use super::delivery::{Deliveries, IndexTarget};

/// Items that one command copies into a new index or gives an expiry row: a command holds up the writes of its
/// partition, and this many take about a millisecond.
const ROWS_MAX: u32 = 500;
/// Bytes of items that one command copies into a new index, for the same reason.
const BYTES_MAX: u64 = 1 << 20;

/// What is done to the items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// They are copied into a new global index, by way of the change log.
    Backfill(IndexId),
    /// Those that expire get an expiry row.
    IndexExpiry,
    /// Expiry rows that the schema does not call for are dropped.
    DropExpiry,
}

impl Purpose {
    /// Whether a schema calls for it.
    pub fn fits(self, schema: &TableSchema) -> bool {
        match self {
            Self::Backfill(index) => schema.global_index(index).is_some(),
            Self::IndexExpiry => schema.time_to_live.is_some(),
            Self::DropExpiry => schema.time_to_live.is_none(),
        }
    }
}

/// How far a walk over a partition is.
#[derive(Debug, Clone)]
pub struct Walk {
    purpose: Purpose,
    after: Option<KeyBytes>,
    rows: u64,
    done: bool,
}

impl Walk {
    /// At the first item.
    pub fn new(purpose: Purpose) -> Self {
        Self {
            purpose,
            after: None,
            rows: 0,
            done: false,
        }
    }

    /// Whether it has reached the end.
    pub fn done(&self) -> bool {
        self.done
    }

    /// Items looked at.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Goes on by one piece. What was copied into an index is delivered on return, so that the change log stays small.
    /// After an error the same piece can be tried again.
    pub async fn go_on<T: IndexTarget>(
        &mut self,
        group: &Arc<Group>,
        deliveries: &Arc<Deliveries<T>>,
    ) -> Result<(), Refusal> {
        let (next, rows) = match group.command(self.piece()).await? {
            CommandReply::Progress { next, rows } => (next, rows),
            CommandReply::Done | CommandReply::Delivered(_) | CommandReply::OldSession(_) => (None, 0),
        };
        if let Purpose::Backfill(_) = self.purpose {
            deliveries.delivered(group, group.stats().counters.clock).await?;
        }
        self.rows += rows;
        self.done = next.is_none();
        self.after = next;
        Ok(())
    }

    fn piece(&self) -> Command {
        let after = self.after.clone();
        let rows_max = ROWS_MAX;
        match self.purpose {
            Purpose::Backfill(index) => Command::Backfill {
                index,
                after,
                rows_max,
                bytes_max: BYTES_MAX,
            },
            Purpose::IndexExpiry => Command::IndexExpiry { after, rows_max },
            Purpose::DropExpiry => Command::DropExpiry { after, rows_max },
        }
    }
}
