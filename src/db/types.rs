//! The schema's enums, and how ids and phases travel to Postgres.

use serde::{Deserialize, Serialize};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};
use uuid::Uuid;

use crate::ids::{ImageSetId, JobId, KeyId, ModelId, TaskId, Tenant, WorkerId};
use crate::spec::phase::Phase;

/// Status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "job_status", rename_all = "snake_case")]
pub enum JobStatus {
    /// No worker has begun.
    Queued,
    /// A worker has begun.
    Running,
    /// Done: there is a report.
    Succeeded,
    /// Done: there is an error.
    Failed,
    /// Done: the customer cancelled it.
    Cancelled,
    /// Done: the deadline came first.
    Expired,
}

impl JobStatus {
    /// True in the last four, which never change.
    pub fn is_done(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// Which jobs go first, lowest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "job_priority", rename_all = "snake_case")]
pub enum JobPriority {
    /// Can wait.
    Low,
    /// As most.
    #[default]
    Normal,
    /// Before the others.
    High,
}

/// What a key may do with its tenant's rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "key_scope", rename_all = "snake_case")]
pub enum Scope {
    /// Read models, image sets, jobs and their results.
    Read,
    /// Upload, submit, cancel, delete.
    Write,
    /// Make and revoke keys, of any tenant; see what the whole pool does.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The name in JSON, in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// What came of a job that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "job_outcome", rename_all = "snake_case")]
pub enum JobOutcome {
    /// The measured student meets the target.
    TargetMet,
    /// It cannot be met; the best student there is.
    TargetUnreachable,
    /// Meeting it would have cost more quality than allowed.
    QualityFloorHit,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "task_kind", rename_all = "snake_case")]
pub enum TaskKind {
    /// Latency of the teacher and of every single drop.
    Measure,
    /// Recoverability of one block.
    Score,
    /// Which blocks go.
    Select,
    /// Feature distillation.
    Finetune,
    /// The student's file, verified, and the report.
    Export,
}

impl TaskKind {
    /// The name in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measure => "measure",
            Self::Score => "score",
            Self::Select => "select",
            Self::Finetune => "finetune",
            Self::Export => "export",
        }
    }

    /// The job's phase while this task runs.
    pub fn phase(self) -> Phase {
        match self {
            Self::Measure => Phase::Measure,
            Self::Score => Phase::Score,
            Self::Select => Phase::Select,
            Self::Finetune => Phase::Finetune,
            Self::Export => Phase::Export,
        }
    }
}

/// State of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Type)]
#[sqlx(type_name = "task_state", rename_all = "snake_case")]
pub enum TaskState {
    /// Waits for a worker.
    Ready,
    /// A worker holds its lease, or held it and died.
    Running,
    /// Its result is stored.
    Done,
    /// It failed for good, and its job with it.
    Failed,
    /// Its job ended without it.
    Cancelled,
}

macro_rules! uuid_id {
    ($($id:ty),*) => {$(
        impl Type<Postgres> for $id {
            fn type_info() -> PgTypeInfo {
                <Uuid as Type<Postgres>>::type_info()
            }
        }

        impl PgHasArrayType for $id {
            fn array_type_info() -> PgTypeInfo {
                <Uuid as PgHasArrayType>::array_type_info()
            }
        }

        impl Encode<'_, Postgres> for $id {
            fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                <Uuid as Encode<Postgres>>::encode_by_ref(&self.uuid(), buffer)
            }
        }

        impl Decode<'_, Postgres> for $id {
            fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
                <Uuid as Decode<Postgres>>::decode(value).map(Self::from)
            }
        }
    )*};
}

uuid_id!(ModelId, ImageSetId, JobId, TaskId, WorkerId, KeyId);

impl Type<Postgres> for Tenant {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Tenant {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <&str as Encode<Postgres>>::encode(self.as_str(), buffer)
    }
}

impl Decode<'_, Postgres> for Tenant {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(<&str as Decode<Postgres>>::decode(value)?.parse()?)
    }
}

impl Type<Postgres> for Phase {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("job_phase")
    }
}

impl Encode<'_, Postgres> for Phase {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <&str as Encode<Postgres>>::encode(self.as_str(), buffer)
    }
}

impl Decode<'_, Postgres> for Phase {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        Ok(serde_json::from_value(value.as_str()?.into())?)
    }
}
