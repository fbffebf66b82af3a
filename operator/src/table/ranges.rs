//! The keys of a table's partitions, as their resources tell. Splits and merges are written one resource after the other: an
//! operator that was killed in between finds them as they will be.
//!
//! 1. A child is written before its parent: the parent ends where the child begins.
//! 2. An absorber is written before what it has absorbed goes: that holds no keys any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use partita_crds::Partition;
use partita_model::hexadecimal::parse_id;
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;
use partita_model::schema::IndexId;
use partita_model::table::record::Piece;

/// A Partition's keys.
struct Range<'a> {
    name: String,
    parent: Option<&'a String>,
    merging_into: Option<&'a String>,
    piece: Piece,
}

/// The keys of the Partitions of the table or of one of its indexes.
pub fn of(known: &BTreeMap<String, Arc<Partition>>, index: Option<IndexId>) -> Vec<Piece> {
    let number = index.map(|index| i32::from(index.0));
    let of_index = known.values().filter(|partition| partition.spec.index_id == number);
    let mut ranges: Vec<Range<'_>> = of_index.filter_map(|partition| range(partition)).collect();
    ranges.sort_by(|one, other| one.piece.start.cmp(&other.piece.start));
    let absorbed: Vec<bool> = ranges.iter().map(|range| is_absorbed(range, &ranges)).collect();
    let mut gone = absorbed.into_iter();
    ranges.retain(|_| !gone.next().unwrap_or(false));
    for next in 1..ranges.len() {
        let (before, from) = ranges.split_at_mut(next);
        let (Some(parent), Some(child)) = (before.last_mut(), from.first()) else {
            continue;
        };
        let start = &child.piece.start;
        let reaches_in = parent.piece.end.as_ref().is_none_or(|end| end > start);
        if reaches_in && parent.piece.start < *start && child.parent == Some(&parent.name) {
            parent.piece.end = Some(start.clone());
        }
    }
    ranges.into_iter().map(|range| range.piece).collect()
}

fn range(partition: &Partition) -> Option<Range<'_>> {
    let key = |hexadecimal: &str| hex::decode(hexadecimal).ok().map(KeyBytes);
    let spec = &partition.spec;
    Some(Range {
        name: partition.name_any(),
        parent: spec.parent.as_ref(),
        merging_into: spec.merging_into.as_ref(),
        piece: Piece {
            group: GroupId(parse_id(&spec.group)?),
            start: key(spec.start.as_deref().unwrap_or_default())?,
            end: match &spec.end {
                Some(end) => Some(key(end)?),
                None => None,
            },
        },
    })
}

/// Whether the one that is to absorb it has its keys.
fn is_absorbed(range: &Range<'_>, all: &[Range<'_>]) -> bool {
    let absorber = all.iter().find(|other| Some(&other.name) == range.merging_into);
    absorber.is_some_and(|absorber| {
        let (own, end) = (&range.piece, absorber.piece.end.as_ref());
        let reaches = match (end, own.end.as_ref()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(own)) => end >= own,
        };
        absorber.piece.start <= own.start && reaches
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use partita_crds::PartitionSpec;
    use partita_model::table::record::cover;
    use serde_json::json;

    fn known(all: &[(&str, &str, &str, &str, &str)]) -> BTreeMap<String, Arc<Partition>> {
        let of = |(name, start, end, parent, into): &(&str, &str, &str, &str, &str)| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let spec: PartitionSpec = serde_json::from_value(json!({
                "table": "t", "tableName": "tab", "tableId": "0000000000000001",
                "group": format!("{:016x}", name.as_bytes()[0]), "host": "h", "replicas": 1,
            }))
            .unwrap();
            let spec = PartitionSpec {
                start: some(start),
                end: some(end),
                parent: some(parent),
                merging_into: some(into),
                ..spec
            };
            ((*name).to_owned(), Arc::new(Partition::new(name, spec)))
        };
        all.iter().map(of).collect()
    }

    fn starts(all: &[(&str, &str, &str, &str, &str)]) -> Option<Vec<String>> {
        let covered = cover(of(&known(all), None)).ok()?;
        Some(covered.iter().map(|one| hex::encode(&one.start.0)).collect())
    }

    #[test]
    fn a_child_cuts_its_parent_and_nobody_else() {
        let half = vec![String::new(), "80".to_owned()];
        assert_eq!(starts(&[("a", "", "", "", ""), ("b", "80", "", "a", "")]), Some(half));
        assert_eq!(starts(&[("a", "", "", "", ""), ("b", "80", "", "", "")]), None);
        let three = vec![String::new(), "40".to_owned(), "80".to_owned()];
        let twice = [
            ("a", "", "", "", ""),
            ("c", "40", "80", "a", ""),
            ("b", "80", "", "a", ""),
        ];
        assert_eq!(starts(&twice), Some(three.clone()));
        let grandchild = [
            ("a", "", "", "", ""),
            ("b", "40", "", "a", ""),
            ("c", "80", "", "b", ""),
        ];
        assert_eq!(starts(&grandchild), Some(three));
    }

    #[test]
    fn what_is_absorbed_holds_no_keys() {
        let before = [("a", "", "80", "", ""), ("b", "80", "", "a", "a")];
        assert_eq!(starts(&before), Some(vec![String::new(), "80".to_owned()]));
        let written = [("a", "", "", "", ""), ("b", "80", "", "a", "a")];
        assert_eq!(starts(&written), Some(vec![String::new()]));
    }
}
