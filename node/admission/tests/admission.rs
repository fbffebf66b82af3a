//! Units as clients see them: hours of virtual time in milliseconds.

use partita_admission::share::divide;
use partita_admission::table::{Capacity, Declared, Levels, Limits};
use partita_model::capacity::{HalfUnits, ThrottleLimit};
use proptest::prelude::*;

const WRITES: Limits = Limits {
    partition: HalfUnits(2 * 1000),
    burst_ms: 300_000,
    on_demand_ready: HalfUnits(2 * 4000),
};

fn units(units: u64) -> HalfUnits {
    HalfUnits(units * 2)
}

fn provisioned(rate: u64, partitions: usize) -> Capacity {
    Capacity::new(
        Declared::Provisioned(units(rate)),
        WRITES,
        partitions,
        Levels::default(),
        0,
    )
}

/// Requests of one unit on partitions in turn, so many per second; what was admitted.
fn run(capacity: &mut Capacity, partitions: &[usize], per_second: u64, from_ms: u64, seconds: u64) -> u64 {
    let mut admitted = 0;
    for request in 0..per_second * seconds {
        let now_ms = from_ms + request * 1000 / per_second;
        let partition = partitions[(request % partitions.len() as u64) as usize];
        if capacity.admit(partition, now_ms).is_ok() {
            capacity.charge(partition, units(1), now_ms);
            admitted += 1;
        }
    }
    admitted
}

#[test]
fn once_the_burst_is_spent_the_rate_holds() {
    let mut table = provisioned(100, 1);
    let burst = run(&mut table, &[0], 1000, 0, 60);
    assert!(burst > 30_000, "300 s of 100 units are there to begin with: {burst}");
    let admitted = run(&mut table, &[0], 1000, 60_000, 60);
    assert!((5_900..=6_100).contains(&admitted), "100 units for 60 s: {admitted}");
}

#[test]
fn a_skewed_table_gets_all_its_units_up_to_what_a_partition_can_do() {
    let mut table = provisioned(400, 4);
    run(&mut table, &[0], 4000, 0, 400);
    let admitted = run(&mut table, &[0], 4000, 400_000, 60);
    assert!(
        (23_500..=24_500).contains(&admitted),
        "400 units on one of four partitions: {admitted}"
    );

    let mut large = provisioned(4000, 4);
    let admitted = run(&mut large, &[0], 8000, 0, 60);
    assert!(
        (59_000..=62_000).contains(&admitted),
        "one partition does 1000: {admitted}"
    );
    large.charge(0, units(10), 60_000);
    assert_eq!(large.admit(0, 60_000), Err(ThrottleLimit::KeyRangeThroughputExceeded));
    assert_eq!(large.admit(1, 60_000), Ok(()));
}

#[test]
fn a_new_leader_hands_out_no_second_burst() {
    let mut table = provisioned(100, 1);
    run(&mut table, &[0], 1000, 0, 120);
    let levels = table.levels(120_000);
    let mut next = Capacity::new(Declared::Provisioned(units(100)), WRITES, 1, levels, 150_000);
    let admitted = run(&mut next, &[0], 1000, 150_000, 10);
    assert!((980..=1020).contains(&admitted), "{admitted}");
}

#[test]
fn changing_the_units_gives_nothing_away() {
    let mut table = provisioned(10, 1);
    run(&mut table, &[0], 1000, 0, 60);
    table.declare(Declared::Provisioned(units(100)), 60_000);
    let admitted = run(&mut table, &[0], 1000, 60_000, 10);
    assert!((980..=1020).contains(&admitted), "the new rate and no more: {admitted}");
    table.declare(Declared::Provisioned(units(10)), 70_000);
    let admitted = run(&mut table, &[0], 1000, 70_000, 10);
    assert!((90..=110).contains(&admitted), "{admitted}");
}

#[test]
fn debt_is_paid_back() {
    let mut table = provisioned(10, 1);
    table.charge(0, units(10 * 300 + 100), 0);
    assert_eq!(table.admit(0, 9_999), Err(ThrottleLimit::ProvisionedThroughputExceeded));
    assert_eq!(table.admit(0, 10_001), Ok(()));
}

#[test]
fn on_demand_grows_to_twice_its_peak() {
    let declared = Declared::OnDemand { most: None, warm: None };
    let mut table = Capacity::new(declared, WRITES, 8, Levels::default(), 0);
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    assert_eq!(table.admit(0, 0), Ok(()));
    assert_eq!(table.allowed(), units(4000));
    run(&mut table, &all, 3000, 0, 31 * 60);
    table.admit(0, 33 * 60_000).unwrap();
    assert_eq!(table.allowed(), units(6000));
}

#[test]
fn on_demand_stops_at_its_ceiling() {
    let declared = Declared::OnDemand {
        most: Some(units(50)),
        warm: None,
    };
    let mut table = Capacity::new(declared, WRITES, 1, Levels::default(), 0);
    let admitted = run(&mut table, &[0], 500, 0, 60);
    assert!((2_950..=3_100).contains(&admitted), "{admitted}");
    assert_eq!(table.admit(0, 60_000), Err(ThrottleLimit::MaxOnDemandThroughputExceeded));
}

proptest! {
    /// Shares never sum above the rate, none is above what a partition can do, and nobody who wants less than an even share
    /// gets less than it wants.
    #[test]
    fn shares_are_fair(rate in 0_u64..1_000_000, most in 1_u64..10_000, demands in prop::collection::vec(0_u64..20_000, 1..50)) {
        let wanted: Vec<HalfUnits> = demands.iter().copied().map(HalfUnits).collect();
        let shares = divide(HalfUnits(rate), HalfUnits(most), &wanted);
        prop_assert!(shares.iter().map(|share| share.0).sum::<u64>() <= rate);
        let even = rate / demands.len() as u64;
        for (share, demand) in shares.iter().zip(&demands) {
            prop_assert!(share.0 <= most);
            prop_assert!(share.0 >= (*demand).min(most).min(even));
        }
    }

    /// Whatever the costs and the pauses, in any stretch of time no more is admitted than the rate, the burst and the debt of
    /// one request allow.
    #[test]
    fn the_rate_holds_in_the_long_run(costs in prop::collection::vec((1_u64..50, 0_u64..2_000), 1..400)) {
        let mut table = provisioned(20, 1);
        let (mut now_ms, mut used, mut last) = (0, 0, 0);
        for (cost, pause_ms) in costs {
            now_ms += pause_ms;
            if table.admit(0, now_ms).is_ok() {
                table.charge(0, units(cost), now_ms);
                used += cost;
                last = cost;
            }
        }
        prop_assert!(used <= 20 * 300 + 20 * now_ms / 1000 + last + 1);
    }
}
