"""Who is known: the gallery and the unknown visitors, as the pages need them."""
