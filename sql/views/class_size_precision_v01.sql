-- class_size_precision: P@N of each class beside the number of its index images, one row per run, class and N.
-- Denner et al. 2024, figure 3 A is n = 1: classes with more index images have a higher P@1. kind is pathology or
-- anatomy; fractions in [0, 1]. Classes are those with a query.
CREATE VIEW class_size_precision AS
SELECT
    p.run_id,
    p.label_id,
    l.name AS class,
    l.kind,
    p.index_images,
    p.n,
    p.queries,
    p.precision
FROM precision_class AS p
INNER JOIN label AS l ON l.label_id = p.label_id;
