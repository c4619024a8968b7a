"""How fast Mycelia is, next to what else there is. `make bench`; README.md says how to read it."""
