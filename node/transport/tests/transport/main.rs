//! Both ends over loopback, and either end against a peer that is made of raw frames.

#![allow(clippy::unwrap_used)]

mod backpressure;
mod common;
mod concurrency;
mod failures;
mod golden;
mod handshake;
mod hostile;
mod letters;
mod round_trip;
mod samples;
mod stopping;
mod tls;
