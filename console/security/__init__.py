"""Access control: accounts, sessions, tokens and checks of every request."""
