"""How a release is cited: `CITATION.cff`, version 1.2.0 of the format.

In: variant and step. Out: the file's text. It is its own file because its schema is another project's
(https://github.com/citation-file-format/citation-file-format), and it says what the software knows: not who trained the weights.
"""

from __future__ import annotations

import yaml

from surgrec import __version__

_PAPER = {
    "type": "article",
    "title": "Scaling Video Pretraining for Surgical Foundation Models",
    "year": 2026,
    "url": "https://arxiv.org/abs/2603.29966",
    "identifiers": [{"type": "other", "value": "arXiv:2603.29966"}],
    "authors": [{"name": "Sicheng Lu et al."}],
}


def citation(variant: str, step: int) -> str:
    """The text of `CITATION.cff`."""
    content = {
        "cff-version": "1.2.0",
        "message": "Cite whoever trained these weights (unknown to the software), and the software and paper below.",
        "title": f"SurgRec-{variant.upper()} weights, step {step}",
        "type": "dataset",
        "authors": [{"name": "unknown"}],
        "references": [
            {
                "type": "software",
                "title": "surgrec: self-supervised video pretraining on surgical footage",
                "version": __version__,
                "authors": [{"name": "The surgrec authors"}],
            },
            _PAPER,
        ],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
