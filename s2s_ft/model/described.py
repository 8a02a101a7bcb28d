"""What a checkpoint's config says: its family, and the settings that are ours.

Notable: no code that lies beside a config is ever run; every fault is one line that names the file.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import transformers
from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from s2s_ft.cli import EnvironmentFault, first_line
from s2s_ft.model.foreign import (
    BLOCK,
    family_config,
    foreign_settings,
    is_foreign,
    is_original,
    lost_token_types,
    original_settings,
)
from s2s_ft.model.located import Located, locate
from s2s_ft.model.seq2seq import Seq2SeqSettings

NOT_FINE_TUNED = "pretrained_only"
"""Key in our block that says of a converted checkpoint that it cannot generate yet."""

CONFIG_NOISE = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"}
"""Config entries that say where a model comes from, not what it computes."""


@dataclass(frozen=True)
class Described:
    """What a checkpoint's config says.

    Attributes:
        config: As transformers knows it.
        settings: Keyword arguments for `Seq2SeqSettings`: what in it is ours.
        raw: As its file has it.
        lost_token_types: See `foreign.lost_token_types`.
    """

    config: PreTrainedConfig
    settings: dict[str, Any]
    raw: dict[str, Any]
    lost_token_types: bool

    @property
    def block(self) -> dict[str, Any]:
        """Our block of the config, empty where there is none."""
        block = self.raw.get(BLOCK)
        return block if isinstance(block, dict) else {}

    @property
    def is_fine_tuned(self) -> bool:
        """Whether the checkpoint can generate already, as far as its config tells."""
        ours = bool(self.block) and not self.block.get(NOT_FINE_TUNED)
        return ours or is_original(self.raw)

    def known_settings(self) -> Seq2SeqSettings:
        """The checkpoint's own settings; defaults where it has none."""
        return Seq2SeqSettings.from_dict({**self.settings, **self.block})

    def fine_tuned_as(self, own: Described) -> Described:
        """The same, with the settings of the checkpoint that it takes the config's place of.

        Args:
            own: What the checkpoint's own config says.
        """
        if self.is_fine_tuned or not own.is_fine_tuned:
            return self
        block = {**own.settings, **own.block, **self.settings}
        return replace(self, raw={**self.raw, BLOCK: block})


def describe(
    name: str, cache_dir: str | None, flag: str, *, family: str | None = None
) -> Described:
    """Read a config.

    Args:
        name: Folder, config file, weight file or hub id.
        cache_dir: Where hub files are kept.
        flag: The flag that named it, for messages.
        family: The family to take it for; None = what the config says.

    Raises:
        ValueError: There is none, or its family is unknown.
        EnvironmentFault: The file cannot be read.
    """
    raw = raw_config(name, cache_dir, flag)
    settings = {**foreign_settings(raw), **original_settings(raw, name)}
    if not is_foreign(raw, family):
        _refuse_unknown_family(raw, name, flag, family)
    try:
        if is_foreign(raw, family):
            config = family_config(raw, name, family)
        else:
            config = _by_transformers(raw, name, cache_dir, family)
    # Whatever a config holds that a family does not expect, its class raises in its own way.
    except Exception as error:
        raise ValueError(
            f"{flag} {name}: no usable config ({first_line(error)}); give a folder with a "
            "config.json, or a hub id that this machine can reach"
        ) from error
    return Described(config, settings, raw, lost_token_types(raw))


def describe_by(
    config_path: str | None,
    model_path: str,
    cache_dir: str | None,
    flag: str,
    *,
    family: str | None = None,
) -> Described:
    """Read the config that was given in place of a checkpoint's own, or that one.

    Args:
        config_path: What was given with `--config_path`; None = nothing.
        model_path: The checkpoint; what it says of its fine-tuning holds where the other is silent.
        cache_dir: As for `describe`, errors too.
        flag: The flag that named the checkpoint.
        family: As for `describe`.
    """
    if config_path is None:
        return describe(model_path, cache_dir, flag, family=family)
    given = describe(config_path, cache_dir, "--config_path", family=family)
    try:
        own = describe(model_path, cache_dir, flag, family=family)
    except (ValueError, EnvironmentFault):  # it has none that can be read, hence the other
        return given
    return given.fine_tuned_as(own)


def raw_config(name: str, cache_dir: str | None, flag: str) -> dict[str, Any]:
    """A config as its file has it; errors as for `describe`."""
    path = Path(name)
    if path.is_file() and path.suffix == ".json":
        return _json_object(path)
    located = locate(name, flag)
    if located.config is not None:
        return _json_object(located.config)
    if located.is_local:
        raise ValueError(_no_config(located, flag))
    try:
        raw, _ = PreTrainedConfig.get_config_dict(name, cache_dir=cache_dir)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{flag} {name}: no usable config ({first_line(error)}); give a folder with a "
            "config.json, or a hub id that this machine can reach"
        ) from error
    return dict(raw)


def _by_transformers(
    raw: dict[str, Any], name: str, cache_dir: str | None, family: str | None
) -> PreTrainedConfig:
    """Through the Auto classes; by `family` where one is given."""
    path = Path(name)
    if path.is_dir() and (path / "config.json").is_file() and family is None:
        config: PreTrainedConfig = AutoConfig.from_pretrained(name, trust_remote_code=False)
        return config
    if path.exists() or family is not None:
        fields = {key: value for key, value in raw.items() if key != "model_type"}
        kind = family or raw.get("model_type")
        if not isinstance(kind, str):
            raise ValueError("it has no model_type; name its family with --family")
        made: PreTrainedConfig = AutoConfig.for_model(kind, **fields)
        return made
    config = AutoConfig.from_pretrained(name, cache_dir=cache_dir, trust_remote_code=False)
    return config


def _refuse_unknown_family(raw: dict[str, Any], name: str, flag: str, family: str | None) -> None:
    """Refuse a family that the installed transformers does not know.

    Raises:
        ValueError: It is one; where the checkpoint brings code for it, that is never run.
    """
    kind = family or raw.get("model_type")
    if kind is None or kind in CONFIG_MAPPING:
        return
    if "auto_map" in raw and family is None:
        raise ValueError(
            f"{flag} {name} has code of its own ({kind}), which is never run here; take a "
            "checkpoint of a family that transformers knows"
        )
    where = "--family: " if family else f"{flag} {name}: "
    raise ValueError(
        f"{where}the family {kind!r} is unknown to transformers {transformers.__version__}; update "
        "it, or take a checkpoint of another family"
    )


def _no_config(located: Located, flag: str) -> str:
    """What to say of a checkpoint without a config."""
    folder = Path(located.name)
    if folder.is_dir() and not any(folder.iterdir()):
        return f"{flag} {folder} is empty; name a folder with a checkpoint in it"
    return f"{flag} {folder} has no config.json; give a checkpoint folder"


def _json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds one object."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EnvironmentFault(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        weights = " (weights in its place?)" if isinstance(error, UnicodeDecodeError) else ""
        raise ValueError(
            f"{path} is not JSON{weights} ({error}); put the checkpoint's config there, or name it "
            "with --config_name / --config_path"
        ) from error
    if not isinstance(raw, dict):
        raise ValueError(
            f"{path} is not a config: it holds no JSON object; put the checkpoint's config there"
        )
    return raw
