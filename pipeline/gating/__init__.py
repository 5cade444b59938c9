"""The gate: which faces are scored and forwarded. Pure logic, time as an argument; one small class per policy."""
