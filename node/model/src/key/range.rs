//! Bounds on keys: what a key condition, a segment of a parallel Scan or a start key selects.

use std::ops::Bound;

use super::{HASH_BYTES, KeyBytes, collection, component};
use crate::schema::IndexId;
use crate::value::ValueRef;

/// From, to.
pub type KeyRange = (Bound<KeyBytes>, Bound<KeyBytes>);

/// A condition on one range attribute: the last one that has a condition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SortCondition<'a> {
    /// `=`
    Equal(ValueRef<'a>),
    /// `<`
    Less(ValueRef<'a>),
    /// `<=`
    LessOrEqual(ValueRef<'a>),
    /// `>`
    Greater(ValueRef<'a>),
    /// `>=`
    GreaterOrEqual(ValueRef<'a>),
    /// `BETWEEN low AND high`, both included.
    Between(ValueRef<'a>, ValueRef<'a>),
    /// `begins_with`
    BeginsWith(ValueRef<'a>),
}

/// The rows of one item collection, of the table, of a local index (whose id stands behind the partition key) or of a
/// global index (`seed` is the index's): the partition key's values, the values of the range attributes that must be
/// equal, from the first one on, and the condition on the next one.
///
/// `None` when a value cannot be a key. An impossible condition (`BETWEEN` with its ends swapped) makes a range that
/// nothing is in.
pub fn query<'a>(
    seed: u64,
    hash_values: impl IntoIterator<Item = ValueRef<'a>>,
    local_index: Option<IndexId>,
    equal: impl IntoIterator<Item = ValueRef<'a>>,
    condition: Option<SortCondition<'a>>,
) -> Option<KeyRange> {
    let mut prefix = collection(seed, hash_values)?;
    if let Some(id) = local_index {
        prefix.0.extend_from_slice(&id.0.to_be_bytes());
    }
    for value in equal {
        component::write(value, &mut prefix.0)?;
    }
    let with = |value: ValueRef<'_>| {
        let mut key = prefix.clone();
        component::write(value, &mut key.0).map(|()| key)
    };
    Some(match condition {
        None => all_with(prefix),
        Some(SortCondition::Equal(value)) => all_with(with(value)?),
        Some(SortCondition::Less(value)) => {
            let end = Bound::Excluded(with(value)?);
            (Bound::Included(prefix), end)
        }
        Some(SortCondition::LessOrEqual(value)) => {
            let end = end_of(with(value)?);
            (Bound::Included(prefix), end)
        }
        Some(SortCondition::Greater(value)) => (start_after(with(value)?), end_of(prefix)),
        Some(SortCondition::GreaterOrEqual(value)) => (Bound::Included(with(value)?), end_of(prefix)),
        Some(SortCondition::Between(low, high)) => (Bound::Included(with(low)?), end_of(with(high)?)),
        Some(SortCondition::BeginsWith(value)) => {
            component::write_prefix(value, &mut prefix.0)?;
            all_with(prefix)
        }
    })
}

/// Segment `segment` of `total` of a parallel Scan: an even share of the hashes. `total` is at least 1.
pub fn segment(segment: u32, total: u32) -> KeyRange {
    let boundary = |index: u32| {
        let hash = (u128::from(index) << 64).div_ceil(u128::from(total.max(1)));
        u64::try_from(hash)
            .ok()
            .map(|hash| KeyBytes(hash.to_be_bytes().to_vec()))
    };
    let start = match boundary(segment) {
        Some(key) if segment > 0 => Bound::Included(key),
        _ => Bound::Unbounded,
    };
    (start, boundary(segment + 1).map_or(Bound::Unbounded, Bound::Excluded))
}

/// What is left of a range behind a start key (before it, in reverse). `None` when the key is not in the range, which
/// is an error of the caller's.
pub fn resume(range: KeyRange, start: KeyBytes, reverse: bool) -> Option<KeyRange> {
    if !std::ops::RangeBounds::contains(&(range.0.as_ref(), range.1.as_ref()), &start) {
        return None;
    }
    Some(if reverse {
        (range.0, Bound::Excluded(start))
    } else {
        (Bound::Excluded(start), range.1)
    })
}

/// Whether nothing can be in a range.
pub fn is_empty(range: &KeyRange) -> bool {
    match (&range.0, &range.1) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
    }
}

fn all_with(prefix: KeyBytes) -> KeyRange {
    (Bound::Included(prefix.clone()), end_of(prefix))
}

/// Up to the last key that starts with this.
fn end_of(prefix: KeyBytes) -> Bound<KeyBytes> {
    debug_assert!(prefix.0.len() >= HASH_BYTES);
    prefix.prefix_end().map_or(Bound::Unbounded, Bound::Excluded)
}

/// From behind the last key that starts with this. When nothing is behind it, a bound nothing satisfies.
fn start_after(prefix: KeyBytes) -> Bound<KeyBytes> {
    let last = prefix.clone();
    prefix.prefix_end().map_or(Bound::Excluded(last), Bound::Included)
}
