"""What goes wrong between lm-eval and a server, in words; and answers without a text, which are refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from traceback import walk_tb
from typing import Any

from pipeline.errors import EnvironmentFault, InputError, MergegateError
from pipeline.evaluate.backend import is_served

_CLIENTS = "lm_eval.models."  # the modules of lm-eval that talk to servers
_LATER = (408, 429)  # statuses below 500 that may be another one later
_SHOWN = 400  # characters of what a server or lm-eval says


@contextmanager
def in_words(backend: str, asking: str) -> Iterator[None]:
    """Raise a failure of a served backend as one that says what to do; those of other backends as they are.

    `asking` is what is asked, as "params.yaml: evaluate.skills.json". InputError where the backend or the server
    cannot do it, EnvironmentFault where the server does not answer.
    """
    try:
        yield
    except MergegateError:
        raise
    except Exception as error:
        if not is_served(backend):
            raise
        fault = _fault(error, backend, asking)
        if fault is None:
            raise
        raise fault from error


def refuse_silence(lm: Any) -> None:
    """Have an lm-eval chat model fail at an answer without a text, which it would score as an empty one."""
    original = lm.parse_generations

    def parsed(outputs: Any, **options: Any) -> Any:
        for output in outputs if isinstance(outputs, list) else [outputs]:
            for choice in output["choices"]:
                text = choice["message"].get("content") if "message" in choice else choice["text"]
                if not isinstance(text, str):
                    raise InputError(
                        f"{lm.base_url}: the server gave an answer without a text (finish_reason "
                        f"{choice.get('finish_reason')!r}). Thoughts that it keeps apart may need a larger "
                        "evaluate.max_new_tokens; a filter of content must be off."
                    )
        return original(outputs, **options)

    lm.parse_generations = parsed


def _fault(error: Exception, backend: str, asking: str) -> MergegateError | None:
    """What an exception means; None where it has nothing to do with the server."""
    import aiohttp
    import requests

    if isinstance(error, requests.RequestException | aiohttp.ClientError | TimeoutError):
        return _of_server(error, backend, asking)
    if not _in_client(error):
        return None
    if isinstance(error, NotImplementedError | AssertionError):
        return InputError(
            f"{asking} asks for something that {backend} does not do: {str(error)[:_SHOWN]} "
            "For log-likelihoods use local-completions, or choose a task of output_type generate_until."
        )
    return InputError(
        f"{asking}: the server behind {backend} answers otherwise than lm-eval expects "
        f"({type(error).__name__}: {str(error)[:_SHOWN]}). Log-likelihoods need a server that gives the "
        "log-probabilities of a prompt (`echo` with `logprobs`), as vLLM does and llama.cpp does not."
    )


def _of_server(error: Exception, backend: str, asking: str) -> MergegateError:
    answer = getattr(error, "response", None)
    status = int(getattr(answer, "status_code", 0) or getattr(error, "status", 0))
    told = f" {answer.text[:_SHOWN]}" if answer is not None else ""
    if 400 <= status < 500 and status not in _LATER:
        return InputError(
            f"{asking}: the server behind {backend} refuses a request ({error}).{told} See that model_args name "
            "what it serves, and that its context holds a prompt and evaluate.max_new_tokens."
        )
    return EnvironmentFault(
        f"{asking}: the server behind {backend} failed ({type(error).__name__}: {str(error)[:_SHOWN]}).{told} "
        "See that it runs and that model_args name its address; then run again."
    )


def _in_client(error: Exception) -> bool:
    frames = walk_tb(error.__traceback__)
    return any(frame.f_globals.get("__name__", "").startswith(_CLIENTS) for frame, _ in frames)
