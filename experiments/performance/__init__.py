"""The table of the bench, with what the original's README says of speed beside it."""
