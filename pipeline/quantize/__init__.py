"""Quantize a merged checkpoint with llm-compressor into the artifact that ships.

Promises: the folder appears under its name only when it is whole, has every side file of the
merged model, loads with `AutoModelForCausalLM.from_pretrained`, and has the same bytes for the same
inputs, versions and number of threads on one class of hardware; the report names all of them.
Knows no gate: whether the result is good enough is measured on its bytes.
"""

from pipeline.quantize.calibration import CALIBRATION, Calibration, read_calibration
from pipeline.quantize.hardware import hardware_class
from pipeline.quantize.oneshot import QuantizeReport, quantize

__all__ = [
    "CALIBRATION",
    "Calibration",
    "QuantizeReport",
    "hardware_class",
    "quantize",
    "read_calibration",
]
