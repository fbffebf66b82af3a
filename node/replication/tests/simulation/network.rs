//! The network: it delays, loses, repeats and reorders, and is cut between machines.

use std::collections::HashSet;

use rand::Rng as _;
use rand::rngs::SmallRng;

const MS: u64 = 1_000_000;

pub struct Network {
    /// Pairs (from, to) between which nothing passes.
    cut: HashSet<(usize, usize)>,
    /// Of a thousand frames so many are lost, come twice, or come late.
    pub lost: u32,
    pub repeated: u32,
    pub late: u32,
    /// None of that happens meanwhile.
    pub calm: bool,
}

impl Network {
    pub fn healthy() -> Self {
        Self {
            cut: HashSet::new(),
            lost: 0,
            repeated: 0,
            late: 0,
            calm: false,
        }
    }

    /// When a batch of frames arrives: never, once, or several times.
    pub fn deliveries(&self, from: usize, to: usize, random: &mut SmallRng) -> Vec<u64> {
        let mut happens = |parts: u32| !self.calm && random.random_ratio(parts, 1000);
        if self.cut.contains(&(from, to)) || happens(self.lost) {
            return Vec::new();
        }
        let times = if happens(self.repeated) { 2 } else { 1 };
        (0..times)
            .map(|_| match !self.calm && random.random_ratio(self.late, 1000) {
                true => random.random_range(10 * MS..1500 * MS),
                false => random.random_range(MS / 5..2 * MS),
            })
            .collect()
    }

    /// Cuts machines off from all others, in one direction or both.
    pub fn isolate(&mut self, machine: usize, machines: usize, inwards: bool, outwards: bool) {
        for other in (0..machines).filter(|other| *other != machine) {
            if inwards {
                self.cut.insert((other, machine));
            }
            if outwards {
                self.cut.insert((machine, other));
            }
        }
    }

    /// Cuts two machines off from each other.
    pub fn separate(&mut self, one: usize, other: usize) {
        self.cut.insert((one, other));
        self.cut.insert((other, one));
    }

    /// Nothing passes from one machine to another any more.
    pub fn sever(&mut self, from: usize, to: usize) {
        self.cut.insert((from, to));
    }

    /// Pairs between which nothing passes.
    pub fn severed(&self) -> &HashSet<(usize, usize)> {
        &self.cut
    }

    pub fn join(&mut self) {
        self.cut.clear();
    }
}
