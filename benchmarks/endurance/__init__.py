"""Files that many processes use and in which each of them is killed."""
