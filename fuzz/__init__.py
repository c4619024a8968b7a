"""Fuzz targets, and how they are run; see README.md."""
