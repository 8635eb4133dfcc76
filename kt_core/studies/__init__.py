"""Many models side by side: sweeps, the benchmark, and audits of other tools' estimates."""
