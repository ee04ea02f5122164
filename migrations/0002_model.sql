-- An uploaded network. The same bytes are the same model. `analysis` is what was found at upload (inputs, outputs,
-- blocks with the reasons), so that listing and checking a job never decodes the file again.
create table model (
    id uuid primary key,
    sha256 text not null unique references blob,
    name text,
    size bigint not null check (size > 0),
    analysis jsonb not null,
    created_at timestamptz not null default now()
);
