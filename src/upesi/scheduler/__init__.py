"""What may be sent now: shards, ready queues, retry schedule, limits, fairness, hold, suspend. It knows no network."""
