"""A recipe without get_config()."""
