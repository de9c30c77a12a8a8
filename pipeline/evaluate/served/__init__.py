"""Evaluation behind a server: start one for a variant, show that it has the weights, end it with its children.

Promises: no server outlives its evaluation, however that ends; the answers that are scored come from a server whose
weights were compared with those in the folder, or for which a person vouches. Knows no stage and no policy.
"""
