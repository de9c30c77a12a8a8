"""Harbor Support: a base model and its fine-tunes, small enough to train from nothing in two minutes on two cores.

`python -m examples.harbor.build` writes the data and the models. The package promises that the three golden splits
share no combination of slots, that no golden prompt is ever trained on, and that one seed on one machine gives the
same files again. It knows nothing of the gate: it only makes what the pipeline releases.
"""
