"""A ledger of every number in the original's README: reproduced, contradicted, or not testable here."""
