"""Terminal and file output: progress, tables, pages, pictures."""
