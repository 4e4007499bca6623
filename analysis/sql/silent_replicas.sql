-- Replicas that others name and that sent neither steps nor metrics; one row without a name when there are none.
WITH known AS (
    SELECT DISTINCT dst AS replica FROM edges WHERE dst LIKE 'replica:%'
    UNION
    SELECT DISTINCT replica FROM requests WHERE replica IS NOT NULL AND arrival_ns >= $start_ns AND arrival_ns < $end_ns
),
heard AS (
    SELECT DISTINCT replica FROM steps WHERE start_ns >= $start_ns AND start_ns < $end_ns
    UNION
    SELECT DISTINCT entity AS replica FROM series WHERE entity LIKE 'replica:%'
),
counted AS (SELECT CAST(count(*) AS DOUBLE) AS replicas FROM known)
SELECT
    c.replicas,                                                          -- replicas known
    k.replica                                                            -- one that is silent
FROM counted c
LEFT JOIN known k ON k.replica NOT IN (SELECT replica FROM heard WHERE replica IS NOT NULL)
ORDER BY k.replica
