"""Many models side by side: sweeps, the benchmark, audits of other tools, and experiments."""
