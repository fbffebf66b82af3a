//! The keys of a table's partitions, as their resources tell. Splits and merges are written one resource after the other: an
//! operator that was killed in between, and a router that looks in between, find them as they will be.
//!
//! 1. A child is written before its parent, and a child's child before both: the one in front ends where the child begins.
//! 2. An absorber is written before what it has absorbed goes: that holds no keys any more.
//!
//! Whether every key then has exactly one partition is for [`cover`](partita_model::table::record::cover) to say.

use std::collections::BTreeSet;

use kube::ResourceExt;
use partita_model::hexadecimal::parse_id;
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;
use partita_model::schema::IndexId;
use partita_model::table::record::Piece;

use crate::Partition;

/// A Partition's keys.
struct Range<'a> {
    name: String,
    parent: Option<&'a String>,
    merging_into: Option<&'a String>,
    piece: Piece,
}

/// The keys of the Partitions of a table, or of one of its indexes, among all that the table has.
pub fn of<'a>(known: impl IntoIterator<Item = &'a Partition>, index: Option<IndexId>) -> Vec<Piece> {
    let number = index.map(|index| i32::from(index.0));
    let of_index = known.into_iter().filter(|partition| partition.spec.index_id == number);
    let mut ranges: Vec<Range<'_>> = of_index.filter_map(range).collect();
    ranges.sort_by(|one, other| one.piece.start.cmp(&other.piece.start));
    let absorbed: Vec<bool> = ranges.iter().map(|range| is_absorbed(range, &ranges)).collect();
    let mut gone = absorbed.into_iter();
    ranges.retain(|_| !gone.next().unwrap_or(false));
    let names: BTreeSet<String> = ranges.iter().map(|range| range.name.clone()).collect();
    for next in 1..ranges.len() {
        let (before, from) = ranges.split_at_mut(next);
        let (Some(parent), Some(child)) = (before.last_mut(), from.first()) else {
            continue;
        };
        let start = &child.piece.start;
        let reaches_in = parent.piece.end.as_ref().is_none_or(|end| end > start);
        // A parent without a resource is itself a child that is still to be written.
        let is_child = child
            .parent
            .is_some_and(|name| *name == parent.name || !names.contains(name));
        if reaches_in && parent.piece.start < *start && is_child {
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
    use crate::PartitionSpec;
    use partita_model::table::record::cover;
    use serde_json::json;

    /// Name, first key, end, parent, absorber.
    type Written<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

    fn partition((name, start, end, parent, into): &Written<'_>) -> Partition {
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
        Partition::new(name, spec)
    }

    /// Names and first keys, if every key has exactly one partition.
    fn covered(all: &[Written<'_>]) -> Option<String> {
        let known: Vec<Partition> = all.iter().map(partition).collect();
        let covered = cover(of(&known, None)).ok()?;
        let each = covered.iter().map(|one| {
            let name = char::from(u8::try_from(one.group.0).unwrap());
            format!("{name}{}", hex::encode(&one.start.0))
        });
        Some(each.collect::<Vec<_>>().join(" "))
    }

    /// Every state on the way from `before` to what is there when all of `writes` (`None`: it goes) were made, in their order.
    fn on_the_way<'a>(before: &[Written<'a>], writes: &[(&'a str, Option<Written<'a>>)]) -> Vec<Option<String>> {
        let mut there = before.to_vec();
        let mut seen = Vec::new();
        for (name, write) in writes {
            there.retain(|one| one.0 != *name);
            there.extend(write);
            seen.push(covered(&there));
        }
        seen
    }

    #[test]
    fn a_child_cuts_its_parent_and_nobody_else() {
        let whole = ("a", "", "", "", "");
        let cut = Some("a b80".to_owned());
        let split = [
            ("b", Some(("b", "80", "", "a", ""))),
            ("a", Some(("a", "", "80", "", ""))),
        ];
        assert_eq!(on_the_way(&[whole], &split), [cut.clone(), cut]);
        assert_eq!(covered(&[whole, ("b", "80", "", "", "")]), None);
        let inside = [whole, ("c", "40", "80", "a", "")];
        assert_eq!(covered(&inside), None, "nobody has what is behind it");
    }

    #[test]
    fn of_several_splits_what_is_not_written_yet_is_in_front() {
        // The last keys come first.
        let writes = [
            ("d", Some(("d", "c0", "", "b", ""))),
            ("b", Some(("b", "80", "c0", "a", ""))),
            ("c", Some(("c", "40", "80", "a", ""))),
            ("a", Some(("a", "", "40", "", ""))),
        ];
        let seen = on_the_way(&[("a", "", "", "", "")], &writes);
        let expected = ["a dc0", "a b80 dc0", "a c40 b80 dc0", "a c40 b80 dc0"];
        assert_eq!(seen, expected.map(|each| Some(each.to_owned())));
    }

    #[test]
    fn what_is_absorbed_holds_no_keys() {
        let before = [("a", "", "80", "", ""), ("b", "80", "", "a", "")];
        let writes = [
            ("b", Some(("b", "80", "", "a", "a"))),
            ("a", Some(("a", "", "", "", ""))),
            ("b", None),
        ];
        let expected = ["a b80", "a", "a"];
        assert_eq!(on_the_way(&before, &writes), expected.map(|each| Some(each.to_owned())));
        // An intent alone moves no key.
        let intended = [("a", "", "80", "", ""), ("b", "80", "", "", "c")];
        assert_eq!(covered(&intended), Some("a b80".to_owned()));
    }
}
