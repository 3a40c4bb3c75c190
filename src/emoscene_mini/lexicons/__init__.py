"""The miniature's lexicons, as tables that `pyproject.toml` registers."""
