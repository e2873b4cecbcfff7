"""Golden files are used only as they were made; anything else is named."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from coreml_assay.goldens import areas
from coreml_assay.goldens.make import MAKERS, make_goldens
from coreml_assay.goldens.store import (
    ARRAYS,
    CASES,
    FROZEN,
    MANIFEST,
    SCHEMA_VERSION,
    GoldenError,
    data_folder,
    frozen_goldens,
    load_goldens,
)

NAME = "coremltools-9.0/weights"


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(data_folder() / NAME, tmp_path / "goldens"))


def refused(folder, checksum=FROZEN[NAME]):
    with pytest.raises(GoldenError) as raised:
        load_goldens(folder, checksum)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def edit_manifest(folder, **changes):
    manifest = json.loads((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))


def replace(folder, name, content):
    """A file with other content, and a manifest that agrees with it."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    checksum = hashlib.sha256(content).hexdigest()
    (folder / name).write_bytes(content)
    edit_manifest(folder, sha256=manifest["sha256"] | {name: checksum})


@pytest.mark.parametrize("name", FROZEN)
def test_the_frozen_goldens_are_as_they_were_made(name):
    goldens = frozen_goldens(name)
    manifest = goldens.manifest
    assert f"{manifest.implementation}-{manifest.version}/{manifest.area}" == name
    for kind in goldens.cases.__struct_fields__:
        assert getattr(goldens.cases, kind), kind


def test_each_area_can_be_made_and_read():
    assert MAKERS.keys() == areas.CASES.keys()
    assert {name.rpartition("/")[2] for name in FROZEN} == areas.CASES.keys()


def test_an_unknown_area_is_named_with_those_that_are_known(folder):
    edit_manifest(folder, area="wings")
    assert "of the unknown area 'wings'; known are weights, activ" in refused(folder, None)


@pytest.mark.parametrize("name", [MANIFEST, ARRAYS, CASES])
@pytest.mark.parametrize("where", [0.0, 0.5, 1.0])
def test_one_changed_bit_is_noticed_in_every_file(folder, name, where):
    content = bytearray((folder / name).read_bytes())
    content[int(where * (len(content) - 1))] ^= 1
    (folder / name).write_bytes(content)
    assert refused(folder).startswith(f"{folder / name}: changed since it was made")


@pytest.mark.parametrize("name", [MANIFEST, ARRAYS, CASES])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert refused(folder).startswith(f"{folder / name}: cannot be read: No such file")


def test_a_missing_folder_is_named(tmp_path):
    assert str(tmp_path / "none") in refused(tmp_path / "none")


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_a_foreign_file_or_folder_is_named(folder, make):
    make(folder / "extra")
    assert refused(folder) == f"{folder / 'extra'}: not in the manifest; remove it"


@pytest.mark.parametrize("content", [b"", b'{"schema_version": 1', b"[]", b"\xff\xfe", b"[" * 9999])
def test_a_manifest_that_is_none_is_named(folder, content):
    (folder / MANIFEST).write_bytes(content)
    assert refused(folder, None).startswith(f"{folder / MANIFEST}: not readable")


def test_a_newer_schema_is_named_even_if_it_has_other_fields(folder):
    edit_manifest(folder, schema_version=SCHEMA_VERSION + 1, novelty=True)
    assert f"written with golden schema {SCHEMA_VERSION + 1}" in refused(folder, None)


def test_a_manifest_without_a_checksum_of_the_arrays_is_refused(folder):
    (folder / ARRAYS).unlink()
    manifest = json.loads((folder / MANIFEST).read_bytes())
    edit_manifest(folder, sha256={CASES: manifest["sha256"][CASES]})
    assert refused(folder, None) == f"{folder / MANIFEST}: holds no checksum of {ARRAYS}"


@pytest.mark.parametrize("name", [ARRAYS, CASES])
def test_a_file_of_another_kind_is_named_although_its_checksum_agrees(folder, name):
    replace(folder, name, b"something else")
    assert refused(folder, None).startswith(f"{folder / name}: not readable")


def test_a_name_that_is_not_frozen_is_refused_with_those_that_are():
    with pytest.raises(GoldenError, match=r"no goldens named 'coremltools-1'; frozen are corem"):
        frozen_goldens("coremltools-1")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # coremltools' own, of blocks of zeros and of torch.ao
@pytest.mark.parametrize("area", MAKERS)
def test_making_goldens_again_changes_nothing_but_the_date(tmp_path, area):
    manifests = [make_goldens(tmp_path / name, area) for name in ("one", "two")]
    assert manifests[0].sha256 == manifests[1].sha256
    for name in (ARRAYS, CASES):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    load_goldens(tmp_path / "one")


SHARING = "coremltools-8.3.0/activations"  # has the base's arrays, and programs of its own


def test_a_version_stores_only_what_differs_from_the_base():
    folder = data_folder() / SHARING
    assert {file.name for file in folder.iterdir()} == {MANIFEST, CASES}
    goldens = load_goldens(folder, FROZEN[SHARING])
    assert goldens.manifest.shared == (ARRAYS,)
    base = frozen_goldens(goldens.manifest.based_on)
    assert goldens.manifest.sha256[ARRAYS] == base.manifest.sha256[ARRAYS]
    assert goldens.manifest.sha256[CASES] != base.manifest.sha256[CASES]


@pytest.mark.parametrize("name", FROZEN)
def test_files_are_shared_wherever_they_are_the_same(name):
    manifest = frozen_goldens(name).manifest
    area = name.rpartition("/")[2]
    base = frozen_goldens(f"coremltools-9.0/{area}").manifest
    same = {file for file, checksum in manifest.sha256.items() if base.sha256[file] == checksum}
    assert set(manifest.shared) == (set() if manifest.version == "9.0" else same)


def test_a_shared_file_is_compared_with_the_checksum_of_the_version_that_shares_it(tmp_path):
    folder = Path(shutil.copytree(data_folder() / SHARING, tmp_path / "goldens"))
    manifest = json.loads((folder / MANIFEST).read_bytes())
    edit_manifest(folder, sha256=manifest["sha256"] | {ARRAYS: "0" * 64})
    assert f"{ARRAYS}: changed since it was made" in refused(folder, None)


def test_a_base_that_is_not_frozen_is_refused(tmp_path):
    folder = Path(shutil.copytree(data_folder() / SHARING, tmp_path / "goldens"))
    edit_manifest(folder, based_on="../elsewhere")
    assert "based on '../elsewhere', which is not frozen" in refused(folder, None)


def test_a_copy_of_a_shared_file_is_foreign(tmp_path):
    folder = Path(shutil.copytree(data_folder() / SHARING, tmp_path / "goldens"))
    (folder / ARRAYS).write_bytes(b"")
    assert "not in the manifest; remove it" in refused(folder, None)
