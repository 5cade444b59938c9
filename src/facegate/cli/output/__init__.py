"""What people see: progress, tables, pages, pictures."""
