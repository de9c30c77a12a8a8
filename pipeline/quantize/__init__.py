"""Quantize a merged checkpoint with llm-compressor into the artifact that ships.

Promises: the folder appears under its name only when it is whole, has every side file of the
merged model, loads with `AutoModelForCausalLM.from_pretrained`, and has the same bytes for the same
inputs on one machine. Knows no gate: whether the result is good enough is measured on its bytes.
"""

from pipeline.quantize.oneshot import QuantizeReport, quantize

__all__ = ["QuantizeReport", "quantize"]
