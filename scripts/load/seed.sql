-- Fills a service's database by copying its only job: :jobs jobs of which the last :queued wait, :events events of each and three
-- tasks. Ids sort by the time that the jobs came, as the service's own do.
with template as (select * from job limit 1)
insert into job (id, tenant, model, uses_model, images, uses_images, config, metadata, deadline, priority, created_at,
                 status, phase, progress_done, progress_total, started_at, finished_at, outcome, last_event)
select ('01a30000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, tenant, model, uses_model, images, uses_images, config,
       metadata, now() + interval '20 days', case when n % 10 = 0 then 'low' else 'normal' end::job_priority,
       now() - interval '3 days' + n * interval '1 second',
       case when waits then 'queued' else 'succeeded' end::job_status, case when waits then 'measure' else 'export' end::job_phase,
       0, 1, case when waits then null else now() end, case when waits then null else now() end,
       case when waits then null else 'target_met' end::job_outcome, :events
from template cross join lateral (select n, n > :jobs - :queued as waits from generate_series(1, :jobs) as n) as made;

insert into task (id, job, kind, block, state, result, attempt, lease, started_at, finished_at)
select ('01a40000-0000-7000-8' || lpad(place::text, 3, '0') || '-' || right(job.id::text, 12))::uuid, job.id, kind, block,
       case when status = 'queued' then 'ready' else 'done' end::task_state,
       case when status = 'queued' then null else '{}' end::jsonb, case when status = 'queued' then 0 else 1 end,
       case when status = 'queued' then 0 else 1 end, job.started_at, job.finished_at
from job
cross join (values (1, 'measure', null), (2, 'score', 'layer1.1'), (3, 'score', 'layer3.3')) as kinds (place, kind_name, block)
cross join lateral (select kind_name::task_kind as kind) as typed
where job.id >= '01a30000-0000-7000-8000-000000000000';

insert into event (job, seq, kind, detail)
select job.id, seq,
       case when seq = 1 then 'queued' when seq < :events then case when seq % 2 = 0 then 'task_started' else 'task_done' end
            when status = 'queued' then 'task_done' else 'succeeded' end,
       jsonb_build_object('task', case when seq < 4 then 'measure' else 'score' end, 'attempt', 1)
from job cross join generate_series(1, :events) as seq
where job.id >= '01a30000-0000-7000-8000-000000000000';

vacuum analyze;
checkpoint;
