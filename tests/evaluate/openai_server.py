"""A small OpenAI-compatible server over transformers, and servers that go wrong: run as a program by evaluate.serve.

    python openai_server.py --model FOLDER --port N

Completions and chat completions, greedy, with usage and log-probabilities; `echo` gives those of a prompt. The model is
loaded at the first request. A path may begin with how to answer it: /say=Hello&extra=1/v1/chat/completions.

    say=TEXT         this instead of any answer      silent=1    messages without content
    no-logprobs=1    refuse to give them             extra=N     tokens that another chat template would add
    dtype=bfloat16   compute so                      gone=1      refuse the request
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl


class Model:
    """A folder's model in one dtype."""

    def __init__(self, folder: str, dtype: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.lock = Lock()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, dtype)
        ).eval()
        ends = self.model.generation_config.eos_token_id
        self.ends = set(ends) if isinstance(ends, list) else {ends}

    def text(self, tokens: list[int]) -> str:
        """Tokens as servers show them: without the special ones."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def ids(self, prompt: Any) -> list[int]:
        """Token ids of a text; of ids, themselves."""
        if isinstance(prompt, str):
            return list(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        return list(prompt)

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """Token ids of a conversation by the folder's own template."""
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return self.ids(text)

    def answer(
        self, ids: list[int], count: int, stop: list[str]
    ) -> tuple[list[int], list[float], bool]:
        """Tokens of the greedy answer without its end, their log-probabilities, and whether it was cut."""
        import torch

        prompt = torch.tensor([ids])
        with self.lock, torch.inference_mode():
            made = self.model.generate(
                input_ids=prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                max_new_tokens=count,
                output_logits=True,
                return_dict_in_generate=True,
            )
        tokens = made.sequences[0, len(ids) :].tolist()
        rows = [row[0].float().log_softmax(-1) for row in made.logits]
        logprobs = [float(row[token]) for row, token in zip(rows, tokens, strict=True)]
        cut = tokens[-1] not in self.ends
        tokens = tokens if cut else tokens[:-1]
        for n in range(1, len(tokens) + 1):
            if any(text and text in self.tokenizer.decode(tokens[:n]) for text in stop):
                return tokens[: n - 1], logprobs, False
        return tokens, logprobs, cut

    def echoed(self, ids: list[int]) -> dict[str, Any]:
        """The log-probabilities of a prompt, with one token more, as OpenAI's completions give them."""
        import torch

        with self.lock, torch.inference_mode():
            rows = self.model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
        ids = [*ids, int(rows[-1].argmax())]
        found = [float(rows[i, token]) for i, token in enumerate(ids[1:])]
        best = [float(rows[i].max()) for i in range(len(ids) - 1)]
        return {
            "tokens": [self.tokenizer.decode([token]) for token in ids],
            "token_logprobs": [None, *found],
            "top_logprobs": [None, *({"x": value} for value in best)],
        }


class Handler(BaseHTTPRequestHandler):
    """Answers requests with the models of `arguments.model`, each loaded once."""

    arguments: argparse.Namespace
    models: dict[str, Model] = {}  # noqa: RUF012
    loading = Lock()

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health" and not self.arguments.bare:
            self.reply(200, {})
        elif self.path == "/v1/models" and not self.arguments.bare:
            self.reply(200, {"data": [{"id": name} for name in self.arguments.names]})
        else:
            self.reply(404, {"error": "no such path"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        how, _, path = self.path.removeprefix("/").rpartition("v1/")
        asked = dict(parse_qsl(how.rstrip("/"), keep_blank_values=True))
        if self.arguments.die_at and self.arguments.die_at in json.dumps(body):
            sys.stdout.write("out of memory\n")
            sys.stdout.flush()
            os._exit(3)
        if "gone" in asked:
            self.reply(404, {"error": "no such path"})
        elif "no-logprobs" in asked and body.get("logprobs"):
            self.reply(400, {"error": "logprobs are not supported"})
        elif path == "chat/completions":
            self.reply(200, self.chat(body, asked))
        else:
            self.reply(200, self.completions(body))

    def model(self, dtype: str = "float32") -> Model:
        with self.loading:
            if dtype not in self.models:
                self.models[dtype] = Model(self.arguments.model, dtype)
        return self.models[dtype]

    def chat(self, body: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
        if "say" in asked:
            message = {"role": "assistant", "content": asked["say"]}
            return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
        model = self.model(asked.get("dtype", "float32"))
        ids = model.chat_ids(body["messages"])
        tokens, logprobs, cut = model.answer(ids, body["max_tokens"], body.get("stop") or [])
        choice: dict[str, Any] = {"index": 0, "finish_reason": "length" if cut else "stop"}
        choice["message"] = {"role": "assistant"}
        if "silent" not in asked:
            choice["message"]["content"] = model.text(tokens)
        if body.get("logprobs"):
            pairs = zip(tokens, logprobs, strict=False)
            content = [{"token": model.tokenizer.decode([t]), "logprob": p} for t, p in pairs]
            choice["logprobs"] = {"content": content}
        count = len(ids) + int(asked.get("extra", 0))
        return {"choices": [choice], "usage": {"prompt_tokens": count}}

    def completions(self, body: dict[str, Any]) -> dict[str, Any]:
        prompts = body["prompt"]
        if isinstance(prompts, str) or isinstance(prompts[0], int):
            prompts = [prompts]
        model = self.model()
        rows = [model.ids(prompt) for prompt in prompts]
        choices = [self.completion(i, model, ids, body) for i, ids in enumerate(rows)]
        return {"choices": choices, "usage": {"prompt_tokens": sum(map(len, rows))}}

    def completion(
        self, index: int, model: Model, ids: list[int], body: dict[str, Any]
    ) -> dict[str, Any]:
        if body.get("echo"):
            return {"index": index, "text": "", "logprobs": model.echoed(ids)}
        tokens, logprobs, cut = model.answer(ids, body["max_tokens"], body.get("stop") or [])
        found = {
            "tokens": [model.tokenizer.decode([token]) for token in tokens],
            "token_logprobs": logprobs[: len(tokens)],
        }
        return {
            "index": index,
            "text": model.text(tokens),
            "finish_reason": "length" if cut else "stop",
            "logprobs": found if body.get("logprobs") else None,
        }

    def reply(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--names", nargs="+", default=["served"])
    parser.add_argument("--bare", action="store_true", help="neither /health nor /v1/models")
    parser.add_argument("--die-at", help="end at a request with this text")
    parser.add_argument("--fail", action="store_true", help="end before anything is served")
    parser.add_argument("--never", action="store_true", help="answer nothing, ever")
    parser.add_argument(
        "--child", type=Path, help="start a process in a session of its own; its id goes here"
    )
    arguments = parser.parse_args()
    sys.stdout.write(f"loading {arguments.model}\n")
    sys.stdout.flush()
    if arguments.child:
        sleeper = subprocess.Popen(["sleep", "600"], start_new_session=True)
        arguments.child.write_text(str(sleeper.pid))
    if arguments.fail:
        sys.exit("no accelerator was found")
    if arguments.never:
        time.sleep(600)
    Handler.arguments = arguments
    ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
