"""A registered model moved from one MLflow store to another, with its versions, changes, ledger, runs and artifacts.

`steps` has their order and all refusals; `snapshot` reads a model into values that can be compared, `translation` says
what they become with the ids of the new store, `target` whether that is free, `layout`, `copy`, `runs` and `files`
fill it.
"""
