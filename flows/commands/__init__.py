"""The functions behind each command, a module for each group: they parse nothing and decide nothing.

Promise: importing them imports neither torch nor Prefect nor MLflow; each is imported by the command that needs it.
"""
