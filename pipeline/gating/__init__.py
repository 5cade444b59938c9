"""The gate: which faces are let through. Pure logic, time as an argument, no I/O; one small class per policy."""
