"""Quality components, advice on how to improve a score, and which faces to score first under load."""
