//! Half of a load is found, and a single key is told from many.
#![allow(clippy::unwrap_used)]

use partita_admission::spread::{Halves, Spread, scatter};
use partita_model::capacity::HalfUnits;
use proptest::prelude::*;

const MINUTE_MS: u64 = 60_000;

/// A range from `start` on: where half of a load of hashes is.
fn halves(spread: &mut Spread, start: u64, end: Option<u64>, now_ms: u64) -> Option<(f64, Option<u64>)> {
    let end = end.map(u64::to_be_bytes);
    let end = end.as_ref().map(|end| &end[..]);
    let Halves { busiest, middle } = spread.halves(&start.to_be_bytes(), end, now_ms)?;
    let middle = middle.map(|middle| u64::from_be_bytes(middle.try_into().unwrap()));
    Some((busiest, middle))
}

/// The share of this load that is in front of the cut.
fn below(load: &[(u64, u64)], cut: u64) -> f64 {
    let sum = |wanted: &dyn Fn(u64) -> bool| -> u64 {
        let chosen = load.iter().filter(|(hash, _)| wanted(*hash));
        chosen.map(|(_, used)| used).sum()
    };
    sum(&|hash| hash < cut) as f64 / sum(&|_| true) as f64
}

/// The load, spread over a minute.
fn spread(load: &[(u64, u64)]) -> Spread {
    let mut spread = Spread::default();
    for (place, (hash, used)) in load.iter().enumerate() {
        let at_ms = place as u64 * MINUTE_MS / load.len() as u64;
        spread.note(&hash.to_be_bytes(), HalfUnits(*used), at_ms);
    }
    spread
}

#[test]
fn an_even_load_is_cut_in_the_middle_and_a_skewed_one_where_it_is() {
    let even: Vec<(u64, u64)> = (0..50_000).map(|n| (scatter(n), 2)).collect();
    let (busiest, middle) = halves(&mut spread(&even), 0, None, MINUTE_MS - 1).unwrap();
    assert!(busiest < 0.01);
    assert!((below(&even, middle.unwrap()) - 0.5).abs() < 0.1);
    // Nine of ten units are used by a few keys in the first sixteenth of the range.
    let few: Vec<u64> = (0..20).map(|n| scatter(n) >> 4).collect();
    let skewed = (0..50_000).map(|n| match n % 10 {
        0 => (scatter(n), 2),
        _ => (few[(scatter(n) % 20) as usize], 2),
    });
    let skewed: Vec<(u64, u64)> = skewed.collect();
    let (busiest, middle) = halves(&mut spread(&skewed), 0, None, MINUTE_MS - 1).unwrap();
    assert!(middle.unwrap() < u64::MAX >> 4 && busiest < 0.1);
    assert!((below(&skewed, middle.unwrap()) - 0.5).abs() < 0.15);
}

#[test]
fn one_key_that_has_most_of_it_is_seen() {
    let hot = scatter(7);
    let load: Vec<(u64, u64)> = (0..10_000)
        .map(|n| if n % 10 < 9 { (hot, 2) } else { (scatter(n), 2) })
        .collect();
    let (busiest, _) = halves(&mut spread(&load), 0, None, MINUTE_MS - 1).unwrap();
    assert!((busiest - 0.9).abs() < 0.05, "{busiest}");
    // Alone, it leaves no place for a cut.
    let alone = vec![(hot, 2); 1000];
    let only = Some((1.0, None));
    assert_eq!(halves(&mut spread(&alone), 0, None, MINUTE_MS - 1), only);
}

#[test]
fn costs_count_and_not_requests() {
    // Every second request is for the first key, at a thirtieth of the price.
    let load: Vec<(u64, u64)> = (0..2000).map(|n| if n % 2 == 0 { (1, 1) } else { (n, 30) }).collect();
    let (busiest, _) = halves(&mut spread(&load), 0, None, MINUTE_MS - 1).unwrap();
    assert!(busiest < 0.1, "{busiest}");
}

#[test]
fn a_hot_collection_is_cut_between_its_sort_keys_and_a_hot_item_is_told_from_it() {
    // Nine of ten requests are for one collection; within it, the load is even.
    let key = |hash: u64, sort: u64| {
        let mut key = hash.to_be_bytes().to_vec();
        key.extend_from_slice(b"pk");
        key.extend_from_slice(&sort.to_be_bytes());
        key
    };
    let hot = scatter(7);
    let mut spread = Spread::default();
    for n in 0..10_000 {
        let place = if n % 10 < 9 {
            key(hot, scatter(n) % 1000)
        } else {
            key(scatter(n), 0)
        };
        spread.note(&place, HalfUnits(2), n);
    }
    let found = spread.halves(&[], None, 10_000).unwrap();
    assert!(found.busiest < 0.1, "{found:?}");
    let middle = found.middle.unwrap();
    assert!(middle > key(hot, 200) && middle < key(hot, 800), "{middle:?}");
    // A half of it, which begins within the collection, is cut within it once more.
    let upper = spread.halves(&middle, None, 10_000).unwrap().middle.unwrap();
    assert!(upper > middle, "{upper:?}");
    // One item of the collection has most of the load.
    let mut spread = Spread::default();
    for n in 0..10_000 {
        let sort = if n % 10 < 7 { 500 } else { scatter(n) % 1000 };
        spread.note(&key(hot, sort), HalfUnits(2), n);
    }
    let found = spread.halves(&[], None, 10_000).unwrap();
    assert!((found.busiest - 0.7).abs() < 0.1, "{found:?}");
}

#[test]
fn between_collections_a_cut_is_at_a_hash_and_of_long_keys_the_beginning_counts() {
    let mut spread = Spread::default();
    for n in 0..100_u64 {
        let mut place = (n % 2 + 1).to_be_bytes().to_vec();
        place.resize(3000, b'a');
        place.extend_from_slice(&n.to_be_bytes());
        spread.note(&place, HalfUnits(2), n);
    }
    let found = Halves {
        busiest: 0.5,
        middle: Some(2_u64.to_be_bytes().to_vec()),
    };
    assert_eq!(spread.halves(&[], None, 100), Some(found));
}

#[test]
fn little_is_not_enough_and_what_is_over_or_elsewhere_does_not_count() {
    let mut spread = spread(&(0..7).map(|n| (n * 1000, 2)).collect::<Vec<_>>());
    assert_eq!(halves(&mut spread, 0, None, MINUTE_MS - 1), None);
    for n in 0..100 {
        spread.note(&(1_000_000_u64 + n).to_be_bytes(), HalfUnits(2), MINUTE_MS);
    }
    assert!(halves(&mut spread, 0, None, MINUTE_MS).is_some());
    assert_eq!(
        halves(&mut spread, 0, Some(1_000_000), MINUTE_MS),
        None,
        "7 of the minute before"
    );
    let (_, middle) = halves(&mut spread, 1_000_000, Some(2_000_000), MINUTE_MS).unwrap();
    assert_eq!(middle, Some(1_000_050));
    assert_eq!(halves(&mut spread, 0, None, 3 * MINUTE_MS), None);
}

proptest! {
    /// Whatever the load: a cut is within the range, with some of the load on either side; and if no key has half of all, neither
    /// side has more than three quarters.
    #[test]
    fn a_cut_is_never_in_vain(
        hashes in prop::collection::vec((0_u64..50, 1_u64..9), 8..500),
        start in 0_u64..50,
        width in 1_u64..50,
    ) {
        let (end, within) = (start + width, |hash: u64| hash >= start && hash < start + width);
        let own: Vec<(u64, u64)> = hashes.iter().copied().filter(|(hash, _)| within(*hash)).collect();
        let found = halves(&mut spread(&hashes), start, Some(end), MINUTE_MS - 1);
        prop_assert_eq!(found.is_some(), own.len() >= 8);
        if let Some((busiest, Some(middle))) = found {
            prop_assert!(middle > start && middle < end);
            let below = below(&own, middle);
            prop_assert!(below > 0.0 && below < 1.0);
            if busiest < 0.5 {
                prop_assert!((0.25..=0.75).contains(&below), "{} {}", below, busiest);
            }
        }
    }
}
