"""Where images come from: one file, one source."""
