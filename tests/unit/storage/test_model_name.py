"""Names of models: what can only be a path is looked for nowhere else."""

import pytest

from s2s_ft.model.located import locate
from s2s_ft.storage.model_name import folders_beside, is_missing_path
from s2s_ft.text import TextCodec


@pytest.fixture(autouse=True)
def run(tmp_path, monkeypatch):
    """A folder `run` in the current one, with checkpoints and another folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("ckpt-4", "ckpt-40", "ckpt-8", "best"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "config.json").write_text("{}")
    (tmp_path / "run" / "features").mkdir()


@pytest.mark.parametrize("name", ["run/ckpt-5", "run/ckpt-5/", "./no", "/no", "~/no", "a/b/c"])
def test_what_can_only_be_a_path(name):
    assert is_missing_path(name)


@pytest.mark.parametrize("name", ["bert-base-uncased", "owner/name", "no/", "run/best", "run"])
def test_what_may_be_on_the_hub_or_is_there(name):
    assert not is_missing_path(name)


def test_the_checkpoints_beside_are_named_the_newest_first(tmp_path):
    assert folders_beside("run/ckpt-5") == "; run holds ckpt-40, ckpt-8, ckpt-4, best"
    assert folders_beside(str(tmp_path / "nowhere")) == ""
    assert folders_beside("owner/name") == ""
    assert folders_beside("run/features/x") == ""
    for step in (50, 60):
        (tmp_path / "run" / f"ckpt-{step}").mkdir()
        (tmp_path / "run" / f"ckpt-{step}" / "config.json").write_text("{}")
    assert folders_beside("run/x") == "; run holds ckpt-60, ckpt-50, ckpt-40, ckpt-8, ckpt-4, …"


def test_a_folder_in_the_place_of_an_owner_may_be_one_by_chance(tmp_path):
    (tmp_path / "owner" / "model").mkdir(parents=True)
    assert not is_missing_path("owner/name")
    assert is_missing_path("owner/ckpt-3")
    assert not is_missing_path("owner/500")  # a number alone is no checkpoint's name
    assert not is_missing_path("owner/ckpt-²")
    told = "; the hub is not asked for it, as owner is a folder here"
    assert folders_beside("owner/ckpt-3") == told


def test_neither_a_model_nor_its_tokenizer_is_asked_of_the_hub(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", refuse)
    monkeypatch.setattr("transformers.PreTrainedConfig.get_config_dict", refuse)
    told = r"run/ckpt-5: (there is )?no such folder; run holds ckpt-40, "
    with pytest.raises(ValueError, match=f"^--model_path {told}"):
        locate("run/ckpt-5", "--model_path")
    with pytest.raises(ValueError, match=f"^--tokenizer_name {told}"):
        TextCodec.load("run/ckpt-5", flag="--tokenizer_name")
