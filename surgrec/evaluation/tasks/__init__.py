"""The benchmark's tasks: what is classified, on which clips or operations, with which splits.

Read first: `task` (the types), then `adapters/cholec80` (the shortest way from an archive to a task).
"""
