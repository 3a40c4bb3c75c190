"""The miniature's recipes, as tables that `pyproject.toml` registers."""
