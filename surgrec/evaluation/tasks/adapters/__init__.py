"""One small file a dataset: from its official archive to tasks. `surgrec.evaluation.tasks.catalog` names them all."""
