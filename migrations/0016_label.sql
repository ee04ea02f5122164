-- A label is a class number. Numbers beyond 2147483647 were taken and wrapped to negative ones; what they were is in the labels file.
update image_set_image set label = null where label < 0;
alter table image_set_image add constraint label_is_a_class check (label >= 0);
