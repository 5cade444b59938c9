"""Commands about cameras: finding and probing them."""
