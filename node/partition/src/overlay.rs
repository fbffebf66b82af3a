//! The writes still in flight: rows as later evaluations have to see them, until they are applied.
//!
//! A hot row has several versions at once. They are dropped from the front when applied and from the back when a
//! proposal is refused.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use smallvec::SmallVec;

use crate::effect::Touched;
use crate::evaluator::Sequence;
use crate::storage::Family;

/// A row at one place in the order; `None`: it is gone.
#[derive(Debug, Clone)]
struct Version {
    sequence: Sequence,
    value: Option<Bytes>,
}

/// Rows in flight. Values are slices of their effects: nothing is copied.
#[derive(Debug, Default)]
pub struct Overlay {
    rows: [HashMap<Bytes, SmallVec<[Version; 1]>>; Family::ALL.len()],
    order: VecDeque<(Sequence, Family, Bytes)>,
}

impl Overlay {
    /// The row as the latest effect in flight leaves it: `None` when no effect touches it.
    pub fn get(&self, family: Family, key: &[u8]) -> Option<Option<Bytes>> {
        let rows = &self.rows[family as usize];
        if rows.is_empty() {
            return None;
        }
        rows.get(key).and_then(|v| v.last()).map(|v| v.value.clone())
    }

    /// Takes up the rows of an effect.
    pub fn insert(&mut self, sequence: Sequence, effect: &Bytes, touched: Vec<Touched>) {
        for row in touched {
            let key = effect.slice(row.key);
            let value = row.value.map(|range| effect.slice(range));
            self.order.push_back((sequence, row.family, key.clone()));
            self.rows[row.family as usize]
                .entry(key)
                .or_default()
                .push(Version { sequence, value });
        }
    }

    /// Forgets versions up to this one.
    pub fn applied(&mut self, through: Sequence) {
        while let Some((sequence, ..)) = self.order.front()
            && *sequence <= through
        {
            if let Some((_, family, key)) = self.order.pop_front() {
                self.retain(family, &key, |version| version.sequence > through);
            }
        }
    }

    /// Forgets versions from this one on.
    pub fn discard_from(&mut self, from: Sequence) {
        while let Some((sequence, ..)) = self.order.back()
            && *sequence >= from
        {
            if let Some((_, family, key)) = self.order.pop_back() {
                self.retain(family, &key, |version| version.sequence < from);
            }
        }
    }

    fn retain(&mut self, family: Family, key: &Bytes, keep: impl Fn(&Version) -> bool) {
        let rows = &mut self.rows[family as usize];
        if let Some(versions) = rows.get_mut(key) {
            versions.retain(|version| keep(version));
            if versions.is_empty() {
                rows.remove(key);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.order.clear();
        self.rows.iter_mut().for_each(HashMap::clear);
    }

    /// Whether nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(overlay: &mut Overlay, sequence: Sequence, key: &'static str, value: Option<&'static str>) {
        let effect = Bytes::from([key, value.unwrap_or("")].concat());
        let end = effect.len();
        let touched = Touched {
            family: Family::Items,
            key: 0..key.len(),
            value: value.map(|_| key.len()..end),
        };
        overlay.insert(sequence, &effect, vec![touched]);
    }

    fn get(overlay: &Overlay, key: &str) -> Option<Option<Bytes>> {
        overlay.get(Family::Items, key.as_bytes())
    }

    #[test]
    fn versions_go_from_the_front_when_applied_and_from_the_back_when_discarded() {
        let mut overlay = Overlay::default();
        write(&mut overlay, 1, "a", Some("1"));
        write(&mut overlay, 2, "a", Some("2"));
        write(&mut overlay, 3, "b", Some("3"));
        write(&mut overlay, 4, "a", None);
        assert_eq!(get(&overlay, "a"), Some(None));
        overlay.discard_from(4);
        assert_eq!(get(&overlay, "a"), Some(Some(Bytes::from("2"))));
        overlay.applied(1);
        assert_eq!(get(&overlay, "a"), Some(Some(Bytes::from("2"))));
        overlay.applied(2);
        assert_eq!(get(&overlay, "a"), None);
        assert_eq!(get(&overlay, "b"), Some(Some(Bytes::from("3"))));
        overlay.applied(3);
        assert!(overlay.is_empty());
        assert_eq!(get(&overlay, "b"), None);
    }
}
