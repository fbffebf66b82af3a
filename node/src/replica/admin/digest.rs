//! Digests of a replica's rows, for whoever compares replicas, or an index with its table.
//!
//! 1. It is waited for until this replica has applied the log entry that the caller has seen elsewhere.
//! 2. The rows of a view are read as a whole, on the pool; whether this replica leads does not matter.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use partita_model::admin::{DigestOrder, DigestState, DigestSubject, PieceState, ProblemCode, RowState};
use partita_partition::digest::{Asked, Pieces, Subject};
use tokio::time::timeout;

use super::problem::Problem;
use super::{Body, Shared, group, json, parse, serving_node};

/// Pieces in one answer.
const PIECES_MAX: u32 = 4096;
/// Rows in one answer.
const KEYS_MAX: u32 = 10_000;
/// How long a replica may be behind before the caller is told to ask again.
const APPLIED_MAX: Duration = Duration::from_secs(10);

/// Digests rows.
pub async fn post_digest(State(admin): Shared, Path(id): Path<String>, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let group = group(&node, &id)?;
    let order: DigestOrder = parse(body)?;
    let count = order.pieces.count;
    if !(1..=PIECES_MAX).contains(&count) {
        return Err(Problem::bad(format!(
            "{count} pieces: from 1 to {PIECES_MAX} can be asked for"
        )));
    }
    if order.keys_max > KEYS_MAX {
        return Err(Problem::bad(format!("keysMax {}: at most {KEYS_MAX}", order.keys_max)));
    }
    let mut applied = group.subscribe();
    let reached = timeout(APPLIED_MAX, applied.wait_for(|at| at.index >= order.after)).await;
    let has_applied = reached.is_ok_and(|applied| applied.is_ok());
    if !has_applied || group.is_receiving() {
        let here = group.stats().applied.index;
        let reason = format!(
            "this replica has applied entry {here}, not yet {}: ask again",
            order.after
        );
        return Err(Problem::unavailable(reason).with(ProblemCode::Behind));
    }
    let asked = Asked {
        subject: match order.subject {
            DigestSubject::Replica => Subject::Replica,
            DigestSubject::IndexRows => Subject::IndexRows,
            DigestSubject::CalledFor(index) => Subject::CalledFor(index),
        },
        from: order.from,
        to: order.to,
        pieces: Pieces {
            from: order.pieces.from,
            to: order.pieces.to,
            count,
        },
        keys_max: order.keys_max as usize,
    };
    let digest = group.digest(asked).await?;
    let rows = |keys: Vec<_>| keys.into_iter().map(|(key, sum)| RowState { key, sum }).collect();
    let pieces = digest.pieces.into_iter().map(|piece| PieceState {
        rows: piece.rows,
        sum: piece.sum,
    });
    json(&DigestState {
        applied: digest.at.index,
        range_epoch: digest.range_epoch,
        pieces: pieces.collect(),
        keys: digest.keys.map(rows),
    })
}
