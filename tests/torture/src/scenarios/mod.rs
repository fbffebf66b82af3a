//! One file each. A scenario ends with nothing, with the reason why it was skipped, or with an error.

pub mod corruption;
pub mod faults;
pub mod full_disk;
pub mod interposer;
pub mod kill;
pub mod second_process;
pub mod startup;
pub mod unsynced;

use anyhow::Result;

use crate::Order;

/// A reason to skip, or nothing.
pub type Outcome = Result<Option<String>>;

/// What runs one.
pub type Scenario = fn(&Order) -> Outcome;

/// In the order in which they run: what the later ones rest on comes first.
pub const ALL: &[(&str, Scenario)] = &[
    ("interposer", interposer::run),
    ("second-process", second_process::run),
    ("kill", kill::run),
    ("unsynced", unsynced::run),
    ("unsynced-lie", unsynced::lie),
    ("startup", startup::run),
    ("full-disk", full_disk::run),
    ("corruption", corruption::run),
    ("faults", faults::run),
];
