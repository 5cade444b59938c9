"""Search by face: visits whose template fits, and the index of templates."""
