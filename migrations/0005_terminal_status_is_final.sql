-- A job that is done stays as it is, whatever a late writer tries. Only its references to inputs may still go.
create function refuse_change_of_done_job() returns trigger language plpgsql as $$
begin
    if (new.status, new.outcome, new.error, new.finished_at, new.last_event)
       is distinct from (old.status, old.outcome, old.error, old.finished_at, old.last_event) then
        raise exception 'job % is done (%) and does not change', old.id, old.status
            using errcode = 'check_violation', constraint = 'terminal_status_is_final';
    end if;
    return new;
end $$;

create trigger terminal_status_is_final before update on job
    for each row when (old.finished_at is not null) execute function refuse_change_of_done_job();
