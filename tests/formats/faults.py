"""Ways in which a checkpoint folder can be wrong, and what is said of each.

Notable: `{folder}` in a message stands for the checkpoint's folder; the second table in
docs/families.md is made of this list.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.formats.broken import (
    CONFIG,
    LFS,
    PAGE,
    WEIGHTS,
    adapter,
    code_beside,
    config_as_weights,
    config_changed,
    cut_in_half,
    emptied,
    fine_tuned_elsewhere,
    index_damaged,
    more_tokens,
    not_finite,
    other_tokenizer,
    pickled,
    pickled_among_tensors,
    pickles_beside,
    relative_bias_unannounced,
    shard_missing,
    swapped,
    token_twice,
    training_folder,
    weights_replaced,
    without,
    written,
)


@dataclass(frozen=True)
class Fault:
    """One way to be wrong.

    Attributes:
        name: In words.
        spoil: Breaks the folder that it is given.
        message: The one line that is said; a regular expression.
        code: Exit code.
        model_loads: Whether the model itself loads, since something else is wrong.
    """

    name: str
    spoil: Callable[[Path], object]
    message: str
    code: int = 2
    model_loads: bool = False


FAULTS = [
    Fault("an empty folder", emptied, r"--model_path {folder} is empty; name a folder with a c"),
    Fault("no config.json", without(CONFIG), r"--model_path {folder} has no config\.json; give a"),
    Fault(
        "config.json cut off", written(CONFIG, b'{"model_'), r"{folder}/config\.json is not JSON"
    ),
    Fault(
        "weights as config.json", swapped, r"config\.json is not JSON \(weights in its place\?\)"
    ),
    Fault(
        "config.json holds a list", written(CONFIG, b"[]"), r"is not a config: it holds no JSON o"
    ),
    Fault("config.json names no family", written(CONFIG, b"{}"), r"no usable config"),
    Fault("unknown family", config_changed(model_type="frob"), r"the family 'frob' is unknown to"),
    Fault(
        "family without the attention interface",
        config_changed(model_type="deberta-v2"),
        r"--model_path {folder}: encoders of type 'deberta-v2' cannot be fine-tuned here: they do",
    ),
    Fault(
        "code of its own beside it", code_beside, r"has code of its own \(homemade\), which is n"
    ),
    Fault(
        "hidden size of another model",
        config_changed(hidden_size=64),
        r"40 weights do not fit config\.json: .*layer\.{0-1}\.attention\.self\.query\.weight.*"
        r" \[32, 32\] where config\.json asks for \[64, 64\]",
    ),
    Fault(
        "hidden size that the heads do not divide",
        config_changed(hidden_size=33),
        r"config\.json describes no encoder of type 'bert' \(.*take the config that belongs",
    ),
    Fault(
        "more layers than the weights have",
        config_changed(num_hidden_layers=4),
        r"32 missing: .*layer\.{2-3}\.attention\.output\.dense\.bias \[32\].*take the config and",
    ),
    Fault(
        "vocabulary of another size",
        config_changed(vocab_size=17),
        r"weights do not fit config\.json: .*\[\d+, 32\] where config\.json asks for \[17, 32\]",
    ),
    Fault(
        "relative positions that the config hides",
        relative_bias_unannounced,
        r"hold a relative-position bias, but config\.json has no rel_pos_bins",
    ),
    Fault(
        "no weights", without(WEIGHTS), r"{folder} has no weights; expected model\.safetensors or"
    ),
    Fault("weights cut off", cut_in_half, r"{folder}/model\.safetensors is damaged or incomplete"),
    Fault(
        "weights empty", written(WEIGHTS, b""), r"{folder}/model\.safetensors is empty; fetch it"
    ),
    Fault(
        "a Git LFS pointer as weights", written(WEIGHTS, LFS), r"is a Git LFS pointer and no weig"
    ),
    Fault(
        "an error page as weights", written(WEIGHTS, PAGE), r"is a web page and no weights; the d"
    ),
    Fault(
        "config.json as weights", config_as_weights, r"model\.safetensors is JSON and no weights"
    ),
    Fault(
        "a pickle that would run code",
        pickled,
        r"{folder}/pytorch_model\.bin holds more than tensors and is not read, since unpickling",
    ),
    Fault(
        "such a pickle among good weights",
        pickled_among_tensors,
        r"{folder}/pytorch_model\.bin holds more than tensors and is not read, since unpickling",
    ),
    Fault(
        "weights of TensorFlow only",
        weights_replaced("tf_model.h5", b"\x89HDF"),
        r"{folder} has weights of TensorFlow only; expected model\.safetensors or pytorch_model",
    ),
    Fault(
        "weights of Flax only",
        weights_replaced("flax_model.msgpack", b"\x81"),
        r"{folder} has weights of Flax only",
    ),
    Fault(
        "an index whose shard is missing",
        shard_missing,
        r"names 2 files, of which 1 are not there: model-2\.safetensors; fetch them",
    ),
    Fault("a damaged index", index_damaged, r"index\.json is no index of weights; fetch it again"),
    Fault(
        "NaN in the weights",
        not_finite,
        r"NaN or infinity in 2 weights \(bert\.encoder\.layer\.{0-1}\.output\.dense\.bias\)",
    ),
    Fault(
        "an adapter alone",
        adapter,
        r"{folder} is an adapter and no whole model: start from be",
        model_loads=True,
    ),
    Fault(
        "a training folder",
        training_folder,
        r"{folder} is a training folder; name a checkpoint in it: {folder}/ckpt-1500",
    ),
    Fault(
        "no vocabulary",
        without("vocab.txt", "tokenizer_config.json"),
        r"{folder}: no tokenizer",
        model_loads=True,
    ),
    Fault(
        "a damaged tokenizer.json",
        written("tokenizer.json", b"{"),
        r"{folder}: no tokenizer",
        model_loads=True,
    ),
    Fault(
        "more tokens than embeddings",
        more_tokens,
        r"--tokenizer_name: its \d+ tokens do not fit the \d+ embeddings of {folder}; give the",
        model_loads=True,
    ),
    Fault(
        "the tokenizer of another model",
        other_tokenizer,
        r"it is the tokenizer of another model: config\.json of {folder} has cls_token_id 0, ",
        model_loads=True,
    ),
    Fault(
        "fine-tuned by the original, no tokenizer",
        fine_tuned_elsewhere,
        r"the original toolkit saves no tokenizer; name that of the model it was fine-tuned from",
        model_loads=True,
    ),
    Fault(
        "a token on two lines of vocab.txt",
        token_twice,
        r"vocab\.txt: tokens that stand on two lines \(1\), of which the later one counts: ",
        code=0,
        model_loads=True,
    ),
    Fault(
        "pickles beside the weights",
        pickles_beside,
        r"the converted checkpoint is in",
        code=0,
        model_loads=True,
    ),
]
