"""Consoles of other hosts, shown by this one."""
