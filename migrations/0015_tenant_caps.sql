-- How much a tenant may have at once: tasks that run, and jobs that wait. They are here and not in some process's settings, so that
-- workers on every host go by the same ones, and a change counts from the next claim on. None at all lets a tenant rest.
alter table tenant
    add column max_running integer check (max_running >= 0),
    add column max_queued integer check (max_queued >= 0);

-- What counts for a tenant whose own row says nothing; null is no cap. One row.
create table usual_caps (
    single boolean primary key default true check (single),
    max_running integer check (max_running >= 1),
    max_queued integer check (max_queued >= 1)
);

insert into usual_caps default values;

-- What counts for each tenant. Subqueries, not a join: PostgreSQL then knows that it is one row, before it has counted any.
create view tenant_caps as
    select name as tenant,
           coalesce(max_running, (select usual_caps.max_running from usual_caps)) as max_running,
           coalesce(max_queued, (select usual_caps.max_queued from usual_caps)) as max_queued
    from tenant;

-- How many jobs of a tenant wait.
create index job_queued on job (tenant) where status = 'queued';
