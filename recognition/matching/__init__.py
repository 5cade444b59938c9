"""Who a face belongs to: templates, and from which score on a name is worth its promise."""
