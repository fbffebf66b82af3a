//! A split: one entry of the log cuts a partition in two.
//!
//! 1. [`count`] reads a pinned view: where the middle is, if it is asked for, and what is behind the key that the cut is
//!    made at. Meanwhile the evaluator keeps a tally of what changes ([`crate::evaluator::tally`]).
//! 2. [`Evaluator::split`](crate::evaluator::Evaluator::split) puts a [`SplitRecord`] into the order of the log. From then
//!    on the keys behind the cut are not evaluated here any more.
//! 3. [`Applier::split`](crate::applier::Applier::split) cuts the descriptor and writes the child's rows, in one batch. No
//!    item moves: it is a matter of whose range it is in.
//!
//! A partition remembers what came of the last few splits ([`Lineage`]), so that a caller may ask again.

use std::ops::Bound;

use partita_model::item::ItemRef;
use partita_model::key::{self, KeyBytes};
use serde::{Deserialize, Serialize};

use crate::descriptor::{self, GroupId, LogPosition, PartitionDescriptor};
use crate::error::PartitionError;
use crate::merge::{MergeDone, MergeOutcome};
use crate::row;
use crate::state::{Counters, LocalCount};
use crate::storage::{Cursor as _, Family, Tier, View};
use crate::transfer;

/// The version of a [`SplitRecord`]: its first byte. Postcard follows.
const VERSION: u8 = 1;
/// The versions of a [`Lineage`] row: since the second one merges are in it. Written is the oldest one that holds it all.
const LINEAGE_VERSION: u8 = 2;
const FIRST_LINEAGE_VERSION: u8 = 1;
/// So many splits are remembered for callers who ask again.
const SPLITS_REMEMBERED: usize = 32;
/// So many ancestors are remembered: nothing that was sent before that many splits is still on its way.
const ANCESTORS_REMEMBERED: usize = 32;
/// So many decided merges are remembered: for callers who ask again, and for replicas that come to them by a snapshot.
const MERGES_REMEMBERED: usize = 64;
/// So many freezes that came to nothing are remembered.
const THAWS_REMEMBERED: usize = 32;
/// Change records that a split (or a merge) may have to move, in bytes: they are read and written while nothing else is
/// applied. What follows the change log trims it far below this as long as it is not stuck.
pub(crate) const CHANGES_BYTES_MAX: u64 = 64 << 20;

/// Where a partition is to be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SplitAt {
    /// In front of this key.
    Key(KeyBytes),
    /// Where half of the bytes are on either side.
    Middle,
}

/// Why a partition cannot be cut there. Nothing has changed. In words it has no keys: these are users' data, and the words come to be
/// read in a Table's status.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SplitFault {
    /// Not behind the first key and before the end.
    #[error("the key is not inside the partition's range: it has to be behind the first key and in front of the end")]
    Outside(KeyBytes, KeyBytes, Option<KeyBytes>),
    /// The table has local indexes, whose rows stand apart from the items.
    #[error(
        "the key is inside an item collection, and the table has local secondary indexes: cut where a collection begins, at a key without its sort key"
    )]
    InsideCollection(KeyBytes, KeyBytes),
    /// There is nothing to cut.
    #[error(
        "there is no middle: the partition holds a single item (or, with local secondary indexes, a single item collection), or none"
    )]
    Indivisible,
    /// The change log is too long.
    #[error(
        "{0} bytes of the change log are not delivered to the global indexes (or kept for a stream); a split moves at most {CHANGES_BYTES_MAX}"
    )]
    Changes(u64),
    /// Existing items are being copied into a new index: the child would not go on with that.
    #[error("global index {0} is being built: split when it is active")]
    Building(String),
    /// The view cannot be read.
    #[error(transparent)]
    Partition(#[from] PartitionError),
}

/// What is behind a cut.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Departing {
    /// Items (or rows of a global index).
    pub items: u64,
    /// The sum of their sizes.
    pub bytes: u64,
    /// Each local index, by id.
    pub local: Vec<LocalCount>,
}

/// A split as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// The caller's id.
    pub id: u128,
    /// The child's first key.
    pub key: KeyBytes,
    /// The child's group.
    pub child: GroupId,
    /// What the child begins with.
    pub departing: Departing,
}

impl SplitRecord {
    /// Both halves' descriptors.
    pub fn cut(&self, parent: &PartitionDescriptor) -> (PartitionDescriptor, PartitionDescriptor) {
        let range_epoch = parent.range_epoch + 1;
        let left = PartitionDescriptor {
            end: Some(self.key.clone()),
            range_epoch,
            ..parent.clone()
        };
        let right = PartitionDescriptor {
            group: self.child,
            start: self.key.clone(),
            range_epoch,
            ..parent.clone()
        };
        (left, right)
    }

    /// As it stands in an effect.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, PartitionError> {
        descriptor::encode(VERSION, self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PartitionError> {
        descriptor::decode(VERSION, bytes, "split")
    }
}

/// A split that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitDone {
    /// The caller's id.
    pub id: u128,
    /// The child's first key.
    pub key: KeyBytes,
    /// The child's group.
    pub child: GroupId,
    /// The range epoch of both halves since then.
    pub range_epoch: u64,
}

/// Where a partition comes from and what came from it: a row of the Meta family.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Lineage {
    /// Groups that had (some of) this partition's keys before, and the range epoch since which they have not. The closest
    /// one comes last.
    pub ancestors: Vec<(GroupId, u64)>,
    /// The last few splits, in order.
    pub splits: Vec<SplitDone>,
    /// What was decided of the last few merges into this partition (or into one that it absorbed), in order.
    pub merges: Vec<MergeDone>,
    /// The ids of the last few merges out of this partition that came to nothing.
    pub thawed: Vec<u128>,
}

/// The first version of a lineage.
#[derive(Serialize, Deserialize)]
struct FirstLineage {
    ancestors: Vec<(GroupId, u64)>,
    splits: Vec<SplitDone>,
}

impl Lineage {
    /// What came of a caller's split, if it is one of the last few.
    pub fn split(&self, id: u128) -> Option<&SplitDone> {
        self.splits.iter().find(|done| done.id == id)
    }

    /// The parent's and the child's lineage after a split.
    pub(crate) fn after(mut self, parent: GroupId, done: SplitDone) -> (Self, Self) {
        let mut ancestors = self.ancestors.clone();
        ancestors.push((parent, done.range_epoch));
        keep_last(&mut ancestors, ANCESTORS_REMEMBERED);
        let child = Self {
            ancestors,
            ..Self::default()
        };
        self.splits.push(done);
        keep_last(&mut self.splits, SPLITS_REMEMBERED);
        (self, child)
    }

    /// What was decided of a caller's merge, if it is one of the last few.
    pub fn merge(&self, id: u128) -> Option<&MergeDone> {
        self.merges.iter().find(|done| done.id == id)
    }

    /// Groups that were absorbed, each with the entry of its log that froze it: nothing of them is left anywhere but where
    /// the merge has not been applied yet.
    pub fn absorbed(&self) -> Vec<(GroupId, LogPosition)> {
        let merged = self.merges.iter().filter_map(|done| match done.outcome {
            MergeOutcome::Merged { freeze, .. } => Some((done.source, freeze)),
            MergeOutcome::Refused => None,
        });
        merged.collect()
    }

    /// A merge has been decided.
    pub(crate) fn decided(mut self, done: MergeDone) -> Self {
        self.merges.push(done);
        keep_last(&mut self.merges, MERGES_REMEMBERED);
        self
    }

    /// The absorber's lineage once it has the source: what was sent for the source's items, by it and by its ancestors, is
    /// older than what the absorber sends from this epoch on; and what was decided of merges into the source stays decided.
    pub(crate) fn join(mut self, absorber: GroupId, source: Self, done: MergeDone, range_epoch: u64) -> Self {
        let others = source.ancestors.into_iter().chain([(done.source, range_epoch)]);
        for (group, epoch) in others.filter(|(group, _)| *group != absorber) {
            let known = self
                .ancestors
                .iter()
                .find(|known| known.0 == group)
                .map_or(0, |known| known.1);
            self.ancestors.retain(|known| known.0 != group);
            self.ancestors.push((group, epoch.max(known)));
        }
        keep_last(&mut self.ancestors, ANCESTORS_REMEMBERED);
        self.merges.extend(source.merges);
        self.decided(done)
    }

    /// A freeze has come to nothing.
    pub(crate) fn thaw(mut self, id: u128) -> Self {
        self.thawed.push(id);
        keep_last(&mut self.thawed, THAWS_REMEMBERED);
        self
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, PartitionError> {
        if !self.merges.is_empty() || !self.thawed.is_empty() {
            return descriptor::encode(LINEAGE_VERSION, self);
        }
        let Self { ancestors, splits, .. } = self.clone();
        descriptor::encode(FIRST_LINEAGE_VERSION, &FirstLineage { ancestors, splits })
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, PartitionError> {
        if bytes.first() != Some(&FIRST_LINEAGE_VERSION) {
            return descriptor::decode(LINEAGE_VERSION, bytes, "lineage");
        }
        let FirstLineage { ancestors, splits } = descriptor::decode(FIRST_LINEAGE_VERSION, bytes, "lineage")?;
        Ok(Self {
            ancestors,
            splits,
            ..Self::default()
        })
    }
}

fn keep_last<T>(list: &mut Vec<T>, count: usize) {
    list.drain(..list.len().saturating_sub(count));
}

/// Whether a partition can be cut in front of this key.
pub fn check_key(descriptor: &PartitionDescriptor, key: &KeyBytes) -> Result<(), SplitFault> {
    if *key <= descriptor.start || !descriptor.contains(key) {
        let (start, end) = (descriptor.start.clone(), descriptor.end.clone());
        return Err(SplitFault::Outside(key.clone(), start, end));
    }
    check_indexes(descriptor)?;
    match collection(descriptor, key.as_bytes()) {
        Some(start) if start.len() < key.0.len() => {
            Err(SplitFault::InsideCollection(key.clone(), KeyBytes(start.to_vec())))
        }
        _ => Ok(()),
    }
}

fn check_indexes(descriptor: &PartitionDescriptor) -> Result<(), SplitFault> {
    let global = descriptor.schema().into_iter().flat_map(|schema| &schema.global);
    match global.into_iter().find(|index| !index.readable) {
        Some(index) => Err(SplitFault::Building(index.name.clone())),
        None => Ok(()),
    }
}

/// The beginning of the item collection that must stay in one piece; `None` where there is none.
fn collection<'k>(descriptor: &PartitionDescriptor, key: &'k [u8]) -> Option<&'k [u8]> {
    let schema = descriptor.schema().filter(|schema| !schema.local.is_empty())?;
    key::collection_of(&schema.keys, key)
}

/// What a view says about a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Where.
    pub key: KeyBytes,
    /// What is behind it.
    pub departing: Departing,
    /// The last log entry applied in the view.
    pub at: LogPosition,
}

/// Looks for the place of a cut and counts what is behind it. Reads that part of the partition as a whole.
pub fn count(view: &impl View, descriptor: &PartitionDescriptor, at: &SplitAt) -> Result<Counted, SplitFault> {
    let head = transfer::head(view, descriptor.table, descriptor.group)?;
    let head = head.ok_or_else(|| PartitionError::UnknownFormat("the partition is not there".to_owned()))?;
    let descriptor = head.descriptor()?;
    let (position, counters) = crate::state::decode(&head.state)?;
    check_indexes(&descriptor)?;
    check_changes(view, &descriptor)?;
    let (key, items, bytes) = match at {
        SplitAt::Key(key) => {
            check_key(&descriptor, key)?;
            let (items, bytes) = count_items(view, &descriptor, key)?;
            (key.clone(), items, bytes)
        }
        SplitAt::Middle => middle(view, &descriptor, &counters)?,
    };
    let local = count_local(view, &descriptor, &key)?;
    Ok(Counted {
        key,
        departing: Departing { items, bytes, local },
        at: position,
    })
}

fn check_changes(view: &impl View, descriptor: &PartitionDescriptor) -> Result<(), SplitFault> {
    match changes_bytes(view, descriptor)? {
        bytes if bytes > CHANGES_BYTES_MAX => Err(SplitFault::Changes(bytes)),
        _ => Ok(()),
    }
}

/// Bytes of the change log, counted up to a little more than [`CHANGES_BYTES_MAX`].
pub(crate) fn changes_bytes(view: &impl View, descriptor: &PartitionDescriptor) -> Result<u64, PartitionError> {
    let (from, to) = transfer::changes(descriptor);
    let to = to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(&to[..]));
    let range = (Bound::Included(&from[..]), to);
    let mut cursor = view.scan(Family::Changes, range, false, Tier::All)?;
    let mut bytes = 0;
    while bytes <= CHANGES_BYTES_MAX
        && let Some((key, value)) = cursor.next()?
    {
        bytes += (key.len() + value.len()) as u64;
    }
    Ok(bytes)
}

fn count_items(
    view: &impl View,
    descriptor: &PartitionDescriptor,
    key: &KeyBytes,
) -> Result<(u64, u64), PartitionError> {
    let (_, to) = row::range(descriptor);
    let from = row::keyed(descriptor.table, key.as_bytes());
    let to = to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(&to[..]));
    let mut cursor = view.scan(Family::Items, (Bound::Included(&from[..]), to), false, Tier::All)?;
    let (mut items, mut bytes) = (0, 0);
    while let Some((_, value)) = cursor.next()? {
        items += 1;
        bytes += ItemRef::from_stored(value)?.size();
    }
    Ok((items, bytes))
}

fn count_local(
    view: &impl View,
    descriptor: &PartitionDescriptor,
    key: &KeyBytes,
) -> Result<Vec<LocalCount>, PartitionError> {
    let mut counters = Counters::default();
    let Some(schema) = descriptor.schema().filter(|schema| !schema.local.is_empty()) else {
        return Ok(counters.local);
    };
    let (_, to) = row::range(descriptor);
    let from = row::keyed(descriptor.table, key.as_bytes());
    let to = to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(&to[..]));
    let mut cursor = view.scan(Family::LocalIndexes, (Bound::Included(&from[..]), to), false, Tier::All)?;
    while let Some((key, value)) = cursor.next()? {
        // The sizes of item collections stand among the rows.
        if let Some(index) = key::local_index_of(&schema.keys, row::unkeyed(key)) {
            counters.count_local(index, 1, ItemRef::from_stored(value)?.size() as i64);
        }
    }
    Ok(counters.local)
}

/// The place with about half of the bytes behind it, and the items and bytes there. Goes from the end towards it; what must
/// stay in one piece (an item, or a collection) goes where it makes the halves more alike.
fn middle(
    view: &impl View,
    descriptor: &PartitionDescriptor,
    counters: &Counters,
) -> Result<(KeyBytes, u64, u64), SplitFault> {
    let half = counters.bytes / 2;
    let (from, to) = row::range(descriptor);
    let to = to.as_ref().map_or(Bound::Unbounded, |to| Bound::Excluded(&to[..]));
    let range = (Bound::Included(&from[..]), to);
    let mut cursor = view
        .scan(Family::Items, range, true, Tier::All)
        .map_err(PartitionError::from)?;
    // What is behind the last place between two pieces, and the piece in front of it.
    let mut behind: Option<(KeyBytes, u64, u64)> = None;
    let mut piece: Option<(KeyBytes, u64, u64)> = None;
    while let Some((key, value)) = cursor.next().map_err(PartitionError::from)? {
        let key = row::unkeyed(key);
        let start = collection(descriptor, key).unwrap_or(key);
        let size = ItemRef::from_stored(value).map_err(PartitionError::from)?.size();
        match &mut piece {
            Some((first, items, bytes)) if first.as_bytes() == start => {
                *items += 1;
                *bytes += size;
            }
            Some((first, items, bytes)) => {
                let (items_behind, bytes_behind) = behind.as_ref().map_or((0, 0), |behind| (behind.1, behind.2));
                if behind.is_some() && bytes_behind + *bytes / 2 >= half {
                    break;
                }
                let all = (first.clone(), items_behind + *items, bytes_behind + *bytes);
                let enough = all.2 >= half;
                behind = Some(all);
                piece = Some((KeyBytes(start.to_vec()), 1, size));
                if enough {
                    break;
                }
            }
            None => piece = Some((KeyBytes(start.to_vec()), 1, size)),
        }
    }
    behind
        .filter(|(key, ..)| *key > descriptor.start)
        .ok_or(SplitFault::Indivisible)
}
