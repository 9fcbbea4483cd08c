-- evaluation: micro and macro averages of every metric, over a run, within the groups of a facet, or of two.
-- One row per run, metric, facet, group, second facet and group, average, N and possible_only. A facet is class, kind
-- (pathology or anatomy), modality, region, dataset, or all for the whole run; second_facet is all for single facets.
-- micro is the mean over the group's queries, std their sample standard deviation; macro is the mean over its classes
-- of the class's mean, std the mean over classes of the standard deviation within, leaving out classes with one value:
-- Denner et al. 2024, section 2.4, and its published code. index_images counts the index images of the group's classes.
-- undefined counts queries (macro: classes of only such) without a possible relevant image or without a value; values
-- that are NULL are left out of averages, and with possible_only all queries without a possible relevant image.
-- Pooled: squares about a mean of means are the parts' own and those of the parts' means (Chan et al. 1983).
CREATE VIEW evaluation AS
WITH cell AS (
    SELECT
        c.run_id,
        c.metric,
        c.n,
        s.possible_only,
        f.facet,
        f.group_name,
        g.facet AS second_facet,
        g.group_name AS second_group,
        c.label_id,
        k.index_images,
        c.queries,
        c.defined,
        CASE WHEN c.possible THEN c.queries - c.defined ELSE c.queries END AS undefined,
        c.mean,
        c.squares,
        sum(c.mean * c.defined) OVER of_class / nullif(sum(c.defined) OVER of_class, 0) AS class_mean,
        sum(c.mean * c.defined) OVER of_group / nullif(sum(c.defined) OVER of_group, 0) AS group_mean
    FROM evaluation_cell AS c
    INNER JOIN label AS l ON l.label_id = c.label_id
    INNER JOIN dataset AS d ON d.dataset_id = c.dataset_id
    LEFT JOIN run_class AS k ON k.run_id = c.run_id AND k.label_id = c.label_id
    INNER JOIN (VALUES (false), (true)) AS s (possible_only) ON c.possible OR NOT s.possible_only
    CROSS JOIN
        LATERAL (
            VALUES
            ('all', 'all'),
            ('class', l.name),
            ('kind', l.kind),
            ('modality', l.modality),
            ('region', l.region),
            ('dataset', d.name)
        ) AS f (facet, group_name)
    INNER JOIN
        LATERAL (
            VALUES
            ('all', 'all'),
            ('class', l.name),
            ('kind', l.kind),
            ('modality', l.modality),
            ('region', l.region),
            ('dataset', d.name)
        ) AS g (facet, group_name)
        ON g.facet = 'all' OR (f.facet <> 'all' AND f.facet <> g.facet)
    WINDOW
        of_group AS (
            PARTITION BY c.run_id, c.metric, c.n, s.possible_only, f.facet, f.group_name, g.facet, g.group_name
        ),
        of_class AS (
            PARTITION BY
                c.run_id, c.metric, c.n, s.possible_only, f.facet, f.group_name, g.facet, g.group_name, c.label_id
        )
),

class AS (
    SELECT
        run_id,
        metric,
        n,
        possible_only,
        facet,
        group_name,
        second_facet,
        second_group,
        coalesce(min(index_images), 0) AS index_images,
        sum(queries) AS queries,
        sum(defined) AS defined,
        sum(undefined) AS undefined,
        min(class_mean) AS class_mean,
        min(group_mean) AS group_mean,
        sum(squares + defined * (mean - class_mean) ^ 2) AS squares_about_class,
        sum(squares + defined * (mean - group_mean) ^ 2) AS squares_about_group
    FROM cell
    GROUP BY run_id, metric, n, possible_only, facet, group_name, second_facet, second_group, label_id
)

SELECT
    c.run_id,
    c.metric,
    c.possible_only,
    c.facet,
    c.group_name,
    c.second_facet,
    c.second_group,
    a.average,
    c.n,
    c.queries,
    c.classes,
    c.index_images,
    a.undefined,
    a.value,
    a.std
FROM (
    SELECT
        run_id,
        metric,
        n,
        possible_only,
        facet,
        group_name,
        second_facet,
        second_group,
        sum(queries)::integer AS queries,
        count(*)::integer AS classes,
        sum(index_images)::integer AS index_images,
        sum(undefined)::integer AS undefined_queries,
        (count(*) FILTER (WHERE undefined = queries))::integer AS undefined_classes,
        min(group_mean) AS micro,
        sqrt(sum(squares_about_group) / nullif(greatest(sum(defined) - 1, 0), 0)) AS micro_std,
        avg(class_mean) AS macro,
        avg(sqrt(squares_about_class / nullif(greatest(defined - 1, 0), 0))) AS macro_std
    FROM class
    GROUP BY run_id, metric, n, possible_only, facet, group_name, second_facet, second_group
) AS c
CROSS JOIN
    LATERAL (
        VALUES
        ('micro', c.micro, c.micro_std, c.undefined_queries),
        ('macro', c.macro, c.macro_std, c.undefined_classes)
    ) AS a (average, value, std, undefined);
