"""Running a benchmark: a plan of cells, features kept by content, one file for each finished cell, results made of them.

Read `run` first: one page is the whole benchmark.
"""
