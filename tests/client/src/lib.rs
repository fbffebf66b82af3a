//! What every black-box test needs.
//!
//! 1. [`sign`]: SigV4 as the SDKs do it, with the day's key kept;
//! 2. [`connection`]: one keep-alive HTTP/1.1 connection, blocking, that tells "refused" from "fate unknown";
//! 3. [`server`]: the binary under test as a child process: start, wait until it is ready, kill, stop.

pub mod connection;
pub mod server;
pub mod sign;

pub use connection::{Connection, Reply};
pub use server::{Server, ServerOptions};
pub use sign::Signer;
