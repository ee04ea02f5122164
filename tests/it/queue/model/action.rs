//! What can happen, who asks for it, and what the caller is told.

/// One committed transaction, one call that finds nothing to do, or time that passes. Workers and tasks are named by
/// their place in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The first transaction of `claim`.
    Claim(usize, usize),
    /// `claim` where there is nothing to take.
    ClaimNothing(usize),
    /// The second transaction of `claim`.
    Begin(usize),
    Renew(usize),
    Look(usize),
    /// `lease::tell_event`.
    Tell(usize),
    /// `lease::keep_checkpoint`, further than all before.
    Keep(usize),
    Complete(usize, Reply),
    /// A fault that may pass, or one of the input.
    Fail(usize, Reply, bool),
    Release(usize, Reply),
    Acknowledge(usize, Reply),
    /// The worker's process dies, and with it what it remembers.
    Crash(usize),
    /// The supervisor tells that it died and starts another.
    WorkerDied(usize),
    /// Another starts in its place and nobody tells, as after a loss of the host.
    Replace(usize),
    LeaseRunsOut(usize),
    WaitEnds(usize),
    DeadlinePasses,
    RequestCancel,
    /// The second half of a request that does not lock.
    FinishCancel,
    SweepExhausted(usize),
    SweepOverdue,
    /// `sweep` where there is nothing to end.
    SweepNothing,
}

/// Whether the word of a commit reaches the worker. Where it does not the worker tries again (`worker::task::patiently`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    Heard,
    Lost,
}

/// What the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    /// Time has nothing to say.
    Silence,
    Nothing,
    Claimed,
    Begun,
    NotBegun,
    Held,
    CancelRequested,
    Lost,
    Told,
    NotTold,
    Kept,
    NotKept,
    Stored,
    Retried,
    JobFailed,
    Released,
    Acknowledged,
    Cancelled,
    Requested,
    EndedOtherwise,
    LeaseLost,
    Swept,
}

/// The transaction that commits: what the diagrams' edges are labelled with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transaction {
    Claim,
    Begin,
    Renew,
    Look,
    Tell,
    Keep,
    Complete,
    Fail,
    Release,
    Acknowledge,
    Cancel,
    Sweep,
    WorkerDied,
    Time,
}

impl Transaction {
    pub fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Begin => "begin",
            Self::Renew => "renew",
            Self::Look => "look",
            Self::Tell => "tell",
            Self::Keep => "keep",
            Self::Complete => "complete",
            Self::Fail => "fail",
            Self::Release => "release",
            Self::Acknowledge => "acknowledge",
            Self::Cancel => "cancel",
            Self::Sweep => "sweep",
            Self::WorkerDied => "worker_died",
            Self::Time => "time",
        }
    }
}

impl Action {
    /// The worker that asks, and whether it hears the answer.
    pub fn reply(self) -> Option<(usize, Reply)> {
        match self {
            Self::Complete(worker, reply)
            | Self::Fail(worker, reply, _)
            | Self::Release(worker, reply)
            | Self::Acknowledge(worker, reply) => Some((worker, reply)),
            _ => None,
        }
    }

    /// The worker whose lease the action stands on.
    pub fn by_lease_of(self) -> Option<usize> {
        match self {
            Self::Begin(worker)
            | Self::Renew(worker)
            | Self::Look(worker)
            | Self::Tell(worker)
            | Self::Keep(worker)
            | Self::WorkerDied(worker) => Some(worker),
            _ => self.reply().map(|(worker, _)| worker),
        }
    }

    pub fn transaction(self) -> Transaction {
        match self {
            Self::Claim(..) | Self::ClaimNothing(_) => Transaction::Claim,
            Self::Begin(_) => Transaction::Begin,
            Self::Renew(_) => Transaction::Renew,
            Self::Look(_) => Transaction::Look,
            Self::Tell(_) => Transaction::Tell,
            Self::Keep(_) => Transaction::Keep,
            Self::Complete(..) => Transaction::Complete,
            Self::Fail(..) => Transaction::Fail,
            Self::Release(..) => Transaction::Release,
            Self::Acknowledge(..) => Transaction::Acknowledge,
            Self::WorkerDied(_) => Transaction::WorkerDied,
            Self::RequestCancel | Self::FinishCancel => Transaction::Cancel,
            Self::SweepExhausted(_) | Self::SweepOverdue | Self::SweepNothing => Transaction::Sweep,
            Self::Crash(_) | Self::Replace(_) | Self::LeaseRunsOut(_) | Self::WaitEnds(_) | Self::DeadlinePasses => {
                Transaction::Time
            }
        }
    }
}
