-- Bytes live in Postgres, by their hash: models, image archives, a task's intermediate students, artifacts.
-- So a committed answer is a durable one, one backup holds all, and a worker on another host needs nothing but
-- DATABASE_URL. The same bytes are kept once, whoever owns them.
create table blob (
    sha256 text primary key check (sha256 ~ '^[0-9a-f]{64}$'),
    size bigint not null check (size >= 0),
    created_at timestamptz not null default now()
);

-- 1 MiB a row, so that neither side ever holds more than that of a download in memory.
create table blob_chunk (
    sha256 text not null references blob on delete cascade,
    position integer not null check (position >= 0),
    bytes bytea not null check (octet_length(bytes) between 1 and 1048576),
    primary key (sha256, position)
);

-- Weights and images do not compress: out of line and as they are.
alter table blob_chunk alter column bytes set storage external;
