//! Bugs that can be put in on purpose, to see that the simulation finds them. Compiled in with the feature `planted`
//! only; without it every question is answered with no, at compile time.

/// A bug that was thought of, and what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bug {
    /// The lease counts from the receipt of a confirmation, not from what it confirms was sent.
    LeaseFromReceipt,
    /// A leader that has asked a follower to take over keeps its lease.
    LeaseAfterTransfer,
    /// A voter that has just started votes at once.
    VoteAfterStart,
    /// Followers answer before what they answer for is synced.
    AnswerBeforeSync,
    /// A vote is granted before it is durable, and forgotten by a crash.
    VoteNotStored,
    /// A new leader serves before an entry of its own term is applied.
    ServeBeforeOwnTerm,
    /// Reads are answered without a look at the lease.
    ReadWithoutLease,
    /// A failed condition is answered without a look at the lease.
    RefuseWithoutLease,
    /// Effects that were evaluated in one term are proposed in another, and apply does not compare the two.
    TermNotChecked,
    /// The log is cut to what is applied, not to what is flushed.
    CutPastFlushed,
    /// Frames for a replica that was removed here reach its successor.
    TombstoneIgnored,
    /// A leader that lost its term keeps the overlay of what it had in flight.
    OverlayKept,
    /// A leader that lost its term tells those who wait that their writes were made.
    LossIsSuccess,
    /// Commitment of a write is told before it is applied: the fate is decided at the sync.
    AnswerAtOwnSync,
    /// A snapshot is installed without a mark: a crash in the middle leaves a mixture.
    InstallUnmarked,
    /// A change of members that was on its way to the state while a snapshot overtook it is made once more.
    ChangeAfterSnapshot,
    /// While a split is on its way, reads and writes of the keys behind the cut go on.
    DepartingNotHeld,
    /// A split that is applied again after a crash begins its child anew, whatever that has in its log.
    ChildOverwritten,
    /// A split's child recovers whether or not its parent has come to the split.
    LineageIgnored,
    /// A snapshot is taken although another group here has some of its keys.
    OverlapIgnored,
    /// A snapshot from behind a split comes without the child that has not come to life.
    ChildLeftBehind,
    /// A snapshot takes the place of a log whose splits are not flushed.
    ClearUnflushed,
    /// While a merge's source stands still, or is about to, it goes on answering.
    FrozenServes,
    /// The absorber takes the source although not every voter is known to have the freeze.
    FreezeNotEverywhere,
    /// The absorber takes the source as it is, although that has not come to its freeze in this store.
    SourceNotAwaited,
    /// The source's log goes when the merge is applied, not when that is flushed.
    SourceBuriedEarly,
    /// A source is thawed because somebody says so, whatever the absorber's log says.
    ThawUnasked,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 27] = [
        Self::LeaseFromReceipt,
        Self::LeaseAfterTransfer,
        Self::VoteAfterStart,
        Self::AnswerBeforeSync,
        Self::VoteNotStored,
        Self::ServeBeforeOwnTerm,
        Self::ReadWithoutLease,
        Self::RefuseWithoutLease,
        Self::TermNotChecked,
        Self::CutPastFlushed,
        Self::TombstoneIgnored,
        Self::OverlayKept,
        Self::LossIsSuccess,
        Self::AnswerAtOwnSync,
        Self::InstallUnmarked,
        Self::ChangeAfterSnapshot,
        Self::DepartingNotHeld,
        Self::ChildOverwritten,
        Self::LineageIgnored,
        Self::OverlapIgnored,
        Self::ChildLeftBehind,
        Self::ClearUnflushed,
        Self::FrozenServes,
        Self::FreezeNotEverywhere,
        Self::SourceNotAwaited,
        Self::SourceBuriedEarly,
        Self::ThawUnasked,
    ];
}

#[cfg(feature = "planted")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in what this thread does (or none).
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
#[cfg(feature = "planted")]
pub(crate) fn has(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Nothing is ever planted.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub(crate) const fn has(_bug: Bug) -> bool {
    false
}
