//! A table's units as several processes know them, while leaders change: together they get the table's units, wherever the
//! load is, and nothing hands out a second burst.
#![allow(clippy::unwrap_used)]

use partita_admission::peak::Peak;
use partita_admission::pool::{Pool, Standing};
use partita_admission::share::REPORT_EVERY_MS;
use partita_admission::table::{Declared, Levels, Limits};
use partita_model::capacity::{HalfUnits, ThrottleLimit, UnitsPeak};
use proptest::prelude::*;

const BURST_S: u64 = 300;
const LIMITS: Limits = Limits {
    partition: HalfUnits(2 * 1000),
    burst_ms: BURST_S * 1000,
};
const UNIT: HalfUnits = HalfUnits(2);
/// Once a second it is said where the buckets stand.
const NEWS_EVERY_MS: u64 = 1000;

struct World {
    declared: Declared,
    pools: Vec<Pool>,
    /// Who leads the first partition, and in which term; nobody during an election.
    first: Option<usize>,
    term: u64,
    /// Which processes run.
    runs: Vec<bool>,
    now_ms: u64,
}

impl World {
    /// Each process leads one partition, the first one that of the table.
    fn new(units: u64, processes: usize) -> Self {
        let declared = Declared::Provisioned(HalfUnits(units * 2));
        let mut world = Self {
            declared,
            pools: Vec::new(),
            first: Some(0),
            term: 1,
            runs: vec![true; processes],
            now_ms: 0,
        };
        for place in 0..processes {
            let standing = world.standing(place, processes);
            world
                .pools
                .push(Pool::new(declared, LIMITS, standing, Levels::default(), 0));
        }
        world
    }

    fn standing(&self, place: usize, processes: usize) -> Standing {
        Standing {
            grants: (self.first == Some(place)).then_some(self.term),
            holder: place as u64 + 1,
            part: HalfUnits(self.declared.ready().0 / processes as u64),
            most: LIMITS.partition,
        }
    }

    fn declare(&mut self) {
        for place in 0..self.pools.len() {
            let standing = self.standing(place, self.pools.len());
            self.pools[place].declare(self.declared, standing, self.now_ms);
        }
    }

    /// Nobody leads.
    fn depose(&mut self) {
        self.first = None;
        self.declare();
    }

    /// Another one leads, and asks the others if they run.
    fn elect(&mut self, place: usize) {
        self.term += 1;
        self.first = Some(place);
        self.declare();
        let now_ms = self.now_ms;
        let others = (0..self.pools.len()).filter(|other| *other != place && self.runs[*other]);
        let others: Vec<usize> = others.collect();
        let known = others.iter().filter_map(|other| self.pools[*other].state(now_ms));
        if let Some((term, levels)) = known.max_by_key(|(term, _)| *term) {
            self.pools[place].resume(term, levels, now_ms);
        }
    }

    fn spend_burst(&mut self) {
        let first = self.first.unwrap();
        let balance = self.pools[first].balance(self.now_ms).unwrap();
        self.pools[first].charge(HalfUnits((balance * 2.0) as u64), self.now_ms);
    }

    /// So many requests of a unit per second on each; what each was admitted.
    fn run(&mut self, per_second: &[u64], ms: u64) -> Vec<u64> {
        let mut admitted = vec![0; self.pools.len()];
        for step in 0..ms {
            self.now_ms += 1;
            for place in 0..self.pools.len() {
                let due = per_second[place] * (step + 1) / 1000 - per_second[place] * step / 1000;
                for _ in 0..due {
                    if self.runs[place] && self.pools[place].admit(HalfUnits(0), self.now_ms).is_ok() {
                        self.pools[place].charge(UNIT, self.now_ms);
                        admitted[place] += 1;
                    }
                }
                self.report(place);
            }
            self.tell();
        }
        admitted
    }

    fn report(&mut self, place: usize) {
        let (Some(first), true) = (self.first, self.runs[place]) else {
            return;
        };
        if !(self.now_ms + place as u64 * 7).is_multiple_of(REPORT_EVERY_MS) || !self.runs[first] {
            return;
        }
        if let Some(report) = self.pools[place].report(self.now_ms)
            && let Some(grant) = self.pools[first].grant(place as u64 + 1, report, self.now_ms)
        {
            self.pools[place].granted(report, grant, self.now_ms);
        }
    }

    fn tell(&mut self) {
        let Some(first) = self.first.filter(|first| self.runs[*first]) else {
            return;
        };
        if self.now_ms.is_multiple_of(NEWS_EVERY_MS)
            && let Some((term, levels)) = self.pools[first].news(self.now_ms)
        {
            for (place, pool) in self.pools.iter_mut().enumerate() {
                if self.runs[place] {
                    pool.hear(term, levels.clone());
                }
            }
        }
    }
}

fn assert_near(admitted: u64, wanted: u64) {
    assert!(admitted.abs_diff(wanted) * 50 <= wanted, "{admitted} of {wanted}");
}

#[test]
fn at_ten_times_the_units_all_together_get_the_units_wherever_the_load_is() {
    let loads: [&[u64]; 5] = [
        &[9000],
        &[3000, 3000, 3000],
        &[9000, 0, 0],
        &[0, 0, 9000],
        &[10, 9000, 10],
    ];
    for load in loads {
        let mut world = World::new(900, load.len());
        world.spend_burst();
        world.run(load, 3000);
        let admitted = world.run(load, 60_000);
        assert_near(admitted.iter().sum(), 900 * 60);
        for (one, wanted) in admitted.iter().zip(load) {
            assert!(*wanted != 10 || *one >= 580, "who wants little gets it: {admitted:?}");
        }
    }
}

#[test]
fn who_wakes_up_has_the_burst_at_once() {
    let mut world = World::new(300, 3);
    world.run(&[0, 5, 0], 5000);
    let admitted = world.run(&[0, 900, 0], 3000)[1];
    assert!(admitted >= 2600, "{admitted} of 2700");
}

#[test]
fn a_limit_is_named_as_where_the_units_are_granted() {
    let mut world = World::new(30, 2);
    world.spend_burst();
    world.run(&[100, 100], 2000);
    for pool in &mut world.pools {
        while pool.admit(HalfUnits(0), world.now_ms).is_ok() {
            pool.charge(UNIT, world.now_ms);
        }
        assert_eq!(
            pool.admit(HalfUnits(0), world.now_ms),
            Err(ThrottleLimit::ProvisionedThroughputExceeded)
        );
    }
}

#[test]
fn a_table_that_has_grown_to_its_maximum_meets_that_wherever_it_is_asked() {
    let units = |units: u64| HalfUnits(units * 2);
    let declared = Declared::OnDemand {
        ready: units(100),
        most: Some(units(300)),
    };
    let standing = |grants: Option<u64>| Standing {
        grants,
        holder: 1 + u64::from(grants.is_none()),
        part: units(50),
        most: units(1000),
    };
    // What it has seen makes it ready for 400.
    let grown = |settled: u64| Levels {
        shared: Some(0),
        peak: Some(Peak::of(
            UnitsPeak {
                settled: units(settled).0,
                recent: Vec::new(),
            },
            0,
        )),
    };
    let grantor = |settled: u64| Pool::new(declared, LIMITS, standing(Some(1)), grown(settled), 0);
    let mut holder = Pool::new(declared, LIMITS, standing(None), Levels::default(), 0);
    let refused = |pool: &mut Pool, now_ms: u64| {
        loop {
            match pool.admit(HalfUnits(0), now_ms) {
                Ok(()) => pool.charge(units(1000), now_ms),
                Err(limit) => return limit,
            }
        }
    };
    assert!(!holder.is_unsure(0), "nothing was refused");
    assert_eq!(refused(&mut holder, 0), ThrottleLimit::KeyRangeThroughputExceeded);
    for (settled, limit) in [
        (100, ThrottleLimit::KeyRangeThroughputExceeded),
        (200, ThrottleLimit::MaxOnDemandThroughputExceeded),
    ] {
        let mut grantor = grantor(settled);
        assert_eq!(refused(&mut grantor, 0), limit);
        holder.learn(&grantor.state(0).unwrap().1);
        assert_eq!(refused(&mut holder, 0), limit);
        // The grantor's own share of what others use, too, meets the table's limit.
        let report = holder.report(1000).unwrap();
        grantor.grant(2, report, 1000).unwrap();
        assert_eq!(refused(&mut grantor, 1000), limit);
    }
    assert!(
        holder.is_unsure(0) && !holder.is_unsure(0),
        "it is asked once for many refusals"
    );
    refused(&mut holder, 1000);
    assert!(!holder.is_unsure(1000) && holder.is_unsure(10_000));
}

#[test]
fn a_new_leader_goes_on_where_the_old_one_was() {
    // It says so while it runs.
    let mut world = World::new(100, 3);
    world.run(&[500, 100, 0], 20_000);
    let before = world.pools[0].balance(world.now_ms).unwrap();
    world.runs[0] = false;
    world.depose();
    world.run(&[0, 10, 0], 1500);
    world.elect(2);
    let after = world.pools[2].balance(world.now_ms).unwrap();
    assert!(after <= before + 700.0 && after >= before - 700.0, "{before}, {after}");
    // Or when it is asked: nobody has heard anything of a table that has just been used.
    let mut world = World::new(100, 2);
    world.pools[0].charge(HalfUnits(2 * 29_000), world.now_ms);
    world.depose();
    world.elect(1);
    let after = world.pools[1].balance(world.now_ms).unwrap();
    assert!((after - 1000.0).abs() < 1.0, "{after}");
    // Without either there are no savings, but the units.
    let mut world = World::new(100, 2);
    world.depose();
    world.runs[0] = false;
    world.elect(1);
    assert_eq!(world.pools[1].balance(world.now_ms), Some(0.0));
    assert_near(world.run(&[0, 1000], 60_000)[1], 100 * 60);
}

#[test]
fn what_comes_in_while_nothing_is_used_is_not_lost_with_the_leader() {
    let mut world = World::new(100, 3);
    world.spend_burst();
    world.run(&[10, 0, 0], 1000);
    world.run(&[0; 3], 200_000);
    world.runs[0] = false;
    world.elect(1);
    let after = world.pools[1].balance(world.now_ms).unwrap();
    assert!((16_900.0..=20_100.0).contains(&after), "{after}");
}

#[test]
fn what_is_full_again_fills_no_more_whatever_load_it_has_seen() {
    let declared = Declared::OnDemand {
        ready: HalfUnits(2 * 100),
        most: None,
    };
    let standing = World::new(100, 1).standing(0, 1);
    let mut pool = Pool::new(declared, LIMITS, standing, Levels::default(), 0);
    pool.charge(HalfUnits(2 * 6000), 0);
    assert!(pool.fills(1000));
    assert!(!pool.fills(2 * BURST_S * 1000));
}

#[test]
fn a_debt_is_paid_back_by_whoever_does_not_grant_too() {
    let mut world = World::new(10, 3);
    world.spend_burst();
    let mut admitted = 0;
    let large = HalfUnits(2 * 98);
    for _ in 0..300 {
        for place in 1..3 {
            if world.pools[place].admit(HalfUnits(0), world.now_ms).is_ok() {
                world.pools[place].charge(large, world.now_ms);
                admitted += 98;
            }
        }
        // Longer than a grant is valid.
        world.run(&[0; 3], 2600);
    }
    let brought = 10 * world.now_ms / 1000;
    assert!(admitted <= brought + 4 * 98, "{admitted} of {brought}");
    assert!(admitted >= brought / 2, "{admitted} of {brought}");
}

#[test]
fn who_leads_again_does_not_go_by_what_it_had() {
    let mut world = World::new(100, 2);
    world.run(&[1, 1], 2000);
    world.elect(1);
    world.spend_burst();
    // Nothing was heard of that; and then who knows is away.
    world.runs[1] = false;
    world.elect(0);
    let after = world.pools[0].balance(world.now_ms).unwrap();
    assert!(after <= 0.0, "{after}");
}

#[test]
fn a_restart_of_all_at_once_hands_out_no_second_burst() {
    let mut world = World::new(100, 2);
    world.spend_burst();
    let left = world.pools[0].levels(world.now_ms).unwrap();
    world.depose();
    for (place, left) in [(0, left), (1, Levels::default())] {
        let standing = world.standing(place, 2);
        world.pools[place] = Pool::new(world.declared, LIMITS, standing, left, world.now_ms);
    }
    // Nobody else knows of anything that was used.
    assert_eq!(world.pools[1].state(world.now_ms), None);
    world.elect(0);
    world.pools[0].fill(world.now_ms);
    assert_eq!(world.pools[0].balance(world.now_ms), Some(0.0));
}

#[test]
fn without_a_grantor_everybody_has_an_even_part_whatever_it_had_before() {
    let mut world = World::new(900, 3);
    world.spend_burst();
    world.run(&[0, 9000, 0], 60_000);
    world.depose();
    // The last grant runs out; and what was used while a new one was waited for is paid back.
    world.run(&[0, 9000, 0], 15_000);
    assert_near(world.run(&[0, 9000, 0], 60_000)[1], 300 * 60);
}

#[test]
fn who_leads_nothing_pays_for_what_it_reads() {
    let mut world = World::new(100, 2);
    let standing = Standing {
        part: HalfUnits(0),
        ..world.standing(1, 2)
    };
    world.pools[1].declare(world.declared, standing, 0);
    world.spend_burst();
    world.run(&[0, 1000], 2000);
    assert_near(world.run(&[0, 1000], 60_000)[1], 100 * 60);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Elections, crashes and restarts, at any load: what is admitted in all stays within the units that the time has
    /// brought, one burst, and what each change may forget (the second since the last news, and grants under way).
    #[test]
    fn no_change_of_leaders_hands_out_a_second_burst(
        units in 50_u64..800,
        events in proptest::collection::vec((0_usize..3, any::<bool>(), 200_u64..6000, [0_u64..2000, 0..2000, 0..2000]), 1..12),
    ) {
        let mut world = World::new(units, 3);
        let (mut admitted, mut forgotten) = (0, 0);
        for (place, crashes, ms, load) in events {
            admitted += world.run(&load, ms).iter().sum::<u64>();
            world.runs = vec![true; 3];
            if let (Some(first), true) = (world.first, crashes && world.first != Some(place)) {
                world.runs[first] = false;
            }
            world.depose();
            admitted += world.run(&load, 700).iter().sum::<u64>();
            world.elect(place);
            // A second of what three partitions can do, half a second ahead each, and their even parts meanwhile.
            forgotten += 3 * 1000 * 3 / 2 + units;
        }
        let brought = units * (BURST_S + world.now_ms / 1000 + 1);
        prop_assert!(admitted <= brought + forgotten, "{admitted} of {brought} and {forgotten}");
    }
}
