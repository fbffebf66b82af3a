//! The few keys that use the most, found in bounded memory.
//!
//! Source: Metwally et al., "Efficient Computation of Frequent and Top-k Elements in Data Streams" (Space-Saving): a key that
//! is not counted takes the place of the least one, and its count. Nobody who used more than a 64th of all is missing.

use partita_model::capacity::HalfUnits;

use crate::recent::{Recent, WINDOW_MS};

/// Keys that are counted at once.
const COUNTED_MAX: usize = 64;

/// What the keys of a partition have used in the last minute or two.
#[derive(Debug, Clone, Default)]
pub struct HotKeys {
    recent: Recent<Window>,
}

/// A key, and what it used in each second, on the average.
#[derive(Debug, Clone, PartialEq)]
pub struct HotKey {
    /// The key.
    pub key: Vec<u8>,
    /// Units per second.
    pub units_per_second: f64,
    /// Its share of what all keys used.
    pub share: f64,
}

#[derive(Debug, Clone, Default)]
struct Window {
    counted: Vec<(Vec<u8>, u64)>,
    all: u64,
}

impl HotKeys {
    /// A key has used something.
    pub fn note(&mut self, key: &[u8], used: HalfUnits, now_ms: u64) {
        self.recent.at(now_ms).now.note(key, used.0);
    }

    /// The keys that use the most, the first one first.
    pub fn top(&mut self, most: usize, now_ms: u64) -> Vec<HotKey> {
        let recent = self.recent.at(now_ms);
        let all = recent.now.all + recent.before.all;
        let before = if recent.before.all > 0 { WINDOW_MS } else { 0 };
        // A window that has just begun says little about a second.
        let ms = (now_ms - recent.began_ms + before).max(1000);
        let mut sums = recent.before.counted.clone();
        for (key, used) in &recent.now.counted {
            match sums.iter_mut().find(|(known, _)| known == key) {
                Some((_, sum)) => *sum += used,
                None => sums.push((key.clone(), *used)),
            }
        }
        sums.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        sums.truncate(most);
        let keys = sums.into_iter().map(|(key, used)| HotKey {
            key,
            units_per_second: HalfUnits(used).units() * 1000.0 / ms as f64,
            share: used as f64 / all.max(1) as f64,
        });
        keys.collect()
    }
}

impl Window {
    fn note(&mut self, key: &[u8], used: u64) {
        self.all += used;
        if let Some((_, count)) = self.counted.iter_mut().find(|(known, _)| known == key) {
            *count += used;
        } else if self.counted.len() < COUNTED_MAX {
            self.counted.push((key.to_vec(), used));
        } else if let Some(least) = self.counted.iter_mut().min_by_key(|(_, count)| *count) {
            least.0 = key.to_vec();
            least.1 += used;
        }
    }
}
