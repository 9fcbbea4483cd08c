-- How many hits of a run leak, of how many queries, and how many queries then have fewer than N hits that are known.
SELECT
    coalesce(sum(h.left_out), 0) AS hits,
    count(*) FILTER (WHERE h.left_out > 0) AS queries,
    count(*) FILTER (WHERE h.known < %(n)s) AS undetermined
FROM hits_without(%(run_id)s, %(same_patient)s, %(within)s) AS h;
