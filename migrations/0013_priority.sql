-- Which jobs go first. Waiting raises a job class by class (`jobs::AGEING`), so that a low one comes late and not never.
create type job_priority as enum ('low', 'normal', 'high');

alter table job add column priority job_priority not null default 'normal';

-- A claim looks at every job that is not done, with how many of its tasks run (`task_of_worker` has those), and then at the tasks
-- of the first one alone: it costs the same whether a job has ten tasks left or thousands.
create index task_live on task (job, kind, id) where state in ('ready', 'running');
