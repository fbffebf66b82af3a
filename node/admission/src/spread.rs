//! Where in its range a partition's load is, from samples in bounded memory: the place that halves it, and how much of it is at
//! one place.
//!
//! Of each minute a few requests are kept, each as likely as any other (Vitter, "Random Sampling with a Reservoir", algorithm R),
//! with the hash of its partition key and its cost. Hashes are what partitions are cut at, and what shares a hash is one key.

use std::collections::BTreeMap;

use partita_model::capacity::HalfUnits;

use crate::recent::Recent;

/// Requests that are kept of each window: half of the load is found within a few hundredths of it.
const KEPT_MAX: usize = 512;
/// Fewer say nothing about a partition. Where items are large, a few requests in each second make it hot, and only some of them are
/// looked at: a single key among them is told from many by this few.
const KEPT_MIN: usize = 8;

/// Where the load of the last minute or two was.
#[derive(Debug, Clone, Default)]
pub struct Spread {
    recent: Recent<Window>,
}

/// A range's load in two halves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Halves {
    /// The share of the busiest partition key.
    pub busiest: f64,
    /// The first hash of the upper half. `None`: all of the load is at one hash, or there is nothing to divide.
    pub middle: Option<u64>,
}

#[derive(Debug, Clone, Default)]
struct Window {
    /// Hashes, and what they cost in half units.
    kept: Vec<(u64, u64)>,
    /// Requests, kept or not.
    seen: u64,
}

impl Spread {
    /// A request about a key of this hash has used something.
    pub fn note(&mut self, hash: u64, used: HalfUnits, now_ms: u64) {
        self.recent.at(now_ms).now.note(hash, used.0);
    }

    /// The load from `start` on and before `end`, in two halves; `None` while too little is known of it.
    pub fn halves(&mut self, start: u64, end: Option<u64>, now_ms: u64) -> Option<Halves> {
        let recent = self.recent.at(now_ms);
        let mut load: BTreeMap<u64, f64> = BTreeMap::new();
        let mut kept = 0;
        for window in [&recent.before, &recent.now] {
            // Each of those that were kept stands for as many.
            let weight = window.seen as f64 / window.kept.len().max(1) as f64;
            let within = |hash: u64| hash >= start && end.is_none_or(|end| hash < end);
            for (hash, used) in window.kept.iter().filter(|(hash, _)| within(*hash)) {
                *load.entry(*hash).or_default() += *used as f64 * weight;
                kept += 1;
            }
        }
        let all: f64 = load.values().sum();
        if kept < KEPT_MIN || all <= 0.0 {
            return None;
        }
        let busiest = load.values().copied().fold(0.0, f64::max) / all;
        let mut below = 0.0;
        let mut middle: Option<(f64, u64)> = None;
        for (hash, used) in &load {
            let off = (below / all - 0.5).abs();
            // A cut at the first hash of the range would leave nothing in front of it.
            if *hash > start && below > 0.0 && middle.is_none_or(|(least, _)| off < least) {
                middle = Some((off, *hash));
            }
            below += used;
        }
        Some(Halves {
            busiest,
            middle: middle.map(|(_, hash)| hash),
        })
    }
}

/// Bits that look like chance, and are the same for the same number. Source: Steele et al., "Fast Splittable Pseudorandom Number
/// Generators" (SplitMix64).
pub fn scatter(number: u64) -> u64 {
    let mut bits = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Window {
    fn note(&mut self, hash: u64, used: u64) {
        self.seen += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push((hash, used));
        } else if let Ok(place) = usize::try_from(scatter(self.seen) % self.seen)
            && let Some(kept) = self.kept.get_mut(place)
        {
            *kept = (hash, used);
        }
    }
}
