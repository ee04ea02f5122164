create type job_status as enum ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired');

-- In the order in which a job passes through them: `greatest(phase, …)` never goes back.
create type job_phase as enum ('analyse', 'measure', 'score', 'select', 'finetune', 'export', 'verify');

create type job_outcome as enum ('target_met', 'target_unreachable', 'quality_floor_hit');

-- What a customer submitted. `model` and `images` are what was asked for and stay as a record; `uses_model` and
-- `uses_images` are live references: deleting a model or image set empties them, and `live_job_has_its_inputs` refuses
-- that while the job is not done.
create table job (
    id uuid primary key,
    model uuid not null,
    uses_model uuid references model on delete set null,
    images uuid,
    uses_images uuid references image_set on delete set null,
    config jsonb not null,
    metadata jsonb not null default '{}' check (jsonb_typeof(metadata) = 'object'),
    status job_status not null default 'queued',
    phase job_phase not null default 'measure',
    progress_done bigint not null default 0 check (progress_done >= 0),
    progress_total bigint not null default 0 check (progress_total >= progress_done),
    outcome job_outcome,
    error jsonb,
    cancel_requested_at timestamptz,
    deadline timestamptz not null,
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    -- Number of the job's last event. Taken under the job's row lock, so that the sequence has no gap.
    last_event bigint not null default 0 check (last_event >= 0),

    constraint live_job_has_its_inputs
        check (finished_at is not null or (uses_model is not null and (images is null or uses_images is not null))),
    constraint done_has_its_time
        check ((status in ('succeeded', 'failed', 'cancelled', 'expired')) = (finished_at is not null)),
    constraint running_has_its_start check (status <> 'running' or started_at is not null),
    constraint success_has_an_outcome check ((status = 'succeeded') = (outcome is not null)),
    constraint failure_has_an_error check ((status in ('failed', 'expired')) = (error is not null))
);

create index job_live on job (created_at) where finished_at is null;
create index job_by_model on job (model);
create index job_uses_model on job (uses_model);
create index job_uses_images on job (uses_images);
