//! Where a partition is cut.

use partita_model::admin::{GroupState, Split, SplitPlace};
use partita_model::key::KeyBytes;
use partita_planning::repartition::{Cut, Why};

use crate::nodes;
use crate::table::children::Piece;
use crate::table::heat::Served;

/// Partitions with fewer items are cut in the middle of their hashes: where half of so few bytes are says little.
const ITEMS_MIN: u64 = 100;

/// The hashes that a partition's range begins and ends with.
fn hashes(piece: &Piece) -> (u64, u128) {
    let first = |key: &KeyBytes| {
        let bytes = key.0.iter().copied().chain(std::iter::repeat(0)).take(8);
        bytes.fold(0_u64, |hash, byte| hash << 8 | u64::from(byte))
    };
    let end = piece.descriptor.end.as_ref();
    (
        first(&piece.descriptor.start),
        end.map_or(1 << 64, |end| u128::from(first(end))),
    )
}

/// The width of a partition's range, in hashes.
pub fn span(piece: &Piece) -> u64 {
    let (start, end) = hashes(piece);
    u64::try_from(end.saturating_sub(u128::from(start))).unwrap_or(u64::MAX)
}

/// How a partition is to be cut for this reason: at the middle of its load, if a node says where that is; else at the middle of its
/// bytes, or of its hashes if it holds next to nothing.
pub fn split(piece: &Piece, state: &GroupState, by: Cut, why: &Why, served: Option<&Served>) -> Option<Split> {
    let descriptor = &state.descriptor;
    let within = |key: &&KeyBytes| **key > descriptor.start && descriptor.end.as_ref().is_none_or(|end| *key < end);
    let of_load = served.and_then(|served| served.middle.as_ref()).filter(within);
    let at = match of_load.filter(|_| by == Cut::Load) {
        Some(key) => SplitPlace::Key(key.clone()),
        None if matches!(why, Why::Size { .. }) || state.sizes.items >= ITEMS_MIN => SplitPlace::Middle,
        None => {
            let (start, end) = hashes(piece);
            let middle = u64::try_from((u128::from(start) + end) / 2)
                .ok()
                .filter(|middle| *middle > start)?;
            SplitPlace::Key(KeyBytes(middle.to_be_bytes().to_vec()))
        }
    };
    Some(Split {
        expected_epoch: Some(descriptor.range_epoch),
        at,
        child: nodes::child_of(descriptor.group, descriptor.range_epoch),
    })
}
