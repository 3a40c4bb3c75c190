"""Where pictures come from: one file, one source."""
