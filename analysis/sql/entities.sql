-- Every entity that telemetry names.
SELECT DISTINCT t.entity  -- kind:name
FROM (
    SELECT entity FROM series WHERE entity IS NOT NULL
    UNION ALL SELECT replica AS entity FROM requests WHERE replica IS NOT NULL
    UNION ALL SELECT gateway AS entity FROM requests WHERE gateway IS NOT NULL
    UNION ALL SELECT 'cohort:' || COALESCE(cohort, 'all') AS entity FROM requests
    UNION ALL SELECT DISTINCT replica AS entity FROM steps WHERE replica IS NOT NULL
    UNION ALL SELECT src AS entity FROM edges
    UNION ALL SELECT dst AS entity FROM edges
    UNION ALL SELECT entity FROM events WHERE entity IS NOT NULL
) t
ORDER BY t.entity
