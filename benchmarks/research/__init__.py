"""Questions about the score, a module each: what docs/findings.md says, anybody can make again."""
