"""Questions about the score, a module each: what docs/research/findings.md says, anybody can make again."""
