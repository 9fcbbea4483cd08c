-- How much the database holds: images, encoders, runs, and files or rows that were rejected.
SELECT
    (SELECT count(*) FROM medcbir.image) AS images,
    (SELECT count(*) FROM medcbir.encoder) AS encoders,
    (SELECT count(*) FROM medcbir.run) AS runs,
    (SELECT count(*) FROM medcbir.rejected) AS rejected;
