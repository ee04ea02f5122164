-- Who owns what: every model, image set and job belongs to a tenant, and is seen with one of its keys alone. `local` is who asks
-- without a key where none is needed, and owns what was there before there were tenants.
create table tenant (
    name text primary key check (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    created_at timestamptz not null default now()
);

insert into tenant (name) values ('local');

-- The default is for the rows that are there. It goes at once: a statement that names no tenant is to fail.
alter table model add column tenant text not null default 'local' references tenant;
alter table image_set add column tenant text not null default 'local' references tenant;
alter table job add column tenant text not null default 'local' references tenant;
alter table idempotency_key add column tenant text not null default 'local' references tenant;
alter table model alter column tenant drop default;
alter table image_set alter column tenant drop default;
alter table job alter column tenant drop default;
alter table idempotency_key alter column tenant drop default;

-- The same bytes are the same model within a tenant. Of another's nothing shows, not even that it is there: its scores neither, as
-- they belong to the model. The bytes themselves are kept once.
alter table model drop constraint model_sha256_key;
alter table model add constraint same_bytes_are_one_model unique (tenant, sha256);
create index model_by_blob on model (sha256);

-- Lists, newest first.
create index model_of_tenant on model (tenant, id);
create index image_set_of_tenant on image_set (tenant, id);
create index job_of_tenant on job (tenant, id);

-- When a job of a tenant was last begun: a claim lets tenants take turns by it.
create index job_begun on job (tenant, started_at);

-- A customer's Idempotency-Key says nothing about another's.
alter table idempotency_key drop constraint idempotency_key_pkey;
alter table idempotency_key add primary key (tenant, route, key);

create type key_scope as enum ('read', 'write', 'admin');

-- A key is shown once, when it is made. It is 256 random bits, so whoever reads its hash here cannot guess it: a hash that is slow on
-- purpose is for passwords. A revoked one stays, so that a list tells what there was.
create table api_key (
    id uuid primary key,
    tenant text not null references tenant,
    sha256 text not null unique check (sha256 ~ '^[0-9a-f]{64}$'),
    scopes key_scope[] not null check (cardinality(scopes) > 0),
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
