"""The miniature's bases, as tables that `pyproject.toml` registers."""
