"""Latency of networks and exported files on this machine, all in turns, so that what drifts hits every row alike."""
