//! Why a call was refused: a status and a sentence.

use std::fmt::Display;

use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use partita_model::admin::{self, ProblemCode, StoreAddress};
use partita_model::request::Refusal;
use partita_partition::merge::MergeFault;
use partita_partition::split::SplitFault;
use partita_replication::{MembershipError, MergeError, SplitError, SurvivorError};

/// A refusal.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    body: Box<admin::Problem>,
}

impl Problem {
    fn new(status: StatusCode, message: impl Display) -> Self {
        let body = admin::Problem {
            message: message.to_string(),
            code: None,
            leader: None,
        };
        Self {
            status,
            body: Box::new(body),
        }
    }

    /// For programs: what kind of refusal it is.
    pub fn with(mut self, code: ProblemCode) -> Self {
        self.body.code = Some(code);
        self
    }

    /// The call has to go to the leader.
    pub fn not_leader(leader: Option<StoreAddress>) -> Self {
        let message = match &leader {
            Some(leader) => format!(
                "another replica leads the group: that on store {} ({})",
                leader.store, leader.address
            ),
            None => "nobody is known to lead the group at the moment".to_owned(),
        };
        let mut problem = Self::conflict(message).with(ProblemCode::NotLeader);
        problem.body.leader = leader;
        problem
    }

    /// The request makes no sense.
    pub fn bad(reason: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    /// The body could not be read: it is too long, say.
    pub fn body(rejection: &BytesRejection) -> Self {
        Self::new(rejection.status(), rejection.body_text())
    }

    /// There is nothing of that name.
    pub fn not_found(reason: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason)
    }

    /// What is there is not what was asked for.
    pub fn conflict(reason: String) -> Self {
        Self::new(StatusCode::CONFLICT, reason)
    }

    /// Not now.
    pub fn unavailable(reason: String) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason)
    }

    /// A fault of ours.
    pub fn internal(reason: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match &refusal {
            Refusal::Stopping
            | Refusal::OutOfSpace
            | Refusal::NotLeader
            | Refusal::UnknownFate
            | Refusal::Throttled(_) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::WrongRange | Refusal::StaleSchema => StatusCode::CONFLICT,
            Refusal::Api(_) | Refusal::Evaluated { .. } | Refusal::Corrupt(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let problem = Self::new(status, &refusal);
        match refusal {
            Refusal::UnknownFate => problem.with(ProblemCode::UnknownFate),
            Refusal::NotLeader => problem.with(ProblemCode::NotLeader),
            _ => problem,
        }
    }
}

impl From<MembershipError> for Problem {
    fn from(error: MembershipError) -> Self {
        let code = match &error {
            MembershipError::Refused(Refusal::NotLeader) => return Self::not_leader(None),
            MembershipError::Refused(refusal) => return refusal.clone().into(),
            MembershipError::StaleEpoch { .. } => ProblemCode::StaleEpoch,
            MembershipError::Busy | MembershipError::Frozen => ProblemCode::Busy,
            MembershipError::NoSuchMember(_) => ProblemCode::NoSuchMember,
            MembershipError::StoreTaken => ProblemCode::StoreTaken,
            MembershipError::Leads => ProblemCode::Leads,
            MembershipError::Behind { .. } => ProblemCode::Behind,
            MembershipError::QuorumLost { .. } => ProblemCode::QuorumLost,
        };
        Self::conflict(error.to_string()).with(code)
    }
}

impl From<SplitError> for Problem {
    fn from(error: SplitError) -> Self {
        let code = match &error {
            SplitError::Refused(Refusal::NotLeader) => return Self::not_leader(None),
            SplitError::Refused(refusal) => return refusal.clone().into(),
            SplitError::Fault(fault) => match fault {
                SplitFault::Outside(..) => ProblemCode::OutsideRange,
                SplitFault::InsideCollection(..) => ProblemCode::InsideCollection,
                SplitFault::Indivisible => ProblemCode::Indivisible,
                SplitFault::Changes(_) => ProblemCode::ChangesPending,
                SplitFault::Building(_) => ProblemCode::IndexBuilding,
                SplitFault::Partition(_) => return Self::internal(error),
            },
            SplitError::Used(_) => ProblemCode::ChildTaken,
            SplitError::Busy => ProblemCode::Busy,
            SplitError::StaleEpoch { .. } => ProblemCode::StaleEpoch,
        };
        Self::conflict(error.to_string()).with(code)
    }
}

impl From<MergeError> for Problem {
    fn from(error: MergeError) -> Self {
        let code = match &error {
            MergeError::Refused(Refusal::NotLeader) => return Self::not_leader(None),
            MergeError::Refused(refusal) => return refusal.clone().into(),
            MergeError::Fault(fault) => match fault {
                MergeFault::Same(_) | MergeFault::OtherTable(..) | MergeFault::NotNeighbours(..) => {
                    ProblemCode::NotMergeable
                }
                MergeFault::OtherSchema | MergeFault::Stream => ProblemCode::NotMergeable,
                MergeFault::Building(_) => ProblemCode::IndexBuilding,
                MergeFault::Changes(_) => ProblemCode::ChangesPending,
                MergeFault::Partition(_) => return Self::internal(error),
            },
            MergeError::Unsettled(_) => ProblemCode::Busy,
            MergeError::OtherStores(..) => ProblemCode::OtherStores,
            MergeError::NoSource(_) => ProblemCode::NoSource,
            MergeError::NotFrozen(_) | MergeError::NotEverywhere(_) => ProblemCode::NotFrozen,
            MergeError::FrozenFor(..) => ProblemCode::FrozenForAnother,
            MergeError::Thawed(_) => ProblemCode::MergeOver,
            MergeError::NotRefused(_) => ProblemCode::NotRefused,
        };
        Self::conflict(error.to_string()).with(code)
    }
}

impl From<SurvivorError> for Problem {
    fn from(error: SurvivorError) -> Self {
        let code = match &error {
            SurvivorError::Refused(refusal) => return refusal.clone().into(),
            SurvivorError::QuorumThere { .. } | SurvivorError::Led(_) => ProblemCode::QuorumThere,
            SurvivorError::Incomplete => ProblemCode::Incomplete,
            SurvivorError::StaleEpoch { .. } => ProblemCode::StaleEpoch,
        };
        Self::conflict(error.to_string()).with(code)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, body } = self;
        // Strings in a struct always have a JSON form.
        let body = serde_json::to_string(&body).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
