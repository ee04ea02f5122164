-- A tiny set of images, kept as one archive; labels given apart are a blob of their own. Without labels `labels` is null
-- although the archive itself may hold a labels.csv.
create table image_set (
    id uuid primary key,
    sha256 text not null references blob,
    labels_sha256 text references blob,
    size bigint not null check (size > 0),
    created_at timestamptz not null default now()
);

-- What was accepted, in the order in which jobs see it.
create table image_set_image (
    image_set uuid not null references image_set on delete cascade,
    position integer not null check (position >= 0),
    name text not null,
    width integer not null check (width > 0),
    height integer not null check (height > 0),
    label integer,
    primary key (image_set, position),
    unique (image_set, name)
);

-- What was refused, each with its reason.
create table image_set_refusal (
    image_set uuid not null references image_set on delete cascade,
    position integer not null check (position >= 0),
    name text not null,
    reason text not null,
    primary key (image_set, position)
);

-- From a blob to its owners, when one is to be deleted.
create index image_set_by_blob on image_set (sha256);
create index image_set_by_labels on image_set (labels_sha256);
