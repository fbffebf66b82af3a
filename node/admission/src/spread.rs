//! Where in its range a partition's load is, from samples in bounded memory: the place that halves it, and how much of it is at
//! one place.
//!
//! Of each minute a few requests are kept, each as likely as any other (Vitter, "Random Sampling with a Reservoir", algorithm R),
//! with its place in the key space and its cost. What shares a place cannot be cut apart: an item, or an item collection that has to stay
//! in one piece. Between collections a cut is at a hash, as short as such bounds are; within one it is at a key.

use std::collections::BTreeMap;

use partita_model::capacity::HalfUnits;
use partita_model::key::HASH_BYTES;

use crate::recent::Recent;

/// Requests that are kept of each window: half of the load is found within a few hundredths of it.
const KEPT_MAX: usize = 512;
/// Fewer say nothing about a partition. Where items are large, a few requests in each second make it hot, and only some of them are
/// looked at: a single key among them is told from many by this few.
const KEPT_MIN: usize = 8;

/// Bytes of a place that are kept: hashes, and keys of usual lengths. Longer keys that begin alike are one place, so that a partition's
/// samples are never more than half a megabyte.
const PLACE_BYTES_MAX: usize = 256;

/// Where the load of the last minute or two was.
#[derive(Debug, Clone, Default)]
pub struct Spread {
    recent: Recent<Window>,
}

/// A range's load in two halves.
#[derive(Debug, Clone, PartialEq)]
pub struct Halves {
    /// The share of the busiest place.
    pub busiest: f64,
    /// Where the upper half begins. `None`: all of the load is at one place, or there is nothing to divide.
    pub middle: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Default)]
struct Window {
    /// Places, and what they cost in half units.
    kept: Vec<(Box<[u8]>, u64)>,
    /// Requests, kept or not.
    seen: u64,
}

impl Spread {
    /// A request at a place in the key space has used something.
    pub fn note(&mut self, place: &[u8], used: HalfUnits, now_ms: u64) {
        let place = place.get(..PLACE_BYTES_MAX).unwrap_or(place);
        self.recent.at(now_ms).now.note(place, used.0);
    }

    /// The load from `start` on and before `end`, in two halves; `None` while too little is known of it.
    pub fn halves(&mut self, start: &[u8], end: Option<&[u8]>, now_ms: u64) -> Option<Halves> {
        let recent = self.recent.at(now_ms);
        let mut load: BTreeMap<&[u8], f64> = BTreeMap::new();
        let mut kept = 0;
        for window in [&recent.before, &recent.now] {
            // Each of those that were kept stands for as many.
            let weight = window.seen as f64 / window.kept.len().max(1) as f64;
            let within = |place: &[u8]| place >= start && end.is_none_or(|end| place < end);
            for (place, used) in window.kept.iter().filter(|(place, _)| within(place)) {
                *load.entry(place).or_default() += *used as f64 * weight;
                kept += 1;
            }
        }
        let all: f64 = load.values().sum();
        if kept < KEPT_MIN || all <= 0.0 {
            return None;
        }
        let busiest = load.values().copied().fold(0.0, f64::max) / all;
        // The first place of the range is no cut: that would leave nothing in front of it.
        let (mut below, mut before) = (0.0, None);
        let mut middle: Option<(f64, &[u8])> = None;
        for (place, used) in &load {
            let off = (below / all - 0.5).abs();
            if let Some(before) = before
                && middle.is_none_or(|(least, _)| off < least)
            {
                middle = Some((off, cut(before, place)));
            }
            (below, before) = (below + used, Some(*place));
        }
        Some(Halves {
            busiest,
            middle: middle.map(|(_, cut)| cut.to_vec()),
        })
    }
}

/// Where to cut between two places: at the second one's hash, unless they share it.
fn cut<'p>(before: &[u8], place: &'p [u8]) -> &'p [u8] {
    match (before.get(..HASH_BYTES), place.get(..HASH_BYTES)) {
        (Some(before), Some(hash)) if before != hash => hash,
        _ => place,
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
    fn note(&mut self, place: &[u8], used: u64) {
        self.seen += 1;
        if self.kept.len() < KEPT_MAX {
            self.kept.push((place.into(), used));
        } else if let Ok(number) = usize::try_from(scatter(self.seen) % self.seen)
            && let Some(kept) = self.kept.get_mut(number)
        {
            *kept = (place.into(), used);
        }
    }
}
