"""Flags of `python -m s2s_ft.serve`, in groups (standard library only)."""

from dataclasses import dataclass, field

from s2s_ft.options import flag
from s2s_ft.options.checks import (
    at_least,
    at_most_one_of,
    count,
    finite,
    more_than,
    not_empty,
    within,
)


@dataclass(frozen=True, kw_only=True)
class ServedModelOptions:
    """The fine-tuned checkpoint, how it computes and what it is given."""

    model_path: str = field(
        metadata=flag("Folder of the checkpoint, or its name on the hub.", metavar="DIR")
    )
    cache_dir: str | None = field(
        default=None, metadata=flag("Folder for what is downloaded from the hub.", metavar="DIR")
    )
    no_cuda: bool = field(default=False, metadata=flag("Use the CPU even where there is a GPU."))
    bf16: bool = field(default=False, metadata=flag("Compute in bfloat16."))
    fp16: bool = field(default=False, metadata=flag("Compute in float16."))
    int8: bool = field(
        default=False, metadata=flag("Compute with 8-bit weights and inputs (CPU only).")
    )
    tokenized_input: bool = field(
        default=False,
        metadata=flag("Texts are tokens with spaces between, to be looked up and not cut."),
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(model_path=self.model_path, cache_dir=self.cache_dir)
        at_most_one_of(fp16=self.fp16, bf16=self.bf16, int8=self.int8)


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Where the server listens, and how patient it is with clients."""

    host: str = field(
        default="127.0.0.1",
        metadata=flag(
            "Address to listen on; 0.0.0.0: all of this machine, reachable from outside."
        ),
    )
    port: int = field(default=8000, metadata=flag("Port to listen on; 0: any free one."))
    max_connections: int = field(
        default=512, metadata=flag("Connections at a time; further ones are told to come later.")
    )
    read_timeout_s: float = field(
        default=10.0,
        metadata=flag("Seconds for a request's headers, and again for its body, to arrive."),
    )
    write_timeout_s: float = field(
        default=10.0, metadata=flag("Seconds for a client to take up an answer that waits for it.")
    )
    keep_alive_s: float = field(
        default=30.0, metadata=flag("Seconds after which a connection without a request is closed.")
    )
    shutdown_grace_s: float = field(
        default=30.0,
        metadata=flag("After SIGTERM or SIGINT: seconds to finish what was accepted before."),
    )
    log_requests: bool = field(
        default=False, metadata=flag("Log a line for every request; texts are never logged.")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        not_empty(host=self.host)
        within(0, 65535, port=self.port)
        count(1, max_connections=self.max_connections)
        waits = {
            "read_timeout_s": self.read_timeout_s,
            "write_timeout_s": self.write_timeout_s,
            "keep_alive_s": self.keep_alive_s,
        }
        more_than(0, **waits)
        at_least(0, shutdown_grace_s=self.shutdown_grace_s)
        finite(**waits, shutdown_grace_s=self.shutdown_grace_s)


@dataclass(frozen=True, kw_only=True)
class BatchingOptions:
    """How texts of different requests are decoded together."""

    max_batch_size: int = field(
        default=32,
        metadata=flag(
            "Texts that are decoded at a time, of one or more requests; when one is done, the next "
            "takes its place."
        ),
    )
    batch_wait_ms: float = field(
        default=5.0,
        metadata=flag("Milliseconds that a text waits for others while the model is free."),
    )
    max_queue: int = field(
        default=1024, metadata=flag("Texts that may wait; further requests get 503.")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        count(1, max_batch_size=self.max_batch_size, max_queue=self.max_queue)
        at_least(0, batch_wait_ms=self.batch_wait_ms)
        finite(batch_wait_ms=self.batch_wait_ms)


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """What one request may ask for."""

    max_request_bytes: int = field(
        default=1_048_576, metadata=flag("Bytes of a request's body; larger ones get 413.")
    )
    max_texts: int = field(default=64, metadata=flag("Texts of one request."))
    max_source_chars: int = field(
        default=20_000,
        metadata=flag("Characters of a text; the rest is cut off, and the answer says so."),
    )
    max_beams: int = field(
        default=16, metadata=flag("Beams, or samples, that a request may ask for per text.")
    )
    max_output_tokens: int = field(
        default=512, metadata=flag("Tokens that a request may ask an output to have.")
    )
    request_timeout_s: float = field(
        default=60.0, metadata=flag("Seconds until a request without an answer gets 504.")
    )

    def __post_init__(self) -> None:
        """Check the values."""
        count(
            1,
            max_request_bytes=self.max_request_bytes,
            max_texts=self.max_texts,
            max_source_chars=self.max_source_chars,
            max_beams=self.max_beams,
            max_output_tokens=self.max_output_tokens,
        )
        more_than(0, request_timeout_s=self.request_timeout_s)
        finite(request_timeout_s=self.request_timeout_s)


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """All options of the server."""

    model: ServedModelOptions
    server: ServerOptions = field(default_factory=ServerOptions)
    batching: BatchingOptions = field(default_factory=BatchingOptions)
    limits: LimitOptions = field(default_factory=LimitOptions)

    def __post_init__(self) -> None:
        """Check what concerns two groups."""
        if self.limits.max_texts > self.batching.max_queue:
            raise ValueError(
                f"--max_texts {self.limits.max_texts} is more than --max_queue "
                f"{self.batching.max_queue} can ever hold: lower --max_texts or raise --max_queue"
            )
