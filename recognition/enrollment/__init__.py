"""Who can be named: people and their pictures in one file, and what is wrong with them."""
