-- leaked_hit: hits of a run that show what the query shows by their origin, not by likeness of disease. One row per hit
-- that is of the query's patient (same_patient), has its decoded pixels (same_pixels), or lies within the cosine
-- distance `within` of it (near_duplicate; what is near depends on the encoder). Without a patient or pixels: false.
CREATE FUNCTION leaked_hit(of_run_id integer, within double precision DEFAULT 0.01)
RETURNS TABLE (
    query_id bigint,
    rank integer,
    image_id bigint,
    distance double precision,
    same_patient boolean,
    same_pixels boolean,
    near_duplicate boolean
)
LANGUAGE sql STABLE
SET search_path FROM CURRENT
AS $$
SELECT f.*
FROM (
    SELECT
        h.query_id,
        h.rank,
        h.image_id,
        h.distance,
        coalesce(q.patient_id = i.patient_id, false) AS same_patient,
        coalesce(q.pixel_sha256 = i.pixel_sha256, false) AS same_pixels,
        h.distance <= within AS near_duplicate
    FROM hit AS h
    INNER JOIN image AS q ON q.image_id = h.query_id
    INNER JOIN image AS i ON i.image_id = h.image_id
    WHERE h.run_id = of_run_id
) AS f
WHERE f.same_patient OR f.same_pixels OR f.near_duplicate
$$;
