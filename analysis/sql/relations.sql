-- The typed relations between entities.
SELECT
    src,                    -- entity the relation starts from
    dst,                    -- entity it points at
    kind,                   -- calls, routes_to, syncs_kv, ...
    sum(count) AS times     -- how often it was seen
FROM edges
GROUP BY src, dst, kind
ORDER BY src, dst, kind
