-- One report per succeeded job, written in the transaction that ends it. `json`, not `jsonb`: the customer gets the
-- fields in the order in which the report is documented.
create table report (
    job uuid primary key references job on delete cascade,
    body json not null,
    created_at timestamptz not null default now()
);

-- Files that a customer downloads.
create table artifact (
    job uuid not null references job on delete cascade,
    name text not null check (name ~ '^[A-Za-z0-9_.-]+$'),
    media_type text not null,
    sha256 text not null references blob,
    size bigint not null check (size >= 0),
    primary key (job, name)
);

create index artifact_by_blob on artifact (sha256);
