"""Token ids that one rank makes and others read."""

from __future__ import annotations

import shutil

import pytest

from s2s_ft.cli import EnvironmentFault
from s2s_ft.data.features import FeatureStore
from s2s_ft.train import shared_store
from s2s_ft.train.distributed import World
from s2s_ft.train.shared_store import built_by_main


class Other(World):
    """A rank that hears from rank 0 what the test says."""

    said = ""

    def from_main(self, value: object) -> object:
        return self.said


def must_not_build() -> FeatureStore:
    raise AssertionError("only rank 0 builds")


def test_rank_0_builds(store: FeatureStore) -> None:
    assert built_by_main(World(), lambda: store) is store


def test_the_others_open_what_it_built(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Other, "said", str(store.folder))
    found = built_by_main(Other(rank=1, size=2), must_not_build)
    assert [found.source(row).tolist() for row in range(len(store))] == [
        store.source(row).tolist() for row in range(len(store))
    ]


def test_a_machine_that_does_not_see_it(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(store.folder)
    monkeypatch.setattr(Other, "said", str(store.folder))
    monkeypatch.setattr(shared_store, "VISIBLE_SECONDS", 0.0)
    with pytest.raises(EnvironmentFault, match=r"rank 1 on .* does not see .* --output_dir and"):
        built_by_main(Other(rank=1, size=2), must_not_build)
