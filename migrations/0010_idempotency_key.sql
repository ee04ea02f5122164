-- The answer to a POST that carried an Idempotency-Key. The row commits with the resource, so a repeated POST finds both
-- or neither. `request_sha256` tells the same request from another one under the same key.
create table idempotency_key (
    route text not null,
    key text not null check (length(key) between 1 and 255),
    request_sha256 text not null check (request_sha256 ~ '^[0-9a-f]{64}$'),
    status integer not null check (status between 200 and 299),
    location text,
    body json not null,
    created_at timestamptz not null default now(),
    primary key (route, key)
);

create index idempotency_key_age on idempotency_key (created_at);
