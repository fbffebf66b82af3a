//! A table whose partitions live in several processes: together they get its units, wherever the load is, and never more.

use partita_admission::share::{Allowance, Grantor, REPORT_EVERY_MS, even_part};
use partita_admission::table::{Capacity, Declared, Levels, Limits};
use partita_model::capacity::HalfUnits;

const LIMITS: Limits = Limits {
    partition: HalfUnits(2 * 1000),
    burst_ms: 300_000,
};

struct World {
    capacity: Capacity,
    grantor: Grantor,
    holders: Vec<Allowance>,
    now_ms: u64,
    /// Reports that get through: of ten.
    heard_of_ten: u64,
    reports: u64,
}

impl World {
    fn new(units: u64, holders: usize) -> Self {
        let declared = Declared::Provisioned(HalfUnits(units * 2));
        let part = even_part(declared, 1, holders);
        Self {
            capacity: Capacity::new(declared, LIMITS, Levels::default(), 0),
            grantor: Grantor::default(),
            holders: vec![Allowance::new(part, LIMITS.partition, 0); holders],
            now_ms: 0,
            heard_of_ten: 10,
            reports: 0,
        }
    }

    fn spend_burst(&mut self) {
        let all = self.capacity.available(self.now_ms);
        self.capacity.charge(all, self.now_ms);
    }

    /// So many requests of a unit per second on each holder; what each was admitted.
    fn run(&mut self, per_second: &[u64], seconds: u64) -> Vec<u64> {
        let mut admitted = vec![0; self.holders.len()];
        for step in 0..seconds * 1000 {
            self.now_ms += 1;
            for (place, holder) in self.holders.iter_mut().enumerate() {
                let due = per_second[place] * (step + 1) / 1000 - per_second[place] * step / 1000;
                for _ in 0..due {
                    if holder.admit(HalfUnits(0), self.now_ms) {
                        holder.charge(HalfUnits(2), self.now_ms);
                        admitted[place] += 1;
                    }
                }
                // Each at times of its own; the answer takes 5 ms.
                let phase = place as u64 * 7;
                if !(self.now_ms + phase).is_multiple_of(REPORT_EVERY_MS) || !holder.is_due(self.now_ms) {
                    continue;
                }
                self.reports += 1;
                if self.reports * 7 % 10 >= self.heard_of_ten {
                    continue;
                }
                let report = holder.report(self.now_ms);
                let grant = self
                    .grantor
                    .report(&mut self.capacity, place as u64, report, self.now_ms);
                holder.granted(report, grant, self.now_ms);
            }
        }
        admitted
    }
}

fn assert_near(admitted: u64, wanted: u64) {
    assert!(admitted.abs_diff(wanted) * 50 <= wanted, "{admitted} of {wanted}");
}

#[test]
fn at_ten_times_the_units_all_together_get_the_units() {
    for holders in [1, 2, 9] {
        let mut world = World::new(900, holders);
        world.spend_burst();
        world.run(&vec![9000 / holders as u64; holders], 2);
        let admitted = world.run(&vec![9000 / holders as u64; holders], 60);
        assert_near(admitted.iter().sum(), 900 * 60);
        for one in &admitted {
            // Who reports just behind somebody else finds less: nobody gets less than half of an even part.
            let even = 900 * 60 / holders as u64;
            assert!(one * 2 >= even, "{admitted:?}");
        }
    }
}

#[test]
fn a_skewed_table_gets_its_units_where_the_load_is() {
    let mut world = World::new(900, 9);
    world.spend_burst();
    let load = [9000, 10, 10, 10, 0, 0, 0, 0, 0];
    world.run(&load, 2);
    let admitted = world.run(&load, 60);
    assert_near(admitted.iter().sum(), 900 * 60);
    for little in &admitted[1..4] {
        assert!(*little >= 580, "who wants little gets it: {admitted:?}");
    }
    // The load moves.
    let load = [0, 0, 0, 0, 0, 0, 0, 0, 9000];
    world.run(&load, 3);
    assert_near(world.run(&load, 60).iter().sum(), 900 * 60);
}

#[test]
fn the_burst_is_shared_too() {
    let mut world = World::new(100, 4);
    let admitted: u64 = world.run(&[700, 300, 0, 0], 40).iter().sum();
    let all = 100 * 300 + 100 * 40;
    assert!(
        (all * 9 / 10..=all * 102 / 100).contains(&admitted),
        "{admitted} of {all}"
    );
}

#[test]
fn reports_that_get_lost_cost_no_more_than_themselves() {
    let mut world = World::new(900, 3);
    world.spend_burst();
    world.heard_of_ten = 5;
    world.run(&[3000; 3], 2);
    assert_near(world.run(&[3000; 3], 60).iter().sum(), 900 * 60);
}

#[test]
fn a_report_that_is_made_again_is_paid_once() {
    let declared = Declared::Provisioned(HalfUnits(200));
    let mut capacity = Capacity::new(declared, LIMITS, Levels::default(), 0);
    let (mut grantor, mut holder) = (Grantor::default(), Allowance::new(HalfUnits(100), LIMITS.partition, 0));
    let full = capacity.available(0).0;
    assert!(holder.admit(HalfUnits(0), 0));
    holder.charge(HalfUnits(10), 0);
    // The answer gets lost, and more is used before it is asked again.
    let lost = holder.report(0);
    grantor.report(&mut capacity, 1, lost, 0);
    holder.charge(HalfUnits(5), 0);
    let again = holder.report(0);
    let grant = grantor.report(&mut capacity, 1, again, 0);
    holder.granted(again, grant, 0);
    assert_eq!(capacity.available(0).0, full - 15);
    // The next one is another.
    holder.charge(HalfUnits(7), 0);
    let next = holder.report(0);
    grantor.report(&mut capacity, 1, next, 0);
    assert_eq!(capacity.available(0).0, full - 22);
}

#[test]
fn without_a_grantor_everybody_has_an_even_part() {
    let mut world = World::new(900, 3);
    world.heard_of_ten = 0;
    let admitted = world.run(&[3000, 3000, 0], 60);
    assert_near(admitted[0], 300 * 60);
    assert_near(admitted[1], 300 * 60);
    // It comes back, and hears of what was used.
    world.heard_of_ten = 10;
    world.spend_burst();
    world.run(&[3000, 3000, 0], 60);
    let admitted = world.run(&[3000, 3000, 0], 60);
    assert_near(admitted.iter().sum(), 900 * 60);
}
