-- Images that the batch may change, locked before it reads them: a writer of vectors is either done or waits.
SELECT i.image_id
FROM incoming AS n
INNER JOIN dataset AS d ON n.dataset = d.name
INNER JOIN image AS i ON d.dataset_id = i.dataset_id AND n.uri = i.uri
ORDER BY i.image_id
FOR NO KEY UPDATE OF i;
