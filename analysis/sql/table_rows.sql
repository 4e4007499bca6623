-- How many rows each table has, so that what is missing can be said.
SELECT t.name, t.rows
FROM (
    SELECT 'requests' AS name, count(*) AS rows FROM requests  -- name of the table, its rows
    UNION ALL SELECT 'steps' AS name, count(*) AS rows FROM steps
    UNION ALL SELECT 'samples' AS name, count(*) AS rows FROM samples
    UNION ALL SELECT 'edges' AS name, count(*) AS rows FROM edges
    UNION ALL SELECT 'events' AS name, count(*) AS rows FROM events
    UNION ALL SELECT 'rejects' AS name, count(*) AS rows FROM rejects
) t
ORDER BY t.name
