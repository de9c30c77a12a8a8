"""Turns inputs into outputs, one folder per kind of work. Knows no scheduler and no gate.

Only `pipeline.stages`, the thin entry points of dvc.yaml, joins this work with the judgement of `gates`; only
`pipeline.release` and the fetching of `models:/` sources know MLflow, and they import it when they need it.
"""
