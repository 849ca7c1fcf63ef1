"""Config files: read, merged, compared, written."""
