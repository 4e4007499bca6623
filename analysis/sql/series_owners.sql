-- The metric series of known signals, with labels.
SELECT
    series_id,                      -- the series
    signal,                         -- canonical signal
    entity,                         -- the entity that sent it
    labels                          -- its labels
FROM series
WHERE signal IS NOT NULL
ORDER BY series_id
