"""How a number was come by: one protocol a file, always named beside its number.

`trivial`, `knn`, `linear`, `attentive` read frozen features of clips; `frame_linear` and `temporal` frozen features of whole operations;
`finetune` trains all of the encoder. `few_shot` draws the cases that any of them may see.
"""
