"""One thin entry point per stage of dvc.yaml: read typed inputs, call, write typed outputs.

`python -m pipeline.stages STAGE [ARGUMENT ...]`, in the workspace. Stages know nothing of schedulers: DVC, the
release flow and a person at a shell start them in the same way and get the same bytes.
"""
