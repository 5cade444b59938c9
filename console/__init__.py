"""The console: one command that watches, recognises, keeps and shows. It holds no truth of its own."""
