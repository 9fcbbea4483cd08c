-- The encoder that has vectors by this recipe. Its checkpoint may have come as a file of another name: what the file
-- holds is told by its digest. Where two rows differ in that name alone, the one of the recipe's own digest is meant.
SELECT name
FROM encoder
WHERE
    retired_at IS NULL
    AND recipe #- '{checkpoint,file}' = %(recipe)s #- '{checkpoint,file}'
ORDER BY recipe_sha256 = %(recipe_sha256)s DESC, encoder_id
LIMIT 1;
