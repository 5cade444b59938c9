"""The gate: which faces are forwarded. Pure logic, time as an argument, no I/O; one small class per policy."""
