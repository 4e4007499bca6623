-- Changes to the fleet that somebody or something made, as the change log has them. Alerts, notes and health flips are none.
SELECT
    ts_ns,                          -- when
    kind,                           -- deploy, config_change, scale, failover, rebalance, load_shed, ...
    COALESCE(entity, '') AS entity, -- entity it happened to
    COALESCE(summary, '') AS summary  -- the change log's line
FROM events
WHERE ts_ns >= $start_ns AND ts_ns < $end_ns AND kind NOT IN ('run', 'alert', 'note', 'health')
ORDER BY ts_ns, kind, entity, summary
