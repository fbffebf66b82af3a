//! Partita's custom resources as Rust types, and their CustomResourceDefinitions.
//!
//! 1. [`table`]: the Table's specification: CreateTable's parameters in camelCase, plus how it is deployed;
//! 2. [`status`]: what the operator writes back;
//! 3. [`partition`]: the Partition, which the operator makes; [`ranges`]: the keys of a table's Partitions, also while they are being
//!    written;
//! 4. [`names`]: names and labels of what belongs to a table; [`convert`]: to and from the model's specification;
//! 5. [`yaml`]: the CustomResourceDefinitions as they stand in `crds/yaml/`, which `cargo run -p partita-crds --bin
//!    crds` writes and a test compares.
//!
//! The types know shapes, bounds and immutability (what an API server checks). What makes a table valid for DynamoDB
//! stands in `partita-model`.

// Two printer columns have the same type: that is no duplicate.
#![allow(clippy::duplicated_attributes)]

pub mod convert;
pub mod names;
pub mod partition;
pub mod ranges;
pub mod status;
pub mod table;
pub mod yaml;

pub use partition::{Partition, PartitionPhase, PartitionSpec, PartitionStatus};
pub use status::TableStatus;
pub use table::{Table, TableSpec};

/// The API group of every resource here.
pub const GROUP: &str = "partita.dev";
/// `apiVersion` of the resources here.
pub const API_VERSION: &str = "partita.dev/v1alpha1";
