"""One self-contained HTML page per study: table, curves, pictures, configurations and cost, without a network."""
