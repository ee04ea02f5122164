-- Counts of what has happened, kept up to date by the transactions that make it happen, so that /metrics never reads the tables
-- that grow with every job. Transactions append their changes instead of updating one shared row, which would make them wait for
-- each other; `db::metrics::roll_up` adds the changes up from time to time. A sum of both is exact at every moment.
create table tally (
    name text not null,
    -- Status of a job or kind of a task; empty if the tally has only one value.
    label text not null,
    value double precision not null,
    primary key (name, label)
);

create table tally_change (
    name text not null,
    label text not null,
    change double precision not null
);

-- It keeps its pages when it is empty, so that jobs can be cancelled while the disk is full.
alter table tally_change set (vacuum_truncate = false);
insert into tally_change (name, label, change) values ('task_crashed', '', 0);

create view tallied as
    select name, label, sum(value) as value
    from (select name, label, value from tally union all select name, label, change from tally_change) as parts
    group by name, label;

-- What is there already.
insert into tally (name, label, value)
    select 'jobs', status::text, count(job.id)
    from unnest(enum_range(null::job_status)) as status left join job using (status) group by status
    union all
    select 'tasks_ready', kind::text, count(task.id)
    from unnest(enum_range(null::task_kind)) as kind left join task using (kind) where state = 'ready' group by kind
    union all
    select 'tasks_done', kind::text, count(*) from task where state = 'done' and not reused group by kind
    union all
    select 'task_seconds', kind::text, coalesce(sum(extract(epoch from finished_at - started_at)), 0)
    from task where state = 'done' and not reused group by kind
    union all
    select case kind when 'task_failed' then 'task_retried' else kind end, coalesce(detail ->> 'task', ''), count(*)
    from event
    where kind in ('task_started', 'task_rescued', 'task_released') or kind = 'task_failed' and detail ? 'again_in_seconds'
    group by 1, 2
    union all
    select 'task_crashed', '', count(*) from job where error ->> 'code' = 'task_crashed'
    union all
    select 'scores_reused', '', count(*) from task where reused;

-- Inserts and deletes are counted by statement, as they may touch many rows. Updates are counted by row and only if the state
-- changes, as most of them are heartbeats and progress.
create function count_new_jobs() returns trigger language plpgsql as $$
begin
    insert into tally_change (name, label, change) select 'jobs', status::text, count(*) from fresh group by status;
    return null;
end $$;

create function count_deleted_jobs() returns trigger language plpgsql as $$
begin
    insert into tally_change (name, label, change) select 'jobs', status::text, -count(*) from gone group by status;
    return null;
end $$;

create function count_changed_job() returns trigger language plpgsql as $$
begin
    insert into tally_change (name, label, change) values ('jobs', old.status::text, -1), ('jobs', new.status::text, 1);
    if new.error ->> 'code' = 'task_crashed' then
        insert into tally_change (name, label, change) values ('task_crashed', '', 1);
    end if;
    return null;
end $$;

create trigger count_new after insert on job
    referencing new table as fresh for each statement execute function count_new_jobs();
create trigger count_deleted after delete on job
    referencing old table as gone for each statement execute function count_deleted_jobs();
create trigger count_changed after update on job
    for each row when (old.status is distinct from new.status) execute function count_changed_job();

create function count_new_tasks() returns trigger language plpgsql as $$
begin
    insert into tally_change (name, label, change)
        select 'tasks_ready', kind::text, count(*) from fresh where state = 'ready' group by kind
        union all
        select 'scores_reused', '', count(*) from fresh where reused having count(*) > 0;
    return null;
end $$;

create function count_deleted_tasks() returns trigger language plpgsql as $$
begin
    insert into tally_change (name, label, change)
        select 'tasks_ready', kind::text, -count(*) from gone where state = 'ready' group by kind;
    return null;
end $$;

create function count_changed_task() returns trigger language plpgsql as $$
begin
    if old.state = 'ready' then
        insert into tally_change (name, label, change) values ('tasks_ready', old.kind::text, -1);
    elsif new.state = 'ready' then
        insert into tally_change (name, label, change) values ('tasks_ready', new.kind::text, 1);
    end if;
    if new.state = 'done' then
        insert into tally_change (name, label, change)
        values ('tasks_done', new.kind::text, 1),
               ('task_seconds', new.kind::text, coalesce(extract(epoch from new.finished_at - new.started_at), 0));
    end if;
    return null;
end $$;

create trigger count_new after insert on task
    referencing new table as fresh for each statement execute function count_new_tasks();
create trigger count_deleted after delete on task
    referencing old table as gone for each statement execute function count_deleted_tasks();
create trigger count_changed after update on task
    for each row when (old.state is distinct from new.state) execute function count_changed_task();

create function count_new_events() returns trigger language plpgsql as $$
begin
    insert into tally_change (name, label, change)
        select case kind when 'task_failed' then 'task_retried' else kind end, coalesce(detail ->> 'task', ''), count(*)
        from fresh
        where kind in ('task_started', 'task_rescued', 'task_released')
           or kind = 'task_failed' and detail ? 'again_in_seconds'
        group by 1, 2;
    return null;
end $$;

create trigger count_new after insert on event
    referencing new table as fresh for each statement execute function count_new_events();
