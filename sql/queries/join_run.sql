-- One more process works on an unfinished run; it exports the same snapshot.
UPDATE unfinished_run
SET
    snapshots = snapshots || %(snapshot)s::text,
    workers = workers || %(worker)s::integer
WHERE run_id = %(run_id)s;
