-- hits_without: the hits of a run without those that show what the query shows by their origin, one row per labelled
-- query; the hits after them move up. Left out are images of the query's patient where same_patient, and where within
-- is given those that have its decoded pixels or lie within that cosine distance of it (what is near depends on the
-- encoder). relevant counts the index images of its class that the query may then retrieve: those that leak by patient
-- or pixels are known from the catalogue as it is now, those by distance from the hits, of which they are the first.
-- hit_label_ids are the classes of what stays, left_out counts what does not. known is how many ranks are certain: all
-- of the run's, or as many as stay where the run kept N hits and further ones are not known.
CREATE FUNCTION hits_without(of_run_id integer, same_patient boolean, within double precision)
RETURNS TABLE (query_id bigint, relevant integer, hit_label_ids integer[], left_out integer, known integer)
LANGUAGE sql
STABLE
PARALLEL SAFE
ROWS 1000
SET search_path FROM CURRENT
AS $$
    WITH asked AS MATERIALIZED (
        SELECT
            q.query_id, q.label_id, q.relevant, q.hit_ids, q.hit_distances, q.hit_label_ids,
            i.patient_id, i.pixel_sha256, i.study_uid
        FROM run_query AS q
        INNER JOIN image AS i ON i.image_id = q.query_id
        WHERE q.run_id = of_run_id AND q.label_id IS NOT NULL
    ),

    leaking AS MATERIALIZED (
        SELECT a.query_id, o.image_id
        FROM asked AS a
        INNER JOIN image AS o ON o.patient_id = a.patient_id AND o.image_id <> a.query_id
        WHERE hits_without.same_patient
        UNION
        SELECT a.query_id, o.image_id
        FROM asked AS a
        INNER JOIN image AS o ON o.pixel_sha256 = a.pixel_sha256 AND o.image_id <> a.query_id
        WHERE within IS NOT NULL
    ),

    -- how many of them the query could retrieve: images of its class among its hits, or in the index and not excluded
    possible AS (
        SELECT k.query_id, count(*) AS images
        FROM leaking AS k
        INNER JOIN asked AS a ON a.query_id = k.query_id
        INNER JOIN image_label AS c ON c.image_id = k.image_id AND c.label_id = a.label_id
        INNER JOIN label AS l ON l.label_id = c.label_id
        INNER JOIN image AS o ON o.image_id = k.image_id
        INNER JOIN dataset AS d ON d.dataset_id = o.dataset_id
        INNER JOIN run AS r ON r.run_id = of_run_id
        CROSS JOIN LATERAL jsonb_to_record(r.index_filter) AS f (
            dataset text, datasets jsonb, modality text, region text, split text, finding text, named text
        )
        WHERE
            NOT EXISTS (SELECT FROM image_label AS e WHERE e.image_id = c.image_id AND e.label_id <> c.label_id)
            AND (
                k.image_id = any(a.hit_ids)
                OR (
                    EXISTS (SELECT FROM embedding AS b WHERE b.encoder_id = r.encoder_id AND b.image_id = k.image_id)
                    AND NOT (r.exclude_same_patient AND coalesce(o.patient_id = a.patient_id, false))
                    AND NOT (r.exclude_same_study AND coalesce(o.study_uid = a.study_uid, false))
                    AND NOT (r.exclude_duplicates AND coalesce(o.pixel_sha256 = a.pixel_sha256, false))
                    AND (f.dataset IS NULL OR d.name = f.dataset)
                    AND (f.datasets IS NULL OR f.datasets ? d.name)
                    AND (f.modality IS NULL OR o.modality = f.modality)
                    AND (f.region IS NULL OR o.region = f.region)
                    AND (f.split IS NULL OR o.split = f.split)
                    AND (f.finding IS NULL OR l.finding = f.finding)
                    AND (
                        f.named IS NULL
                        OR EXISTS (SELECT FROM filtered_image AS n WHERE n.filter = f.named AND n.image_id = o.image_id)
                    )
                )
            )
        GROUP BY k.query_id
    ),

    stays AS (
        SELECT
            a.query_id, a.label_id, a.relevant - coalesce(p.images, 0) AS relevant, cardinality(a.hit_ids) AS hits,
            h.hit_label_ids, h.near_relevant
        FROM asked AS a
        LEFT JOIN (SELECT k.query_id, array_agg(k.image_id) AS image_ids FROM leaking AS k GROUP BY k.query_id) AS g
            ON g.query_id = a.query_id
        LEFT JOIN possible AS p ON p.query_id = a.query_id
        CROSS JOIN LATERAL (
            SELECT a.hit_label_ids, 0 AS near_relevant
            WHERE NOT coalesce(a.hit_ids && g.image_ids, false) AND NOT coalesce(a.hit_distances[1] <= within, false)
            UNION ALL
            SELECT
                coalesce(array_agg(u.label_id ORDER BY u.rank) FILTER (WHERE NOT u.leaks AND NOT u.near), '{}'),
                count(*) FILTER (WHERE u.near AND NOT u.leaks AND u.label_id = a.label_id)
            FROM (
                SELECT
                    t.label_id, t.rank,
                    coalesce(t.image_id = any(g.image_ids), false) AS leaks,
                    coalesce(t.distance <= within, false) AS near
                FROM unnest(a.hit_ids, a.hit_distances, a.hit_label_ids)
                    WITH ORDINALITY AS t (image_id, distance, label_id, rank)
            ) AS u
            HAVING coalesce(a.hit_ids && g.image_ids, false) OR coalesce(a.hit_distances[1] <= within, false)
        ) AS h
    )

    SELECT
        s.query_id,
        greatest(s.relevant - s.near_relevant, 0)::integer,
        s.hit_label_ids,
        s.hits - cardinality(s.hit_label_ids),
        CASE WHEN s.hits < r.n THEN r.n ELSE cardinality(s.hit_label_ids) END
    FROM stays AS s
    INNER JOIN run AS r ON r.run_id = of_run_id
$$;
