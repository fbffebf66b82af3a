//! DynamoDB's data model, pure: no I/O, no clock, no randomness, no async.
//!
//! The life of a request, as far as this crate sees it:
//!
//! 1. [`json`] reads a request body; attribute values go straight from JSON text into stored form
//!    ([`value`], [`item`], [`number`]); what is semantically wrong is kept as a [`wire::WireItem`] error until
//!    its turn in DynamoDB's order of validation comes.
//! 2. [`expression`] parses condition, filter, key condition, projection and update expressions; [`legacy`]
//!    translates the older parameters into the same trees.
//! 3. [`schema`] knows a table's keys and indexes; [`key`] turns key attributes into ordered bytes.
//! 4. [`request`] holds the typed operations that cross from a gateway to a partition's leader.
//! 5. [`capacity`] prices them; [`error`] holds DynamoDB's error types, [`message`] its texts.
//! 6. [`table`] holds what a table is for the control plane: the specification, its record, the description; [`partition`]
//!    what a partition knows of itself; [`admin`] what a storage node's admin API says.

pub mod admin;
pub mod capacity;
pub mod error;
pub mod expression;
pub mod hexadecimal;
pub mod item;
pub mod json;
pub mod key;
pub mod legacy;
pub mod message;
pub mod number;
pub mod partition;
pub mod request;
pub mod schema;
pub mod table;
pub mod value;
pub mod wire;
