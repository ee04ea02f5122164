-- Bytes are kept once within a tenant and apart between tenants: an upload of bytes that another tenant has stores them like any
-- other upload, so its duration does not reveal that they are there. The price is disk space for files that tenants share. A row
-- can only name bytes of its own tenant.
alter table blob add column tenant text references tenant;
alter table blob_chunk add column tenant text;
alter table task_blob add column tenant text;
alter table artifact add column tenant text;

update task_blob set tenant = job.tenant from task join job on job.id = task.job where task.id = task_blob.task;
update artifact set tenant = job.tenant from job where job.id = artifact.job;

alter table model drop constraint model_sha256_fkey;
alter table image_set drop constraint image_set_sha256_fkey, drop constraint image_set_labels_sha256_fkey;
alter table task_blob drop constraint task_blob_sha256_fkey;
alter table artifact drop constraint artifact_sha256_fkey;
alter table blob_chunk drop constraint blob_chunk_sha256_fkey, drop constraint blob_chunk_pkey;
alter table blob drop constraint blob_pkey;

-- The first owner takes the stored bytes over, which copies none of them; each further one gets a copy.
create temporary table owner on commit drop as
    select sha256, tenant, row_number() over (partition by sha256 order by tenant) as place
    from (select sha256, tenant from model
          union select sha256, tenant from image_set
          union select labels_sha256, tenant from image_set where labels_sha256 is not null
          union select sha256, tenant from task_blob
          union select sha256, tenant from artifact) as owned;

update blob set tenant = owner.tenant from owner where owner.sha256 = blob.sha256 and owner.place = 1;
update blob_chunk set tenant = owner.tenant from owner where owner.sha256 = blob_chunk.sha256 and owner.place = 1;
delete from blob_chunk where tenant is null;
delete from blob where tenant is null;
insert into blob_chunk (tenant, sha256, position, bytes)
    select owner.tenant, sha256, position, bytes from owner join blob_chunk using (sha256) where place > 1;
insert into blob (tenant, sha256, size, created_at)
    select owner.tenant, sha256, size, created_at from owner join blob using (sha256) where place > 1;

alter table blob add primary key (tenant, sha256);
alter table blob_chunk alter column tenant set not null, add primary key (tenant, sha256, position),
    add foreign key (tenant, sha256) references blob on delete cascade;
alter table task_blob alter column tenant set not null;
alter table artifact alter column tenant set not null;
alter table model add constraint model_blob_fkey foreign key (tenant, sha256) references blob;
alter table image_set
    add constraint image_set_blob_fkey foreign key (tenant, sha256) references blob,
    add constraint image_set_labels_fkey foreign key (tenant, labels_sha256) references blob;
alter table task_blob add constraint task_blob_blob_fkey foreign key (tenant, sha256) references blob;
alter table artifact add constraint artifact_blob_fkey foreign key (tenant, sha256) references blob;

-- From a blob to its owners. `same_bytes_are_one_model` leads from one to its model.
drop index model_by_blob, image_set_by_blob, image_set_by_labels, task_blob_by_blob, artifact_by_blob;
create index image_set_by_blob on image_set (tenant, sha256);
create index image_set_by_labels on image_set (tenant, labels_sha256);
create index task_blob_by_blob on task_blob (tenant, sha256);
create index artifact_by_blob on artifact (tenant, sha256);
