"""Scheduled releases: the deployment that is served, one run of it, and what the terminal says of runs.

`serve` registers the deployment and starts each run in a process of its own; `run` is the flow of one run;
`terminal` tells when runs begin, how they end and when the next one is.
"""
