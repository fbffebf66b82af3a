//! Ranges that change while a process runs: splits, as nodes tell of them.
//!
//! 1. Whoever has a key range counts its changes: the range epoch. Of two who say that they have a key, the one of the later
//!    epoch is right; what a directory lists has no epoch, and counts less than what any node says.
//! 2. [`Ranges::learn`] takes over a node's word for those keys of which nothing later is known: nodes that are behind cannot
//!    undo what others have said, in whatever order they are heard.
//! 3. [`Directory::list`] takes over a listing and keeps what was learned: a listing may be older than that. Once it has caught
//!    up it says the same.

use std::sync::Arc;

use partita_model::key::KeyBytes;
use partita_model::partition::{GroupId, PartitionDescriptor};
use partita_model::schema::{IndexId, TableId};

use super::{Directory, Ranges, TableRoute};

/// A way to a partition that says since when it has its range.
pub trait Dated: Clone {
    /// The partition's group.
    fn group(&self) -> GroupId;
    /// The range epoch, as a node said it; 0 for what a directory lists.
    fn range_epoch(&self) -> u64;
    /// The same way, with this epoch.
    fn at_epoch(self, range_epoch: u64) -> Self;
}

impl<L: Dated> Ranges<L> {
    /// With this leader for those keys from `start` to `end` of which only earlier epochs were known; `None` if there are none.
    pub fn learn(&self, start: &KeyBytes, end: Option<&KeyBytes>, leader: &L) -> Option<Self> {
        let mut partitions = Vec::with_capacity(self.partitions.len() + 2);
        let mut learned = false;
        for (place, (first, known)) in self.partitions.iter().enumerate() {
            let (_, behind) = self.bounds(place);
            let apart = end.is_some_and(|end| end <= first) || behind.is_some_and(|behind| behind <= start);
            if apart || known.range_epoch() >= leader.range_epoch() {
                push(&mut partitions, first, known);
                continue;
            }
            learned = true;
            if first < start {
                push(&mut partitions, first, known);
            }
            push(&mut partitions, first.max(start), leader);
            if let Some(end) = end.filter(|end| behind.is_none_or(|behind| *end < behind)) {
                push(&mut partitions, end, known);
            }
        }
        learned.then_some(Self { partitions })
    }

    /// Where these partitions are, but for what another map has learned from nodes.
    fn with_learned_of(mut self, other: &Self) -> Self {
        for (place, (start, known)) in other.partitions.iter().enumerate() {
            let listed = self.leaders().find(|listed| listed.group() == known.group());
            // The listing may know better where its replicas are.
            let leader = listed.unwrap_or(known).clone().at_epoch(known.range_epoch());
            let (_, end) = other.bounds(place);
            self = self.learn(start, end, &leader).unwrap_or(self);
        }
        self
    }

    /// The first keys, and whose they are: what a correction changes.
    fn outline(&self) -> Vec<(&KeyBytes, GroupId)> {
        let pieces = self.partitions.iter();
        pieces.map(|(start, leader)| (start, leader.group())).collect()
    }
}

/// Adds a piece; one that goes on with what the last piece is makes that longer.
fn push<L: Dated>(partitions: &mut Vec<(KeyBytes, L)>, start: &KeyBytes, leader: &L) {
    let same = |last: &L| (last.group(), last.range_epoch()) == (leader.group(), leader.range_epoch());
    if !partitions.last().is_some_and(|(_, last)| same(last)) {
        partitions.push((start.clone(), leader.clone()));
    }
}

impl<L: Dated> TableRoute<L> {
    fn with_learned_of(self, other: &Self) -> Self {
        let indexes = self.indexes.into_iter().map(|(id, ranges)| match other.index(id) {
            Some(known) => (id, ranges.with_learned_of(known)),
            None => (id, ranges),
        });
        Self {
            indexes: indexes.collect(),
            table: self.table.with_learned_of(&other.table),
        }
    }

    /// The partitions of the table, or of an index of it.
    pub fn ranges(&self, index: Option<IndexId>) -> Option<&Ranges<L>> {
        match index {
            None => Some(&self.table),
            Some(index) => self.index(index),
        }
    }
}

impl<L: Dated> Directory<L> {
    /// Takes over where a listing says that a table is, but for what nodes have said.
    pub fn list(&self, table: TableId, route: TableRoute<L>) {
        let mut tables = self.tables.write();
        let route = match tables.get(&table) {
            Some(known) => route.with_learned_of(known),
            None => route,
        };
        tables.insert(table, Arc::new(route));
        drop(tables);
        self.note_change();
    }

    /// Takes over what a node says of a partition of a table (or of an index of it) that it has; whether that is news.
    pub fn learn(&self, table: TableId, index: Option<IndexId>, descriptor: &PartitionDescriptor, leader: &L) -> bool {
        let mut tables = self.tables.write();
        let Some(known) = tables.get(&table) else { return false };
        let Some(ranges) = known.ranges(index) else {
            return false;
        };
        let Some(learned) = ranges.learn(&descriptor.start, descriptor.end.as_ref(), leader) else {
            return false;
        };
        let is_news = learned.outline() != ranges.outline();
        let mut route = TableRoute::clone(known);
        match index {
            None => route.table = learned,
            Some(index) => route.indexes.iter_mut().for_each(|(id, known)| {
                if *id == index {
                    *known = learned.clone();
                }
            }),
        }
        tables.insert(table, Arc::new(route));
        drop(tables);
        if is_news {
            self.note_change();
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A group's name, and its range epoch.
    #[derive(Debug, Clone, Copy, PartialEq)]
    struct At(char, u64);

    impl Dated for At {
        fn group(&self) -> GroupId {
            GroupId(self.0 as u64)
        }

        fn range_epoch(&self) -> u64 {
            self.1
        }

        fn at_epoch(self, range_epoch: u64) -> Self {
            Self(self.0, range_epoch)
        }
    }

    fn key(first: u8) -> KeyBytes {
        KeyBytes(if first == 0 { Vec::new() } else { vec![first] })
    }

    fn listed(starts: &[(u8, char)]) -> Ranges<At> {
        let partitions = starts.iter().map(|(first, group)| (key(*first), At(*group, 0)));
        Ranges::new(partitions.collect()).unwrap()
    }

    /// Who has the keys 0 to 9.
    fn owners(ranges: &Ranges<At>) -> String {
        (0..=9).map(|at| ranges.leader(&key(at)).0).collect()
    }

    fn told(ranges: Ranges<At>, words: &[(u8, Option<u8>, At)]) -> Ranges<At> {
        words.iter().fold(ranges, |ranges, (start, end, leader)| {
            ranges
                .learn(&key(*start), end.map(key).as_ref(), leader)
                .unwrap_or(ranges)
        })
    }

    #[test]
    fn a_part_of_a_range_is_learned() {
        let learned = |start, end| {
            let ranges = told(listed(&[(0, 'a'), (4, 'b'), (8, 'c')]), &[(start, end, At('x', 1))]);
            (owners(&ranges), ranges.leaders().count())
        };
        assert_eq!(learned(4, Some(8)), ("aaaaxxxxcc".into(), 3));
        assert_eq!(learned(0, Some(4)), ("xxxxbbbbcc".into(), 3));
        assert_eq!(learned(8, None), ("aaaabbbbxx".into(), 3));
        assert_eq!(learned(2, Some(6)), ("aaxxxxbbcc".into(), 4));
        assert_eq!(learned(0, None), ("xxxxxxxxxx".into(), 1));
        assert_eq!(learned(5, None), ("aaaabxxxxx".into(), 3));
    }

    #[test]
    fn the_later_epoch_of_each_key_counts_in_whatever_order() {
        // a splits at 4, its child b at 7; some nodes are behind.
        let words = [
            (0, None, At('a', 1)),
            (0, Some(4), At('a', 2)),
            (4, None, At('b', 2)),
            (4, Some(7), At('b', 3)),
            (7, None, At('c', 3)),
        ];
        let mut orders = vec![Vec::new()];
        for _ in words {
            orders = orders
                .into_iter()
                .flat_map(|order: Vec<usize>| {
                    let rest = (0..words.len())
                        .filter(|next| !order.contains(next))
                        .collect::<Vec<_>>();
                    rest.into_iter().map(move |next| [order.clone(), vec![next]].concat())
                })
                .collect();
        }
        assert_eq!(orders.len(), 120);
        for order in orders {
            let words: Vec<_> = order.iter().map(|place| words[*place]).collect();
            assert_eq!(owners(&told(listed(&[(0, 'a')]), &words)), "aaaabbbccc", "{order:?}");
        }
    }

    #[test]
    fn whoever_grows_has_one_range() {
        let halves = told(listed(&[(0, 'a')]), &[(0, Some(4), At('a', 2)), (4, None, At('b', 2))]);
        let whole = told(halves, &[(0, None, At('a', 3))]);
        assert_eq!((owners(&whole).as_str(), whole.leaders().count()), ("aaaaaaaaaa", 1));
    }

    #[test]
    fn an_older_listing_undoes_nothing_and_a_newer_one_says_the_same() {
        let table = TableId(7);
        let route = |starts| TableRoute {
            table: listed(starts),
            indexes: vec![(IndexId(1), listed(starts))],
        };
        let directory = Directory::new();
        directory.list(table, route(&[(0, 'a')]));
        let mut child = PartitionDescriptor::whole_table(GroupId('b' as u64), Arc::new(schema(table)));
        (child.start, child.range_epoch) = (key(4), 2);
        for index in [None, Some(IndexId(1))] {
            assert!(directory.learn(table, index, &child, &At('b', 2)));
            assert!(!directory.learn(table, index, &child, &At('b', 2)));
        }
        for starts in [&[(0, 'a')][..], &[(0, 'a'), (4, 'b')]] {
            directory.list(table, route(starts));
            let route = directory.route(table).unwrap();
            for ranges in [Some(&route.table), route.index(IndexId(1))] {
                assert_eq!(owners(ranges.unwrap()), "aaaabbbbbb");
            }
        }
    }

    fn schema(id: TableId) -> partita_model::schema::TableSchema {
        let mut record = crate::directory::samples::entry("orders", 1, "a:1").record;
        record.id = id;
        record.schema()
    }
}
