-- What a job may be computed on: `cpu`, `cuda`, `cuda:N`, or a part of a GPU's name; null takes any. A worker says what it has.
alter table job add column device text check (length(device) between 1 and 64);
alter table worker add column device_name text;
