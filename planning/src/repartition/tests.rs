//! Single steps; days of them are in [`super::simulation`].

use super::*;

const MINUTE_MS: u64 = 60 * 1000;
const HOUR_MS: u64 = 60 * MINUTE_MS;

fn partition(group: u64) -> Partition {
    Partition {
        group,
        used: Use::default(),
        busiest_key: 0.0,
        bytes: 0,
        span: 1,
        changed_ms: 0,
        change: None,
    }
}

fn table(write: u64, partitions: Vec<Partition>) -> Measured {
    Measured {
        declared: Some(Throughput { read: 1, write }),
        warm: None,
        partitions,
    }
}

fn on_demand(warm: Option<Throughput>, partitions: Vec<Partition>) -> Measured {
    Measured {
        declared: None,
        warm,
        partitions,
    }
}

/// Steps at these times, and what the last one decides.
fn at(table: &Measured, times_ms: &[u64]) -> Vec<Decision> {
    let mut memory = Memory::default();
    let mut decisions = Vec::new();
    for now_ms in times_ms {
        (decisions, memory) = step(table, &memory, &Limits::default(), *now_ms);
    }
    decisions
}

fn words(decisions: &[Decision]) -> Vec<String> {
    let words = decisions.iter().map(|decision| match &decision.action {
        Action::Split { group, cut } => format!("split {group} by {cut:?}: {}", decision.why),
        Action::Merge { group, absorbed } => format!("merge {absorbed} into {group}: {}", decision.why),
        Action::Report { group } => format!("report {group}: {}", decision.why),
    });
    words.collect()
}

#[test]
fn the_target_follows_units_and_bytes_as_a_new_table_does() {
    let limits = Limits::default();
    for (read, write, bytes, asked) in [
        (1, 1, 0, 1),
        (3000, 0, 0, 1),
        (300, 4000, 0, 4),
        (301, 4000, 0, 5),
        (1, 9000, 0, 9),
        (1, 1, 10_000_000_000, 1),
        (1, 1, 10_000_000_001, 2),
        (0, 0, u64::MAX, 256),
        (u64::MAX, u64::MAX, 0, 256),
    ] {
        assert_eq!(
            target(Throughput { read, write }, bytes, &limits),
            asked,
            "{read} {write} {bytes}"
        );
    }
}

#[test]
fn units_split_those_with_most_to_do_first_and_say_why() {
    let mut partitions = vec![partition(1), partition(2), partition(3)];
    partitions[1].bytes = 5_000_000_000;
    partitions[2].span = 7;
    assert_eq!(
        words(&at(&table(5000, partitions.clone()), &[0])),
        [
            "split 2 by Bytes: units: 1 RCU and 5000 WCU ask for 5 partitions, there are 3",
            "split 3 by Bytes: units: 1 RCU and 5000 WCU ask for 5 partitions, there are 4",
        ]
    );
    // What changes already is counted and left alone.
    partitions[1].change = Some(Change::Split);
    assert_eq!(
        words(&at(&table(5000, partitions.clone()), &[0])),
        ["split 3 by Bytes: units: 1 RCU and 5000 WCU ask for 5 partitions, there are 4"]
    );
    partitions[1].change = Some(Change::Other);
    let limits = Limits {
        changes_at_once: 2,
        ..Limits::default()
    };
    let (found, _) = step(&table(5000, partitions), &Memory::default(), &limits, 0);
    assert_eq!(found.len(), 1, "there is room for one more change");
}

#[test]
fn what_was_refused_keeps_no_other_one_from_being_split() {
    let mut partitions: Vec<_> = (1..=5).map(partition).collect();
    for partition in &mut partitions {
        partition.bytes = 11_000_000_000;
    }
    let most = Limits::default().changes_at_once;
    assert_eq!(at(&table(1, partitions.clone()), &[0]).len(), most);
    for partition in &mut partitions[..most] {
        partition.change = Some(Change::Refused);
    }
    assert_eq!(
        words(&at(&table(1, partitions), &[0])),
        ["split 5 by Bytes: size: it holds 10.2 GiB of at most 9.31 GiB"]
    );
}

#[test]
fn what_is_too_large_is_split_whatever_the_units_say() {
    let mut partitions = vec![partition(1), partition(2)];
    partitions[0].bytes = 11_000_000_000;
    assert_eq!(
        words(&at(&table(1, partitions), &[0])),
        ["split 1 by Bytes: size: it holds 10.2 GiB of at most 9.31 GiB"]
    );
}

#[test]
fn heat_must_last_before_it_splits() {
    let mut partitions = vec![partition(1), partition(2)];
    partitions[1].used.write = 900.0;
    let table = table(2000, partitions);
    assert_eq!(at(&table, &[HOUR_MS, HOUR_MS + MINUTE_MS]), []);
    assert_eq!(
        words(&at(&table, &[HOUR_MS, HOUR_MS + 2 * MINUTE_MS])),
        ["split 2 by Load: heat: it serves 90 % of what a partition can, for 120 s"]
    );
    // What was cut a moment ago is measured anew.
    let mut young = table.clone();
    young.partitions[1].changed_ms = HOUR_MS + MINUTE_MS;
    assert_eq!(at(&young, &[HOUR_MS, HOUR_MS + 2 * MINUTE_MS]), []);
}

#[test]
fn a_single_hot_key_is_reported_once_and_not_split() {
    let mut partitions = vec![partition(1)];
    (partitions[0].used.write, partitions[0].busiest_key) = (1000.0, 0.97);
    let table = table(1000, partitions);
    let times = [HOUR_MS, HOUR_MS + 2 * MINUTE_MS];
    assert_eq!(
        words(&at(&table, &times)),
        ["report 1: heat: it serves 100 % of what a partition can, 97 % of that for one key: a split would not help"]
    );
    assert_eq!(at(&table, &[times[0], times[1], times[1] + 1]), []);
}

#[test]
fn heat_splits_nothing_where_the_table_has_no_units_left_to_use() {
    let times = [HOUR_MS, HOUR_MS + 2 * MINUTE_MS];
    let hot = |declared, used: [f64; 2]| {
        let mut partitions = vec![partition(1), partition(2)];
        for (partition, used) in partitions.iter_mut().zip(used) {
            partition.used.write = used;
        }
        at(&table(declared, partitions), &times)
    };
    assert_eq!(
        hot(2000, [950.0, 900.0]),
        [],
        "more partitions would not let it use more"
    );
    assert_eq!(hot(2000, [950.0, 700.0]).len(), 1);
    // One partition can use all that there is.
    assert_eq!(hot(1000, [850.0, 0.0]), []);
    // On demand nobody has said how much is enough.
    let mut partitions = vec![partition(1), partition(2)];
    partitions[0].used.write = 950.0;
    assert_eq!(
        words(&at(&on_demand(None, partitions), &times)),
        ["split 1 by Load: heat: it serves 95 % of what a partition can, for 120 s"]
    );
}

#[test]
fn heat_is_of_both_kinds_and_the_units_left_are_of_the_one_that_makes_it() {
    let times = [HOUR_MS, HOUR_MS + 2 * MINUTE_MS];
    let mut partitions = vec![partition(1), partition(2)];
    partitions[0].used = Use {
        read: 1800.0,
        write: 300.0,
    };
    let mut table = table(1000, partitions);
    table.declared = Some(Throughput {
        read: 1900,
        write: 1000,
    });
    assert_eq!(at(&table, &times), [], "all reads that there are fit in one partition");
    table.declared = Some(Throughput { read: 4000, write: 300 });
    assert_eq!(
        words(&at(&table, &times)),
        ["split 1 by Load: heat: it serves 90 % of what a partition can, for 120 s"]
    );
}

#[test]
fn heat_alone_makes_only_so_many_partitions_and_says_so_once() {
    let mut partitions: Vec<Partition> = (1..=6).map(partition).collect();
    partitions[0].used.write = 950.0;
    let table = table(2000, partitions);
    let times = [HOUR_MS, HOUR_MS + 2 * MINUTE_MS];
    assert_eq!(
        words(&at(&table, &times)),
        [
            "report 1: heat: it serves 95 % of what a partition can, and heat alone makes no more than 6 partitions of this table"
        ]
    );
    assert_eq!(at(&table, &[times[0], times[1], times[1] + 1]), []);
}

#[test]
fn what_heat_has_split_is_merged_once_both_were_cold_for_the_whole_cool_down() {
    let mut partitions: Vec<Partition> = (1..=2).map(partition).collect();
    let cold = table(1000, partitions.clone());
    partitions[1].used.write = 401.0;
    let warm = table(1000, partitions);
    let limits = Limits::default();
    let mut memory = Memory::default();
    // Five minutes of load in each hour keep them apart.
    for minute in 0..24 * 60 {
        let table = if minute % 60 < 5 { &warm } else { &cold };
        let (found, next) = step(table, &memory, &limits, HOUR_MS + minute * MINUTE_MS);
        assert_eq!(found, [], "minute {minute}");
        memory = next;
    }
    let last = HOUR_MS + (24 * 60 - 55) * MINUTE_MS;
    let (found, _) = step(&cold, &memory, &limits, last + HOUR_MS);
    assert_eq!(
        words(&found),
        ["merge 2 into 1: units: 1 RCU and 1000 WCU ask for 1 partition, there are 2"]
    );
}

#[test]
fn on_demand_the_highest_load_of_the_last_day_asks_for_partitions() {
    let limits = Limits::default();
    let mut table = on_demand(None, (1..=4).map(partition).collect());
    let mut memory = Memory::default();
    let mut minute = 0;
    let mut pass = |table: &Measured, minutes: u64| {
        let mut found = Vec::new();
        for _ in 0..minutes {
            minute += 1;
            let (decisions, next) = step(table, &memory, &limits, minute * MINUTE_MS);
            found.extend(words(&decisions));
            memory = next;
        }
        found
    };
    let load = |table: &mut Measured, each: f64| table.partitions.iter_mut().for_each(|one| one.used.write = each);
    // A single minute is what burst is for; two in a row are the load.
    load(&mut table, 2000.0);
    assert_eq!(pass(&table, 1), Vec::<String>::new());
    load(&mut table, 300.0);
    assert_eq!(pass(&table, 2), Vec::<String>::new());
    load(&mut table, 1250.0);
    assert_eq!(
        pass(&table, 2),
        [
            "split 1 by Bytes: heat: on demand, the highest load of late is 0 RCU and 5000 WCU, which ask for 5 partitions, there are 4"
        ]
    );
    // Cold, but that load may come back tomorrow.
    table.partitions.push(partition(5));
    load(&mut table, 1.0);
    assert_eq!(pass(&table, 20 * 60), Vec::<String>::new());
    let merged = pass(&table, 29 * 60);
    assert!(
        merged[0].ends_with(
            "heat: on demand, the highest load of late is 0 RCU and 5 WCU, which ask for 1 partition, there are 5"
        ),
        "{merged:?}"
    );
}

#[test]
fn what_is_kept_warm_is_not_merged_however_cold_it_is() {
    let warm = Throughput { read: 0, write: 3000 };
    let table = on_demand(Some(warm), (1..=4).map(partition).collect());
    // Whoever remembered a higher load of late may be gone: for a day that is not known.
    assert_eq!(at(&table, &[HOUR_MS, 2 * HOUR_MS, 24 * HOUR_MS]), []);
    assert_eq!(
        words(&at(&table, &[HOUR_MS, 25 * HOUR_MS, 26 * HOUR_MS])),
        ["merge 2 into 1: units: warm for 0 RCU and 3000 WCU, which ask for 3 partitions, there are 4"]
    );
    let three = on_demand(Some(warm), (1..=3).map(partition).collect());
    assert_eq!(at(&three, &[HOUR_MS, 25 * HOUR_MS, 26 * HOUR_MS]), []);
}

#[test]
fn merges_wait_for_the_cool_down_of_the_table_and_of_both_partitions() {
    let partitions: Vec<Partition> = (1..=4).map(partition).collect();
    let mut table = table(1, partitions);
    assert_eq!(at(&table, &[HOUR_MS, 2 * HOUR_MS - 1]), []);
    assert_eq!(
        words(&at(&table, &[HOUR_MS, 2 * HOUR_MS])),
        [
            "merge 2 into 1: units: 1 RCU and 1 WCU ask for 1 partition, there are 4",
            "merge 4 into 3: units: 1 RCU and 1 WCU ask for 1 partition, there are 3",
        ]
    );
    // A merge under way leaves five of six, and one more is enough.
    let mut merging: Vec<Partition> = (1..=6).map(partition).collect();
    (merging[0].change, merging[1].change) = (Some(Change::Merge), Some(Change::Other));
    let merging = Measured {
        declared: Some(Throughput { read: 1, write: 4000 }),
        warm: None,
        partitions: merging,
    };
    assert_eq!(
        words(&at(&merging, &[HOUR_MS, 2 * HOUR_MS])),
        ["merge 4 into 3: units: 1 RCU and 4000 WCU ask for 4 partitions, there are 5"]
    );
    table.partitions[1].changed_ms = HOUR_MS + 1;
    assert_eq!(words(&at(&table, &[HOUR_MS, 2 * HOUR_MS])).len(), 1, "3 and 4 alone");
    table.partitions[2].used.write = 401.0;
    assert_eq!(at(&table, &[HOUR_MS, 2 * HOUR_MS]), [], "too much to do");
    table.partitions[2].used.write = 0.0;
    table.partitions[3].bytes = 5_000_000_001;
    assert_eq!(at(&table, &[HOUR_MS, 2 * HOUR_MS]), [], "too many bytes");
}

#[test]
fn units_that_came_back_in_time_forget_the_surplus() {
    let few = table(1, vec![partition(1), partition(2)]);
    let many = table(2000, few.partitions.clone());
    let limits = Limits::default();
    let (_, memory) = step(&few, &Memory::default(), &limits, HOUR_MS);
    let (_, memory) = step(&many, &memory, &limits, HOUR_MS + MINUTE_MS);
    let (found, memory) = step(&few, &memory, &limits, 2 * HOUR_MS);
    assert_eq!(found, []);
    let (found, _) = step(&few, &memory, &limits, 3 * HOUR_MS);
    assert_eq!(found.len(), 1);
}

#[test]
fn nothing_grows_beyond_the_bounds() {
    let limits = Limits {
        partitions_max: 3,
        changes_at_once: 100,
        ..Limits::default()
    };
    let hot = |group| Partition {
        used: Use {
            read: 0.0,
            write: 1000.0,
        },
        bytes: 20_000_000_000,
        ..partition(group)
    };
    let (found, _) = step(&table(9000, vec![hot(1), hot(2)]), &Memory::default(), &limits, HOUR_MS);
    assert_eq!(found.len(), 1);
    let (found, _) = step(
        &table(9000, vec![hot(1), hot(2), hot(3)]),
        &Memory::default(),
        &limits,
        HOUR_MS,
    );
    assert_eq!(found, []);
}
