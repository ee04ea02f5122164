-- What happened to a job, numbered from 1 without a gap; the last one of a done job is its end.
create table event (
    job uuid not null references job on delete cascade,
    seq bigint not null check (seq >= 1),
    kind text not null,
    detail jsonb not null default '{}',
    created_at timestamptz not null default now(),
    primary key (job, seq)
);
