"""Puts stages in order: the Prefect flow, the schedule and the command line. No arithmetic, no judging.

The only package that prints, and the only one that knows Prefect.
"""
