//! Units as clients see them: hours of virtual time in milliseconds.

use partita_admission::share::{Allowance, Grant, divide};
use partita_admission::table::{Capacity, Ceiling, Declared, Levels, Limits};
use partita_model::capacity::{HalfUnits, ThrottleLimit};
use proptest::prelude::*;

const WRITES: Limits = Limits {
    partition: HalfUnits(2 * 1000),
    burst_ms: 300_000,
};

const ON_DEMAND: Declared = Declared::OnDemand {
    ready: HalfUnits(2 * 4000),
    most: None,
};

fn units(units: u64) -> HalfUnits {
    HalfUnits(units * 2)
}

/// A table and its partitions, as the leaders of all of them would be in one process.
struct Table {
    shared: Capacity,
    partitions: Vec<Ceiling>,
}

impl Table {
    fn new(declared: Declared, partitions: usize) -> Self {
        let height = declared.partition_ceiling(WRITES, partitions);
        Self {
            shared: Capacity::new(declared, WRITES, Levels::default(), 0),
            partitions: vec![Ceiling::new(height, 0); partitions],
        }
    }

    fn provisioned(rate: u64, partitions: usize) -> Self {
        Self::new(Declared::Provisioned(units(rate)), partitions)
    }

    fn admit(&mut self, partition: usize, now_ms: u64) -> Result<(), ThrottleLimit> {
        self.partitions[partition].admit(HalfUnits(0), now_ms)?;
        self.shared.admit(HalfUnits(0), now_ms)
    }

    fn charge(&mut self, partition: usize, cost: HalfUnits, now_ms: u64) {
        self.partitions[partition].charge(cost);
        self.shared.charge(cost, now_ms);
    }

    fn declare(&mut self, declared: Declared, now_ms: u64) {
        self.shared.declare(declared, now_ms);
        let height = declared.partition_ceiling(WRITES, self.partitions.len());
        for partition in &mut self.partitions {
            partition.set(height, now_ms);
        }
    }
}

/// Requests of one unit on partitions in turn, so many per second; what was admitted.
fn run(table: &mut Table, partitions: &[usize], per_second: u64, from_ms: u64, seconds: u64) -> u64 {
    run_priced(table, partitions, 1, per_second, from_ms, seconds)
}

/// The same with requests of another price; units.
fn run_priced(table: &mut Table, partitions: &[usize], price: u64, per_second: u64, from_ms: u64, seconds: u64) -> u64 {
    let mut admitted = 0;
    for request in 0..per_second * seconds {
        let now_ms = from_ms + request * 1000 / per_second;
        let partition = partitions[(request % partitions.len() as u64) as usize];
        if table.admit(partition, now_ms).is_ok() {
            table.charge(partition, units(price), now_ms);
            admitted += price;
        }
    }
    admitted
}

#[test]
fn once_the_burst_is_spent_the_rate_holds() {
    let mut table = Table::provisioned(100, 1);
    let burst = run(&mut table, &[0], 1000, 0, 60);
    assert!(burst > 30_000, "300 s of 100 units are there to begin with: {burst}");
    let admitted = run(&mut table, &[0], 1000, 60_000, 60);
    assert!((5_900..=6_100).contains(&admitted), "100 units for 60 s: {admitted}");
}

#[test]
fn a_skewed_table_gets_all_its_units_up_to_what_a_partition_can_do() {
    let mut table = Table::provisioned(400, 4);
    run(&mut table, &[0], 4000, 0, 400);
    let admitted = run(&mut table, &[0], 4000, 400_000, 60);
    assert!(
        (23_500..=24_500).contains(&admitted),
        "400 units on one of four partitions: {admitted}"
    );

    let mut large = Table::provisioned(4000, 4);
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
fn what_is_declared_can_be_had_whatever_the_number_of_partitions() {
    let mut table = Table::provisioned(4000, 1);
    run(&mut table, &[0], 40_000, 0, 60);
    let admitted = run(&mut table, &[0], 40_000, 60_000, 60);
    assert!((235_200..=244_800).contains(&admitted), "{admitted}");
}

#[test]
fn a_new_leader_hands_out_no_second_burst() {
    let mut table = Table::provisioned(100, 1);
    run(&mut table, &[0], 1000, 0, 120);
    let levels = table.shared.levels(120_000).unwrap();
    let mut next = Table::provisioned(100, 1);
    next.shared = Capacity::new(Declared::Provisioned(units(100)), WRITES, levels, 150_000);
    let admitted = run(&mut next, &[0], 1000, 150_000, 10);
    assert!((980..=1020).contains(&admitted), "{admitted}");
}

#[test]
fn a_table_at_rest_has_nothing_to_remember() {
    for declared in [Declared::Provisioned(units(10)), ON_DEMAND] {
        let mut table = Table::new(declared, 1);
        assert_eq!(table.shared.levels(0), None);
        table.charge(0, units(1), 0);
        assert!(table.shared.levels(0).is_some());
        table.admit(0, 40 * 60_000).unwrap();
        assert_eq!(table.shared.levels(40 * 60_000), None);
    }
}

#[test]
fn changing_the_units_gives_nothing_away() {
    let mut table = Table::provisioned(10, 1);
    run(&mut table, &[0], 1000, 0, 60);
    table.declare(Declared::Provisioned(units(100)), 60_000);
    let admitted = run(&mut table, &[0], 1000, 60_000, 10);
    assert!((980..=1020).contains(&admitted), "the new rate and no more: {admitted}");
    table.declare(Declared::Provisioned(units(10)), 70_000);
    let admitted = run(&mut table, &[0], 1000, 70_000, 10);
    assert!((90..=110).contains(&admitted), "{admitted}");
}

#[test]
fn going_back_and_forth_between_the_modes_gives_no_burst_away() {
    let mut table = Table::provisioned(10, 1);
    run(&mut table, &[0], 1000, 0, 60);
    let mut now_ms = 60_000;
    for _ in 0..5 {
        table.declare(ON_DEMAND, now_ms);
        table.declare(Declared::Provisioned(units(10)), now_ms);
        let admitted = run(&mut table, &[0], 1000, now_ms, 10);
        assert!((98..=102).contains(&admitted), "{admitted}");
        now_ms += 10_000;
    }
}

#[test]
fn a_table_that_becomes_on_demand_is_ready_for_what_was_declared() {
    let mut table = Table::provisioned(9000, 9);
    table.declare(ON_DEMAND, 0);
    assert_eq!(table.shared.allowed(), units(9000));
    let mut small = Table::provisioned(9, 1);
    small.declare(ON_DEMAND, 0);
    assert_eq!(small.shared.allowed(), units(4000));
}

#[test]
fn debt_is_paid_back() {
    let mut table = Table::provisioned(10, 1);
    table.shared.charge(units(10 * 300 + 100), 0);
    assert_eq!(table.admit(0, 9_999), Err(ThrottleLimit::ProvisionedThroughputExceeded));
    assert_eq!(table.admit(0, 10_001), Ok(()));
}

#[test]
fn on_demand_grows_to_twice_its_peak() {
    let mut table = Table::new(ON_DEMAND, 8);
    let all = [0, 1, 2, 3, 4, 5, 6, 7];
    assert_eq!(table.admit(0, 0), Ok(()));
    assert_eq!(table.shared.allowed(), units(4000));
    run(&mut table, &all, 3000, 0, 31 * 60);
    table.admit(0, 33 * 60_000).unwrap();
    assert_eq!(table.shared.allowed(), units(6000));
    let levels = table.shared.levels(33 * 60_000).unwrap();
    let next = Capacity::new(ON_DEMAND, WRITES, levels, 0);
    assert_eq!(next.allowed(), units(6000), "a new leader knows the peak");
}

#[test]
fn on_demand_on_one_partition_does_what_it_is_ready_for() {
    let mut table = Table::new(ON_DEMAND, 1);
    table.shared.charge(units(4000 * 300), 0);
    let admitted = run(&mut table, &[0], 8000, 0, 60);
    assert!((235_200..=244_800).contains(&admitted), "{admitted}");
    table.charge(0, units(10), 60_000);
    assert_eq!(table.admit(0, 60_000), Err(ThrottleLimit::KeyRangeThroughputExceeded));
}

#[test]
fn on_demand_stops_at_its_ceiling() {
    let declared = Declared::OnDemand {
        ready: units(4000),
        most: Some(units(50)),
    };
    let mut table = Table::new(declared, 1);
    let admitted = run(&mut table, &[0], 500, 0, 60);
    assert!((2_950..=3_100).contains(&admitted), "{admitted}");
    assert_eq!(table.shared.allowed(), units(50));
    assert_eq!(
        table.admit(0, 60_000),
        Err(ThrottleLimit::MaxOnDemandThroughputExceeded)
    );
}

#[test]
fn parts_of_a_table_never_sum_above_it() {
    let declared = Declared::Provisioned(HalfUnits(101));
    let parts = [declared.part(1, 3), declared.part(2, 3), declared.part(0, 3)];
    let sum: u64 = parts
        .map(|part| Capacity::new(part, WRITES, Levels::default(), 0).allowed().0)
        .iter()
        .sum();
    assert_eq!(sum, 100);
    assert_eq!(declared.part(3, 3), declared);
    let huge = Declared::Provisioned(HalfUnits(u64::MAX));
    assert_eq!(huge.part(7, 7), huge);
}

#[test]
fn a_leader_that_has_been_away_leaves_its_savings_behind() {
    let declared = Declared::Provisioned(units(10));
    let full = Capacity::new(declared, WRITES, Levels::default(), 0).state(0);
    let mut next = Capacity::new(declared, WRITES, full.without_savings(), 0);
    assert!(next.admit(HalfUnits(0), 0).is_err());
    next.charge(units(50), 0);
    let indebted = next.state(0).without_savings();
    let mut next = Capacity::new(declared, WRITES, indebted, 0);
    assert!(next.admit(HalfUnits(0), 5000).is_err(), "a debt stays");
    assert_eq!(next.admit(HalfUnits(0), 5001), Ok(()));
    next.fill(5001);
    assert_eq!(next.available(5001), units(3000));
}

proptest! {
    /// At ten times the units, once the burst is spent, what is admitted in 60 s is within 2 % of the units: whatever the
    /// units, the prices (of one second's units at most) and the partitions.
    #[test]
    fn ten_times_the_units_get_the_units(rate in 5_u64..2_000, price in 1_u64..20, partitions in 1_usize..6, skewed: bool) {
        let price = price.min(rate);
        let mut table = Table::provisioned(rate, partitions);
        table.shared.charge(units(rate * 300), 0);
        let places: Vec<usize> = if skewed && rate <= 1000 { vec![0] } else { (0..partitions).collect() };
        let per_second = (rate * 10).div_ceil(price);
        let warm = run_priced(&mut table, &places, price, per_second, 1, 2);
        prop_assert!(warm > 0);
        let admitted = run_priced(&mut table, &places, price, per_second, 2_001, 60);
        let wanted = rate * 60;
        let off = admitted.abs_diff(wanted);
        prop_assert!(off * 50 <= wanted, "{admitted} of {wanted}");
    }

    /// Shares never sum above the rate, none is above what a partition can do, and nobody who wants less than an even share
    /// gets less than it wants.
    #[test]
    fn shares_are_fair(rate in 0_u64..1_000_000, most in 1_u64..10_000, demands in prop::collection::vec(0_u64..20_000, 1..50)) {
        let wanted: Vec<HalfUnits> = demands.iter().copied().map(HalfUnits).collect();
        let shares = divide(HalfUnits(rate), HalfUnits(most), &wanted, true);
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
        let mut table = Table::provisioned(20, 1);
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

#[test]
fn what_is_pending_is_as_good_as_gone() {
    let limits = Limits {
        partition: HalfUnits(2000),
        burst_ms: 1000,
    };
    let mut table = Capacity::new(Declared::Provisioned(HalfUnits(10)), limits, Levels::default(), 0);
    assert_eq!(table.admit(HalfUnits(9), 0), Ok(()));
    assert!(table.admit(HalfUnits(10), 0).is_err());
    assert_eq!(Ceiling::new(Some(HalfUnits(4)), 0).admit(HalfUnits(3), 0), Ok(()));
    assert!(Ceiling::new(Some(HalfUnits(4)), 0).admit(HalfUnits(4), 0).is_err());
    let mut holder = Allowance::new(HalfUnits(10), HalfUnits(100), 0);
    let report = holder.report(0);
    holder.granted(report, Grant(HalfUnits(6)), 0);
    assert!(holder.admit(HalfUnits(5), 1) && !holder.admit(HalfUnits(6), 1));
}
