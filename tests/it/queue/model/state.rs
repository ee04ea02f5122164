//! What the database holds of one job, and what its workers remember.

/// Workers at most; [`Bounds::workers`] says how many there are.
pub const WORKERS: usize = 3;

/// Tasks at most: a measurement and two scores, which can run at once, then [`SELECT`], [`FINETUNE`] and [`EXPORT`].
pub const TASKS: usize = 6;

/// Where the tasks that follow have their place.
pub const SELECT: usize = 3;
pub const FINETUNE: usize = 4;
pub const EXPORT: usize = 5;

/// How much is modelled.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    pub workers: usize,
    /// The measurement and the scores.
    pub first_tasks: usize,
    /// `MAX_ATTEMPTS`.
    pub attempts: u8,
    /// `MAX_CRASHES`.
    pub crashes: u8,
    pub finetunes: bool,
}

/// `job_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
}

impl Status {
    pub const ALL: [Self; 6] =
        [Self::Queued, Self::Running, Self::Succeeded, Self::Failed, Self::Cancelled, Self::Expired];

    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub fn is_done(self) -> bool {
        self >= Self::Succeeded
    }
}

/// A row of `job`, and how many reports there are for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Job {
    pub status: Status,
    pub cancel_requested: bool,
    /// The deadline has passed.
    pub late: bool,
    pub reports: u8,
    /// A customer's request has read the job and not written yet; only without the lock (`Mutant::CancelDoesNotLock`).
    pub half_cancelled: bool,
}

/// `task_state`, and before it the row that is not there yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskState {
    Absent,
    Ready,
    Running,
    Done,
    Failed,
    Cancelled,
}

impl TaskState {
    pub fn has_ended(self) -> bool {
        self >= Self::Done
    }

    pub fn is_live(self) -> bool {
        matches!(self, Self::Ready | Self::Running)
    }
}

/// A row of `task`. Its column `worker` is not modelled: it always names who made the last claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    pub state: TaskState,
    pub attempt: u8,
    pub crashes: u8,
    pub lease: u8,
    /// Running, and `lease_until` has passed.
    pub ran_out: bool,
    /// Ready, and `run_after` is still to come; or it ran out, and the wait after a crash is not over.
    pub waits: bool,
    /// Running, and this attempt got further than all before.
    pub progressed: bool,
}

impl Task {
    pub const ABSENT: Self = Self {
        state: TaskState::Absent,
        attempt: 0,
        crashes: 0,
        lease: 0,
        ran_out: false,
        waits: false,
        progressed: false,
    };
    pub const NEW: Self = Self { state: TaskState::Ready, ..Self::ABSENT };

    /// Leaves the state in which it had a lease.
    pub fn leave(&mut self, state: TaskState) {
        (self.state, self.ran_out, self.waits, self.progressed) = (state, false, false, false);
    }

    /// Its lease runs out. Crashes in a row without progress make it wait.
    pub fn run_out(&mut self) {
        if !self.ran_out {
            (self.ran_out, self.waits) = (true, self.crashes > 0 && !self.progressed);
        }
    }
}

/// What a worker is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Nothing. A worker that knows that it lost its lease writes nothing more, so it is idle too.
    Idle,
    /// The claim is committed, the job's side of it is not.
    Claimed,
    /// Computes. Where its lease has moved on meanwhile it is a zombie, and does not know.
    Working,
    /// Its process is gone and the supervisor has not told yet.
    Dead,
}

/// A worker and its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    pub role: Role,
    /// Unless idle, the task that it took, and the lease that it names in every write.
    pub task: u8,
    pub lease: u8,
    /// Until the job knows of the claim: whether somebody else had lost the task.
    pub rescued: bool,
}

impl Worker {
    pub const IDLE: Self = Self { role: Role::Idle, task: 0, lease: 0, rescued: false };
}

/// Everything at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    pub job: Job,
    pub tasks: [Task; TASKS],
    pub workers: [Worker; WORKERS],
    /// What the step that led here did wrong; never anything unless a guard was taken away.
    pub broken: Option<super::invariants::Rule>,
}

impl State {
    /// A job right after it was submitted.
    pub fn submitted(bounds: &Bounds) -> Self {
        let job =
            Job { status: Status::Queued, cancel_requested: false, late: false, reports: 0, half_cancelled: false };
        let mut tasks = [Task::ABSENT; TASKS];
        tasks[..bounds.first_tasks].fill(Task::NEW);
        Self { job, tasks, workers: [Worker::IDLE; WORKERS], broken: None }
    }

    /// The task that a worker took.
    pub fn task_of(&mut self, worker: usize) -> &mut Task {
        &mut self.tasks[usize::from(self.workers[worker].task)]
    }

    /// The guard of every write of a worker: `lease = $2 and state = 'running'`.
    pub fn holds(&self, worker: usize) -> bool {
        let Worker { role, task, lease, .. } = self.workers[worker];
        let task = self.tasks[usize::from(task)];
        role != Role::Idle && task.state == TaskState::Running && task.lease == lease
    }

    /// `tasks::any_held`.
    pub fn any_held(&self) -> bool {
        self.tasks.iter().any(|task| task.state == TaskState::Running && !task.ran_out)
    }
}
