"""Names to objects: registries, entry points, scopes, dotted names."""
