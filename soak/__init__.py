"""Long and hostile runs against a server in a process of its own; see README.md."""
