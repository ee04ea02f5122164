-- The pool, for people to look at: one row per worker process. Nothing is decided by it; leases decide.
create table worker (
    id uuid primary key,
    host text not null,
    pid integer not null check (pid > 0),
    device text not null,
    version text not null,
    started_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    stopped_at timestamptz
);

create index worker_live on worker (seen_at) where stopped_at is null;
