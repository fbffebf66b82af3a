//! What routers and other replicas ask of the groups of this store.
//!
//! 1. Find the group; without one the answer says which of the table's partitions are here.
//! 2. The group answers, if there are units for what is asked ([`Admission`]). A panic on the way is an error for that caller and nobody else, like in the gateway.
//! 3. A refusal that says that the caller's route or schema is out of date carries the descriptors of the table's
//!    partitions, so that the caller can correct itself.
//! 4. Counted: by partition what it cost, by operation how long it took ([`Usage`]).
//!
//! Letters of other stores' replicas come the same way, and go to the store.

use std::sync::Arc;
use std::time::Instant;

use partita_gateway::http::shield;
use partita_model::capacity::UnitsCall;
use partita_model::error::{ApiError, ErrorCode};
use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};
use partita_model::request::Refusal;
use partita_model::schema::{SchemaVersion, TableId};
use partita_partition::command::Command;
use partita_replication::{Group, Store};
use partita_transport::{
    AddressBook, Answer, GroupLeader, GroupStats, KnownAddress, Operation, Reason, Refused, Reply, Service,
    StoreIdentity,
};
use uuid::Uuid;

use super::usage::{Kind, Usage};
use crate::serving::admission::Admission;

/// The groups of a store.
pub struct Groups {
    /// The store.
    pub store: Arc<Store>,
    /// What their units admit.
    pub admission: Arc<Admission>,
    /// What is counted of requests.
    pub usage: Arc<Usage>,
    /// Where other stores are.
    pub book: Arc<AddressBook>,
}

impl Groups {
    async fn answer(&self, id: GroupId, operation: Operation) -> Reply {
        let group = match operation {
            Operation::Describe(table) => return Ok(Answer::Describe(known(&self.store, table))),
            _ => self.store.group(id),
        };
        let table = match (&group, &operation) {
            (Some(group), _) => Some(table_of(&group.descriptor())),
            (None, Operation::Get(request)) => Some(request.table),
            (None, Operation::Write(request)) => Some(request.table),
            (None, Operation::Page(request) | Operation::Further(request, _)) => Some(request.table),
            (None, _) => None,
        };
        let answer = match group {
            Some(group) => self.ask(&group, operation).await.map_err(Refused::from),
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

    /// Asks a group that is here.
    async fn ask(&self, group: &Arc<Group>, operation: Operation) -> Result<Answer, Refusal> {
        Ok(match operation {
            Operation::Get(request) => Answer::Get(self.admission.get(group, request).await?),
            Operation::Write(request) => Answer::Write(self.admission.write(group, request).await?),
            Operation::Page(request) => Answer::Page(self.admission.page(group, request, None).await?),
            Operation::Further(request, read) => Answer::Page(self.admission.page(group, request, Some(read)).await?),
            Operation::Command(Command::Deliver(batch)) => Answer::Command(self.admission.deliver(group, batch).await?),
            Operation::Command(command) => Answer::Command(group.command(command).await?),
            Operation::Position(source) => Answer::Position(group.position(source).await?),
            Operation::Stats => Answer::Stats(stats(group)),
            Operation::Describe(_) => Answer::Describe(vec![PartitionDescriptor::clone(&group.descriptor())]),
            Operation::Units(table, call) => {
                let reports = matches!(call, UnitsCall::Report { .. });
                if reports && !group.is_serving() {
                    return Err(Refusal::NotLeader);
                }
                Answer::Units(self.admission.answer(table, call)?)
            }
            Operation::Leader => Answer::Leader(leader(group, &self.store, &self.book)),
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

    fn meet(&self, store: &StoreIdentity) -> Result<(), String> {
        self.book.meet(store)
    }

    fn letters(&self, from: Uuid, letters: &[u8]) -> Result<(), String> {
        self.store.receive(from, letters).map_err(|fault| fault.to_string())
    }

    fn addresses(&self, known: Vec<KnownAddress>) {
        self.book.learn(known);
    }
}

/// Who leads a group, as far as it is known here.
fn leader(group: &Group, store: &Store, book: &AddressBook) -> GroupLeader {
    let stats = group.stats();
    let known = book.all();
    let address = |store: Uuid| {
        let known = known.iter().find(|known| known.store == store);
        known
            .map(|known| known.address.clone())
            .filter(|address| !address.is_empty())
    };
    let members = &stats.members.members;
    let leads = stats.members.member(stats.leads);
    // A replica of its own that leads need not be among the members: those are as applied.
    let leads = leads.map(|member| member.store).or(stats.leader.then(|| store.uuid()));
    GroupLeader {
        term: stats.term,
        leads: stats.serving > 0,
        leader: leads.and_then(address),
        members: members.iter().filter_map(|member| address(member.store)).collect(),
    }
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
pub fn known(store: &Store, table: TableId) -> Vec<PartitionDescriptor> {
    let descriptors = store.groups().into_iter().map(|group| group.descriptor());
    descriptors
        .filter(|descriptor| descriptor.table == table || table_of(descriptor) == table)
        .map(|descriptor| PartitionDescriptor::clone(&descriptor))
        .collect()
}
