//! What a storage node's admin API says, and what it is told: JSON between the operator and the nodes.
//!
//! Every call is idempotent and answers with the state it found:
//!
//! | call | body | answer |
//! |---|---|---|
//! | `GET /store` | | [`StoreState`] |
//! | `GET /groups/{id}` | | [`GroupState`] |
//! | `PUT /groups/{id}` | [`PartitionDescriptor`] | [`GroupState`]: made with this store alone, or found as it is |
//! | `PUT /groups/{id}/voters` | [`Bootstrap`] | [`GroupState`]: this store's part of a group of several is made, or found. To be called on each of its stores, with the same body |
//! | `PUT /groups/{id}/replica` | [`Room`] | [`GroupState`]: room for a replica that was added to the group elsewhere |
//! | `PUT /groups/{id}/changes/{change}` | [`Change`] | [`Changed`]: at the leader, once for each change's UUID; the last 32 are remembered |
//! | `PUT /groups/{id}/leader` | [`Leader`] | [`GroupState`]: at the leader, once the replica has taken over |
//! | `GET /groups/{id}/split-point` | | [`SplitPoint`]: where half of the bytes are on either side, at the leader |
//! | `PUT /groups/{id}/splits/{split}` | [`Split`] | [`SplitMade`]: at the leader, once for each split's UUID; the last 32 are remembered |
//! | `PUT /groups/{id}/freezes/{merge}` | [`Freeze`] | [`FreezeState`]: at the leader of a merge's source. It stands still; to be asked again until that is so everywhere |
//! | `PUT /groups/{id}/merges/{merge}` | [`Merge`] | [`MergeMade`]: at the absorber's leader, once for each merge's UUID; the last 64 are remembered |
//! | `PUT /groups/{id}/refusals/{merge}` | [`Merge`] | [`MergeMade`]: at the absorber's leader. Gives the merge up, unless it was made |
//! | `PUT /groups/{id}/thaws/{merge}` | [`Thaw`] | [`GroupState`]: at the source's leader. It goes on, if the absorber's leader said that the merge is refused |
//! | `POST /groups/{id}/digest` | [`DigestOrder`] | [`DigestState`]: of the rows that this replica has; to be compared with others' |
//! | `PUT /peers` | a list of [`StoreAddress`] | the same of all stores that are known: where to look for those that are not where they said |
//! | `PUT /drain`, `DELETE /drain` | | [`Drain`]: this store leads nothing while others can, until it restarts or this is taken back |
//! | `DELETE /groups/{id}` | | nothing, also when it is gone; with `?replica=N` only that replica goes, and not one that came after it |
//! | `PUT /groups/{id}/schema` | [`TableSchema`](crate::schema::TableSchema) | [`GroupState`]; an older or equal version changes nothing |
//! | `PUT /groups/{id}/backfill/{index}` | | [`JobState`]: copies existing items into a global index |
//! | `PUT /groups/{id}/expiry/{on or off}` | | [`JobState`]: makes or drops the expiry rows of existing items |
//!
//! A group's id has 16 hexadecimal digits, an index's is its number. A refused call answers [`Problem`], and has changed
//! nothing.

mod load;

use serde::{Deserialize, Serialize};

use crate::hexadecimal;
use crate::key::KeyBytes;
use crate::partition::{GroupId, PartitionDescriptor};
use crate::schema::{IndexId, SchemaVersion};
use crate::table::record::PartitionSizes;

pub use load::{Load, LoadSpread};

/// A group that goes on without most of its voters counts on so far beyond what the one that is left knows, in terms, numbers of
/// replicas and changes of members: those that are lost may have made some, and never as many.
pub const UNSEEN: u64 = 1 << 20;

/// A store and its groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreState {
    /// The store's identity: made when its folder was first opened.
    pub uuid: String,
    /// The version of the software.
    pub version: String,
    /// The cluster it is of.
    #[serde(default)]
    pub cluster: String,
    /// Where other stores and routers reach it, `host:port`; empty when it does not say.
    #[serde(default)]
    pub address: String,
    /// Whether it gives away what it leads.
    #[serde(default)]
    pub draining: bool,
    /// Where its data is.
    #[serde(default)]
    pub volume: Option<VolumeState>,
    /// Its groups, by id.
    pub groups: Vec<GroupState>,
}

/// The file system that a store's data is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeState {
    /// What it holds when it is full.
    pub total_bytes: u64,
    /// What the store may still write.
    pub free_bytes: u64,
}

/// A group as its replica in this store sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupState {
    /// Range, table, schema.
    pub descriptor: PartitionDescriptor,
    /// Whether this replica leads.
    pub leader: bool,
    /// Its term.
    pub term: u64,
    /// The last applied entry's index.
    pub applied: u64,
    /// What it holds.
    pub sizes: PartitionSizes,
    /// Its members, and how far they are.
    #[serde(default)]
    pub replication: ReplicationState,
    /// What was asked of this replica since its process started.
    #[serde(default)]
    pub load: Load,
    /// Where its range comes from, and what was split off.
    #[serde(default)]
    pub lineage: Lineage,
}

/// Where a partition's range comes from, and what was split off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// Groups that had (some of) its keys before, the closest one last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Ancestor>,
    /// The last few splits, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<SplitDone>,
    /// What was decided of the last few merges into it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merges: Vec<MergeDone>,
    /// That it stands still, to be absorbed by its neighbour: it serves nobody until that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<Frozen>,
}

/// A partition that stands still, to be absorbed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// The merge's UUID.
    pub id: String,
    /// The group that is to absorb it.
    pub absorber: GroupId,
    /// Whether all its voters have the freeze: then the merge can be made.
    pub everywhere: bool,
}

/// A merge that was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeDone {
    /// The merge's UUID.
    pub id: String,
    /// The group that was (or is not) absorbed.
    pub source: GroupId,
    /// What came of it.
    pub outcome: MergeOutcome,
}

/// What came of a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum MergeOutcome {
    /// The source's keys are the absorber's.
    Merged {
        /// The absorber's range epoch since then.
        range_epoch: u64,
    },
    /// They never will be by this id: the source can be thawed.
    Refused,
}

/// A group that had a partition's keys before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ancestor {
    /// The group.
    pub group: GroupId,
    /// Since this range epoch it has them no more.
    pub until_epoch: u64,
}

/// A split that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitDone {
    /// The caller's UUID.
    pub id: String,
    /// The child's first key.
    pub key: KeyBytes,
    /// The group that has the keys from there on.
    pub child: GroupId,
    /// The range epoch of both halves since then.
    pub range_epoch: u64,
}

/// A group's members as one of its replicas sees them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicationState {
    /// This replica's number in the group.
    pub replica: u64,
    /// The replica that leads, as far as it is known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<u64>,
    /// Counts the changes of members.
    pub membership_epoch: u64,
    /// Whether two configurations are in force: a replacement is on its way, and ends by itself.
    pub joint: bool,
    /// The members, by number. Empty at a replica that was added and has heard nothing yet.
    pub members: Vec<MemberState>,
    /// The last entry known to be committed.
    pub committed: u64,
    /// The last entry that a restart would not apply again.
    pub flushed: u64,
    /// Writes evaluated and not yet applied.
    pub in_flight: u64,
    /// Nothing is going on, and time stands still for the group.
    pub resting: bool,
}

/// One replica of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberState {
    /// Its number.
    pub replica: u64,
    /// The store it is on.
    pub store: String,
    /// What it counts for.
    pub role: MemberRole,
    /// Where its store is, if that is known here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The last entry it has, as the leader knows; only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<u64>,
    /// Whether the leader has heard of it within an election timeout; only there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alive: Option<bool>,
}

/// What a member counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum MemberRole {
    /// It votes.
    Voter,
    /// It receives the log and does not vote.
    Learner,
    /// It still votes in the configuration that is being left, and is gone after that.
    Leaving,
}

/// A store, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreAddress {
    /// Its UUID.
    pub store: String,
    /// `host:port` of its transport.
    pub address: String,
}

/// A group that is to be born on several stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bootstrap {
    /// What it holds.
    pub descriptor: PartitionDescriptor,
    /// The stores of its voters; the first stands for election at once.
    pub voters: Vec<StoreAddress>,
}

/// Room for a replica that was added to a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// What the group holds, as its leader says it.
    pub descriptor: PartitionDescriptor,
    /// The number that the new replica has got.
    pub replica: u64,
    /// Where the other members are.
    #[serde(default)]
    pub members: Vec<StoreAddress>,
}

/// A change of a group's members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// Only if this is the group's membership epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_epoch: Option<u64>,
    /// What to do.
    pub step: ChangeStep,
}

/// What to do to a group's members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ChangeStep {
    /// A new replica on this store, which receives the log and does not vote. The store then has to make [`Room`] for the
    /// number it gets.
    AddLearner(StoreAddress),
    /// This learner, which has caught up, becomes a voter.
    Promote(u64),
    /// This replica goes. Not the leader: it hands over first.
    Remove(u64),
    /// A learner that has caught up takes a voter's place, at once.
    Replace {
        /// The learner.
        add: u64,
        /// The voter.
        remove: u64,
    },
}

/// What a change of members came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The replica that was added, promoted or removed.
    pub replica: u64,
    /// The membership epoch since the change.
    pub epoch: u64,
    /// The group now.
    pub group: GroupState,
}

/// What a replica has of a group that may have lost the others, and whether it has become the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Survivor {
    /// Its number.
    pub replica: u64,
    /// The group's membership epoch, as it knows it.
    pub epoch: u64,
    /// The last entry that it has applied.
    pub applied: u64,
    /// The last one that it knows to be committed.
    pub committed: u64,
    /// The last one that it has, and its term: of two replicas the one with the later term, then with the later entry, has more.
    pub last: u64,
    /// See `last`.
    pub last_term: u64,
    /// The time of the last write that it has applied, in epoch milliseconds.
    pub written_ms: u64,
    /// Who votes.
    pub voters: Vec<SurvivorVoter>,
}

/// A voter, as a survivor knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SurvivorVoter {
    /// Its store.
    pub store: String,
    /// The survivor has heard of it within a second.
    pub heard: bool,
}

/// The order to a survivor to become the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Recover {
    /// Only if this is the group's membership epoch, as the survivor knows it.
    pub expected_epoch: u64,
    /// Has to be true: what only the others had is lost.
    pub accept_loss: bool,
}

/// A split of a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Split {
    /// Only if this is the partition's range epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_epoch: Option<u64>,
    /// Where to cut.
    pub at: SplitPlace,
    /// The group of the part that leaves, from the cut on: an id that was never used.
    pub child: GroupId,
}

/// Where to cut a partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SplitPlace {
    /// Where half of the bytes are on either side.
    Middle,
    /// In front of this key.
    Key(KeyBytes),
}

/// What a split came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitMade {
    /// The cut.
    pub split: SplitDone,
    /// The half in front of the cut, now.
    pub group: GroupState,
    /// The other one, now; absent once it has moved to other stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<GroupState>,
}

/// A place for a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SplitPoint {
    /// The child's first key.
    pub key: KeyBytes,
    /// Items (or an index's rows) from there on.
    pub items: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// The range epoch it was looked for in.
    pub range_epoch: u64,
}

/// A merge, told to its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The neighbour that is to have the keys of both.
    pub absorber: GroupId,
}

/// How a freeze stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeState {
    /// The freeze.
    pub frozen: Frozen,
    /// Voters that are not known to have it.
    pub lacking: Vec<u64>,
    /// The source now.
    pub group: GroupState,
}

/// A merge, told to its absorber.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Merge {
    /// The neighbour that is to go.
    pub source: GroupId,
}

/// What a merge came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeMade {
    /// The decision.
    pub merge: MergeDone,
    /// The absorber now.
    pub group: GroupState,
}

/// The end of a merge that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thaw {
    /// The group that would have absorbed this one.
    pub absorber: GroupId,
    /// What its leader answered.
    pub merge: MergeDone,
}

/// Which rows are to be digested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DigestOrder {
    /// Which kind of rows.
    pub subject: DigestSubject,
    /// Only items (or an index's rows) from this key on that are looked at.
    #[serde(default)]
    pub from: KeyBytes,
    /// And before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<KeyBytes>,
    /// Where rows are counted: of what items call for in an index, by the index's keys.
    pub pieces: DigestRange,
    /// Not before this entry of the log is applied.
    #[serde(default)]
    pub after: u64,
    /// Name the rows one by one, if they are no more than this.
    #[serde(default)]
    pub keys_max: u32,
}

/// Keys, divided by their hashes into pieces of the same width.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DigestRange {
    /// The first one.
    #[serde(default)]
    pub from: KeyBytes,
    /// The first one behind them; absent for the end of all keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<KeyBytes>,
    /// How many pieces.
    pub count: u32,
}

/// Kinds of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DigestSubject {
    /// All that replicas have in common: items or an index's rows, with their times, and rows of local indexes.
    Replica,
    /// A global index's rows, whatever their times.
    IndexRows,
    /// The rows that a table's items call for in this global index, whatever their times.
    CalledFor(IndexId),
}

/// Digests of rows, as of one log entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DigestState {
    /// The last entry applied.
    pub applied: u64,
    /// The range epoch.
    pub range_epoch: u64,
    /// Each piece.
    pub pieces: Vec<PieceState>,
    /// The rows, in no order; absent if there are more than was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<Vec<RowState>>,
}

/// One piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PieceState {
    /// Rows in it.
    pub rows: u64,
    /// The sum of their checksums, without what is above 64 bits.
    #[serde(with = "hexadecimal::id")]
    pub sum: u64,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowState {
    /// Its key.
    pub key: KeyBytes,
    /// Its checksum.
    #[serde(with = "hexadecimal::id")]
    pub sum: u64,
}

/// Who is to lead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leader {
    /// The voter.
    pub replica: u64,
}

/// How far a store is with giving away what it leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Whether it gives away what it leads.
    pub draining: bool,
    /// The groups that it still leads and that have other voters.
    pub leads: Vec<GroupId>,
}

impl GroupState {
    /// The version of the schema that a table's partition knows; `None` on an index's.
    pub fn schema_version(&self) -> Option<SchemaVersion> {
        self.descriptor.schema().map(|schema| schema.version)
    }
}

/// A walk over a partition's items that takes its time. It begins anew when the process was restarted; repeating it changes
/// nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobState {
    /// It has reached the end.
    pub done: bool,
    /// Items walked over so far.
    pub rows: u64,
    /// Why it is waiting, if it is: it goes on by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// Why a call was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In words.
    pub message: String,
    /// For programs, where one can do something about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<ProblemCode>,
    /// Who leads the group, if the call has to go there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<StoreAddress>,
}

/// Why a call was refused, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ProblemCode {
    /// Another replica leads (or none does): ask the leader.
    NotLeader,
    /// The group's membership epoch (of a split: its range epoch) is another than expected.
    StaleEpoch,
    /// Another change is on its way (or the group stands still for a merge): ask again.
    Busy,
    /// No such replica, or not in that role.
    NoSuchMember,
    /// The store has a replica of the group already.
    StoreTaken,
    /// The replica leads: transfer the leadership first.
    Leads,
    /// The learner has not caught up: ask again.
    Behind,
    /// Too few voters that are alive would be left.
    QuorumLost,
    /// Another group holds a part of the same range here.
    Overlaps,
    /// The group was here and was destroyed: its id (or the replica's number) is never used again.
    Destroyed,
    /// The group that a split is to make exists, or has existed: choose another id.
    ChildTaken,
    /// The key is not behind the partition's first key and before its end.
    OutsideRange,
    /// The table has local indexes, and the key is inside an item collection.
    InsideCollection,
    /// There is no middle: a single item (or item collection), or none.
    Indivisible,
    /// Too much of the change log is not delivered yet to be moved by a split.
    ChangesPending,
    /// A global index is being built: when it is active.
    IndexBuilding,
    /// It may have been done, or not: ask again with the same id.
    UnknownFate,
    /// The two groups of a merge do not fit: another table, not neighbours, other schemas, a stream.
    NotMergeable,
    /// The two groups of a merge do not have their voters, and nothing else, on the same stores.
    OtherStores,
    /// The source of a merge has no replica beside its absorber's leader.
    NoSource,
    /// The source does not stand still (as far as this store knows), or not everywhere: ask for the freeze.
    NotFrozen,
    /// The group stands still for another merge.
    FrozenForAnother,
    /// The merge was refused, and its source has gone on: choose another id.
    MergeOver,
    /// The merge is not refused: only that lets the source go on.
    NotRefused,
    /// The group has not lost its quorum (as far as is known within a second): nothing is to be recovered.
    QuorumThere,
    /// The replica has not received the partition's data.
    Incomplete,
}
