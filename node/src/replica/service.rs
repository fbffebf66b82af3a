//! What routers and other replicas ask of the groups of this store.
//!
//! 1. Find the group; without one the answer says which of the table's partitions are here.
//! 2. The group answers, if there are units for what is asked ([`Admission`]). A panic on the way is an error for that caller and nobody else, like in the gateway.
//! 3. A refusal that says that the caller's route or schema is out of date carries the descriptors of the table's
//!    partitions, so that the caller can correct itself.
//! 4. Counted: by partition what it cost, by operation how long it took ([`Usage`]).

use std::sync::Arc;
use std::time::Instant;

use partita_gateway::http::shield;
use partita_model::error::{ApiError, ErrorCode};
use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};
use partita_model::request::Refusal;
use partita_model::schema::{SchemaVersion, TableId};
use partita_replication::{Group, Store};
use partita_transport::{Answer, GroupStats, Operation, Reason, Refused, Reply, Service};

use super::usage::{Kind, Usage};
use crate::serving::admission::Admission;

/// The groups of a store.
pub struct Groups {
    store: Arc<Store>,
    admission: Arc<Admission>,
    usage: Arc<Usage>,
}

impl Groups {
    /// Of this store, counted there.
    pub fn new(store: Arc<Store>, admission: Arc<Admission>, usage: Arc<Usage>) -> Self {
        Self {
            store,
            admission,
            usage,
        }
    }

    async fn answer(&self, id: GroupId, operation: Operation) -> Reply {
        let group = match operation {
            Operation::Describe(table) => return Ok(Answer::Describe(known(&self.store, table))),
            _ => self.store.group(id),
        };
        let table = match (&group, &operation) {
            (Some(group), _) => Some(table_of(&group.descriptor())),
            (None, Operation::Get(request)) => Some(request.table),
            (None, Operation::Write(request)) => Some(request.table),
            (None, Operation::Page(request)) => Some(request.table),
            (None, _) => None,
        };
        let answer = match group {
            Some(group) => ask(&self.admission, &group, operation).await.map_err(Refused::from),
            None => Err(Refused {
                reason: Reason::UnknownGroup,
                known: Vec::new(),
            }),
        };
        answer.map_err(|mut refused| {
            if let Some(table) = table.filter(|_| refused.concerns_route()) {
                refused.known = known(&self.store, table);
            }
            refused
        })
    }
}

impl Service for Groups {
    async fn call(&self, group: GroupId, operation: Operation) -> Reply {
        let begin = Instant::now();
        let kind = Kind::of(&operation);
        let reply = match shield(self.answer(group, operation)).await {
            Ok(reply) => reply,
            // The panic has been printed by the process's hook.
            Err(_) => {
                self.usage.panicked();
                let error = ApiError::new(ErrorCode::InternalServerError, "Internal server error");
                Err(Refusal::Api(error).into())
            }
        };
        self.usage.note(&self.store, group, kind, &reply, begin.elapsed());
        reply
    }
}

/// Asks a group that is here.
async fn ask(admission: &Admission, group: &Arc<Group>, operation: Operation) -> Result<Answer, Refusal> {
    Ok(match operation {
        Operation::Get(request) => Answer::Get(admission.get(group, request).await?),
        Operation::Write(request) => Answer::Write(admission.write(group, request).await?),
        Operation::Page(request) => Answer::Page(admission.page(group, request).await?),
        Operation::Command(command) => Answer::Command(group.command(command).await?),
        Operation::Position(source) => Answer::Position(group.position(source).await?),
        Operation::Stats => Answer::Stats(stats(group)),
        Operation::Describe(_) => Answer::Describe(vec![PartitionDescriptor::clone(&group.descriptor())]),
    })
}

fn stats(group: &Group) -> GroupStats {
    let stats = group.stats();
    GroupStats {
        leader: stats.leader,
        term: stats.term,
        applied: stats.applied,
        schema_version: group
            .descriptor()
            .schema()
            .map_or(SchemaVersion(0), |schema| schema.version),
        counters: stats.counters,
        in_flight: stats.in_flight,
    }
}

/// The table that a partition is of, or whose index it is of.
pub fn table_of(descriptor: &PartitionDescriptor) -> TableId {
    match &descriptor.kind {
        PartitionKind::Table(schema) => schema.id,
        PartitionKind::Index { base, .. } => *base,
    }
}

/// What this store has of a table and its global indexes, or of one of those by its own id.
fn known(store: &Store, table: TableId) -> Vec<PartitionDescriptor> {
    let descriptors = store.groups().into_iter().map(|group| group.descriptor());
    descriptors
        .filter(|descriptor| descriptor.table == table || table_of(descriptor) == table)
        .map(|descriptor| PartitionDescriptor::clone(&descriptor))
        .collect()
}
