-- Lists of a tenant's jobs by status, by model, and by both, newest first: each is a range of one of these.
create index job_by_status on job (tenant, status, id);
drop index job_by_model;
create index job_by_model on job (tenant, model, id);
-- It has its nulls, of which there are none, at the other end: so the order of a list by both is that of no other index, and the
-- planner has no choice (`db::page`).
create index job_by_model_and_status on job (tenant, model, status, id nulls first);

-- A tenant's queued jobs in the order in which they come up, for each priority: positions in the queue, and the cap on queued jobs.
drop index job_queued;
create index job_queued on job (tenant, priority, created_at, id) where status = 'queued';

-- Jobs that are to be ended, among all that wait or run. One index for both reasons: one of cancelled jobs alone would be empty, and
-- the first cancellation would need a page for it, which a full disk does not have.
create index job_by_end on job (least(deadline, cancel_requested_at)) where finished_at is null;

-- Whether a worker has finished a task.
create index task_done_by on task (worker) where state = 'done';

-- How many images and refused files a set has, counted once when it comes in.
alter table image_set
    add column images integer not null default 0 check (images >= 0),
    add column labelled integer not null default 0 check (labelled between 0 and images),
    add column refused integer not null default 0 check (refused >= 0);
update image_set
    set images = (select count(*) from image_set_image where image_set = id),
        labelled = (select count(label) from image_set_image where image_set = id),
        refused = (select count(*) from image_set_refusal where image_set = id);
