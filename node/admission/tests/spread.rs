//! Half of a load is found, and a single key is told from many.

use partita_admission::spread::{Halves, Spread, scatter};
use partita_model::capacity::HalfUnits;
use proptest::prelude::*;

const MINUTE_MS: u64 = 60_000;

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
        spread.note(*hash, HalfUnits(*used), at_ms);
    }
    spread
}

#[test]
fn an_even_load_is_cut_in_the_middle_and_a_skewed_one_where_it_is() {
    let even: Vec<(u64, u64)> = (0..50_000).map(|n| (scatter(n), 2)).collect();
    let found = spread(&even).halves(0, None, MINUTE_MS - 1).unwrap();
    assert!(found.busiest < 0.01);
    assert!((below(&even, found.middle.unwrap()) - 0.5).abs() < 0.1);
    // Nine of ten units are used by a few keys in the first sixteenth of the range.
    let few: Vec<u64> = (0..20).map(|n| scatter(n) >> 4).collect();
    let skewed = (0..50_000).map(|n| match n % 10 {
        0 => (scatter(n), 2),
        _ => (few[(scatter(n) % 20) as usize], 2),
    });
    let skewed: Vec<(u64, u64)> = skewed.collect();
    let found = spread(&skewed).halves(0, None, MINUTE_MS - 1).unwrap();
    assert!(found.middle.unwrap() < u64::MAX >> 4 && found.busiest < 0.1);
    assert!((below(&skewed, found.middle.unwrap()) - 0.5).abs() < 0.15);
}

#[test]
fn one_key_that_has_most_of_it_is_seen() {
    let hot = scatter(7);
    let load: Vec<(u64, u64)> = (0..10_000)
        .map(|n| if n % 10 < 9 { (hot, 2) } else { (scatter(n), 2) })
        .collect();
    let found = spread(&load).halves(0, None, MINUTE_MS - 1).unwrap();
    assert!((found.busiest - 0.9).abs() < 0.05, "{found:?}");
    // Alone, it leaves no place for a cut.
    let alone = vec![(hot, 2); 1000];
    let only = Halves {
        busiest: 1.0,
        middle: None,
    };
    assert_eq!(spread(&alone).halves(0, None, MINUTE_MS - 1), Some(only));
}

#[test]
fn costs_count_and_not_requests() {
    // Every second request is for the first key, at a thirtieth of the price.
    let load: Vec<(u64, u64)> = (0..2000).map(|n| if n % 2 == 0 { (1, 1) } else { (n, 30) }).collect();
    let found = spread(&load).halves(0, None, MINUTE_MS - 1).unwrap();
    assert!(found.busiest < 0.1, "{found:?}");
}

#[test]
fn little_is_not_enough_and_what_is_over_or_elsewhere_does_not_count() {
    let mut spread = spread(&(0..7).map(|n| (n * 1000, 2)).collect::<Vec<_>>());
    assert_eq!(spread.halves(0, None, MINUTE_MS - 1), None);
    for n in 0..100 {
        spread.note(1_000_000 + n, HalfUnits(2), MINUTE_MS);
    }
    assert!(spread.halves(0, None, MINUTE_MS).is_some());
    assert_eq!(
        spread.halves(0, Some(1_000_000), MINUTE_MS),
        None,
        "7 of the minute before"
    );
    let found = spread.halves(1_000_000, Some(2_000_000), MINUTE_MS).unwrap();
    assert_eq!(found.middle, Some(1_000_050));
    assert_eq!(spread.halves(0, None, 3 * MINUTE_MS), None);
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
        let found = spread(&hashes).halves(start, Some(end), MINUTE_MS - 1);
        prop_assert_eq!(found.is_some(), own.len() >= 8);
        if let Some(Halves { busiest, middle: Some(middle) }) = found {
            prop_assert!(middle > start && middle < end);
            let below = below(&own, middle);
            prop_assert!(below > 0.0 && below < 1.0);
            if busiest < 0.5 {
                prop_assert!((0.25..=0.75).contains(&below), "{} {}", below, busiest);
            }
        }
    }
}
