"""What another gate would have done, decided again from what was recorded."""
