"""Methods and degradations that were compared while facegate was made; not part of installed wheels."""
