"""The report on a corpus: one page that says what is in it, what was found, and what nobody has looked at."""
