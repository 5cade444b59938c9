"""Who may come in, and what comes in from them."""
