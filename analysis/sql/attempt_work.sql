-- How many attempts came and what engine time they cost, by arrival: first attempts alone, and all. What no replica has run
-- has no cost yet.
SELECT
    CAST(floor((arrival_ns - $start_ns) / $bin_ns) AS BIGINT) AS bin,                     -- bin of the window
    CAST(sum(CASE WHEN COALESCE(attempt, 1) = 1 THEN 1 ELSE 0 END) AS DOUBLE) AS fresh,   -- first attempts
    CAST(sum(CASE WHEN COALESCE(attempt, 1) = 1 AND busy_ns > 0 THEN 1 ELSE 0 END) AS DOUBLE) AS fresh_ran,   -- that were run
    CAST(sum(CASE WHEN COALESCE(attempt, 1) = 1 AND busy_ns > 0 THEN busy_ns ELSE 0 END) AS DOUBLE) AS fresh_ns,  -- their cost
    CAST(count(*) AS DOUBLE) AS attempts,                                                 -- attempts
    CAST(sum(CASE WHEN busy_ns > 0 THEN 1 ELSE 0 END) AS DOUBLE) AS attempts_ran,         -- that were run
    CAST(sum(CASE WHEN busy_ns > 0 THEN busy_ns ELSE 0 END) AS DOUBLE) AS attempts_ns     -- their cost
FROM requests
WHERE arrival_ns >= $start_ns AND arrival_ns < $end_ns
GROUP BY 1
ORDER BY 1
