"""The story of a conversion, from a checkpoint in any format to a transformers folder.

    config -> family and settings;  weights -> renamed, held against the config, accounted for;
    tokenizer -> found and held against both  ->  folder, written whole

Notable: the folder holds what a fine-tuned checkpoint holds (`model/saving.py`) and
`convert_report.json`; weights are stored as float32. One that was not fine-tuned says so in its
config, so that decoding can warn.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from s2s_ft.convert.account import Account, account_of
from s2s_ft.convert.options import ConvertOptions, KnownOptions
from s2s_ft.convert.tokenizers import find_tokenizer
from s2s_ft.model.assembly import adopt_padding, assemble, check_tokenizer
from s2s_ft.model.described import NOT_FINE_TUNED, Described, describe_by
from s2s_ft.model.foreign import BLOCK, FOREIGN_FAMILIES, is_original
from s2s_ft.model.located import locate
from s2s_ft.model.pretrained import save
from s2s_ft.model.seq2seq import Seq2SeqModel, Seq2SeqSettings
from s2s_ft.storage.output_folder import written_whole

logger = logging.getLogger(__name__)

REPORT = "convert_report.json"


def convert(options: ConvertOptions) -> int:
    """Convert a checkpoint.

    Returns:
        Exit code 0.

    Raises:
        ValueError: It cannot be used, its tokenizer is missing, or the output is there already.
        EnvironmentFault: A file cannot be read.
        OSError: The output cannot be written.
    """
    flags, flag = options.checkpoint, "--model_path"
    with written_whole(flags.output_dir) as folder:
        located = locate(flags.model_path, flag)
        described = describe_by(
            flags.config_path, flags.model_path, flags.cache_dir, flag, family=flags.family
        )
        model, loaded = assemble(
            flags.model_path,
            described,
            _settings(described, options.known),
            flags.cache_dir,
            flag=flag,
            fresh_head="identity",
            rename_always=True,
        )
        codec, tokenizer = find_tokenizer(
            located,
            described.raw,
            given=flags.tokenizer_name,
            do_lower_case=options.known.do_lower_case or model.settings.do_lower_case,
            cache_dir=flags.cache_dir,
        )
        check_tokenizer(model.encoder, codec, described.raw, flags.model_path)
        adopt_padding(model.encoder, codec.special.pad)
        save(model, codec, folder)
        if not described.is_fine_tuned:
            _mark(folder / "config.json")
        account = account_of(loaded)
        report = _report(model, described, flags.model_path, tokenizer, account)
        _write_json(folder / REPORT, report)
    _tell(report, account, list_keys=flags.list_keys)
    logger.info("the converted checkpoint is in %s", flags.output_dir)
    return 0


def kind_of(described: Described) -> str:
    """What a checkpoint is, in words."""
    if is_original(described.raw):
        return "fine-tuned by the original toolkit"
    if described.is_fine_tuned:
        return "fine-tuned with this tool"
    kind = described.raw.get("model_type", "unilm")
    return f"{kind}'s own files" if kind in FOREIGN_FAMILIES else "a pretrained encoder"


def _settings(described: Described, known: KnownOptions) -> Seq2SeqSettings:
    """The checkpoint's settings, and what the user knows better."""
    changes = {
        "method": known.fine_tuning_method,
        "max_source_length": known.max_source_seq_length,
        "max_target_length": known.max_target_seq_length,
        "do_lower_case": known.do_lower_case or None,
    }
    settings = described.known_settings().to_dict()
    told = {name: value for name, value in changes.items() if value is not None}
    method_is_known = "method" in {**described.settings, **described.block, **told}
    if described.is_fine_tuned and not method_is_known:
        logger.warning(
            "the checkpoint does not tell how it was fine-tuned: taking %s; give "
            "--fine_tuning_method causal if it was decoded with --pos_shift",
            settings["method"],
        )
    return Seq2SeqSettings(**{**settings, **told})


def _mark(config: Path) -> None:
    """Note in our block that the model cannot generate yet."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content[BLOCK][NOT_FINE_TUNED] = True
    _write_json(config, content)


def _report(
    model: Seq2SeqModel, described: Described, name: str, tokenizer: str, account: Account
) -> dict[str, Any]:
    return {
        "checkpoint": name,
        "kind": kind_of(described),
        "family": model.encoder.config.model_type,
        "class": type(model.encoder).__name__,
        "tokenizer": tokenizer,
        "settings": model.settings.to_dict(),
        "counts": {
            "mapped": len(account.mapped),
            "dropped": len(account.dropped),
            "initialised": len(account.initialised),
        },
        **account.to_dict(),
    }


def _tell(report: dict[str, Any], account: Account, *, list_keys: bool) -> None:
    """Print the account: in short, or key by key."""
    print(f"{report['checkpoint']}: {report['kind']}, now {report['class']}")
    for line in account.lines() if list_keys else account.summary():
        print(line)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
