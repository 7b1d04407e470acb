"""All protocols by the name that stands beside their numbers.

In: a name. Out: the protocol with its own settings. It is its own file because a table is made of names, and those in a configuration and
in a report must be the same.
"""

from __future__ import annotations

from surgrec.evaluation.protocols.attentive import Attentive
from surgrec.evaluation.protocols.dense import DenseProtocol
from surgrec.evaluation.protocols.dense_trivial import DenseMajority
from surgrec.evaluation.protocols.frame_linear import FrameLinear
from surgrec.evaluation.protocols.held_out import FrozenProtocol
from surgrec.evaluation.protocols.knn import KNN
from surgrec.evaluation.protocols.linear import Linear
from surgrec.evaluation.protocols.temporal import Temporal
from surgrec.evaluation.protocols.trivial import Majority, StratifiedRandom

_FROZEN: tuple[FrozenProtocol, ...] = (Majority(), StratifiedRandom(), KNN(), Linear(), Attentive())
_DENSE: tuple[DenseProtocol, ...] = (DenseMajority(), FrameLinear(), Temporal(), Temporal(is_causal=True))
FROZEN_PROTOCOLS = {protocol.name: protocol for protocol in _FROZEN}
DENSE_PROTOCOLS = {protocol.name: protocol for protocol in _DENSE}
LOOK_AT_NOTHING = ("majority", "stratified random")  # the same for every encoder
