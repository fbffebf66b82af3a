//! The DynamoDB HTTP API in front of a [`backend::Backend`].
//!
//! The life of a request here:
//!
//! 1. `http`: connection, limits, body, gzip, CORS, request id, checksum;
//! 2. `auth`: SigV4, once, at the edge: who asks, for which account;
//! 3. `api`: one file per operation: parse, validate in DynamoDB's order, route through the backend, render.

pub mod api;
pub mod auth;
pub mod backend;
pub mod http;
pub mod metrics;
