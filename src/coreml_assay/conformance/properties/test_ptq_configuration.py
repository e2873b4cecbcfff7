"""Configurations of the post-training quantizer: defaults, what is accepted, round trips."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from cattrs.errors import BaseValidationError

from coreml_assay.conformance.subject import Subject
from coreml_assay.conformance.torch_quantizing import evaluate

MODULE = "quantization.ModulePostTrainingQuantizerConfig"
CONTAINER = "quantization.PostTrainingQuantizerConfig"


def _fields(config: Any) -> tuple[Any, ...]:
    return (
        str(config.weight_dtype).removeprefix("torch."),
        config.weight_n_bits,
        config.granularity.value,
        config.quantization_scheme.value,
        config.block_size,
    )


@pytest.mark.clause("T.1")
def test_defaults(torch_subject: Subject) -> None:
    with torch_subject.recording():
        found = _fields(evaluate(torch_subject, f"{MODULE}()"))
    expected = ("int8", 8, "per_channel", "symmetric", None)
    torch_subject.expect_equal(found, expected, "the default configuration")


@pytest.mark.clause("T.2")
@pytest.mark.parametrize(
    ("dtype", "stored", "n_bits"),
    [
        ("'int8'", "int8", 8),
        ("'uint8'", "uint8", 8),
        ("'int4'", "int8", 4),
        ("'uint4'", "uint8", 4),
        ("'float32'", "float32", 32),
        ("torch.int8", "int8", 8),
        ("torch.uint8", "uint8", 8),
        ("torch.float32", "float32", 32),
    ],
)
def test_code_types(torch_subject: Subject, dtype: str, stored: str, n_bits: int) -> None:
    with torch_subject.recording():
        found = _fields(evaluate(torch_subject, f"{MODULE}(weight_dtype={dtype})"))[:2]
    torch_subject.expect_equal(found, (stored, n_bits), "weight_dtype and weight_n_bits")


@pytest.mark.clause("T.2")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("granularity='per_tensor'", ("per_tensor", "symmetric", None)),
        ("granularity='per_channel'", ("per_channel", "symmetric", None)),
        ("granularity='per_block', block_size=2", ("per_block", "symmetric", (2,))),
        ("granularity='per_block', block_size=(2, 4)", ("per_block", "symmetric", (2, 4))),
        ("quantization_scheme='affine'", ("per_channel", "affine", None)),
        (
            "quantization_scheme=quantization.QuantizationScheme.affine",
            ("per_channel", "affine", None),
        ),
    ],
)
def test_names_and_sizes(
    torch_subject: Subject, options: str, expected: tuple[object, ...]
) -> None:
    with torch_subject.recording():
        found = _fields(evaluate(torch_subject, f"{MODULE}({options})"))[2:]
    torch_subject.expect_equal(found, expected, "granularity, scheme and block size")


@pytest.mark.clause("T.3")
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("weight_dtype='int3'", ValueError),
        ("weight_dtype=8", ValueError),
        ("weight_dtype=torch.int16", ValueError),
        ("granularity='per_row'", ValueError),
        ("quantization_scheme='asymmetric'", ValueError),
        ("granularity='per_block'", AssertionError),
        ("block_size=2", AssertionError),
        ("granularity='per_tensor', block_size=2", AssertionError),
        ("granularity='per_block', block_size=1.5", TypeError),
        ("granularity='per_block', block_size=(2, 1.5)", TypeError),
    ],
)
def test_other_values_are_refused(
    torch_subject: Subject, options: str, error: type[Exception]
) -> None:
    torch_subject.expect_raises(error, lambda: evaluate(torch_subject, f"{MODULE}({options})"))


@pytest.mark.clause("T.4")
@pytest.mark.parametrize(
    "dtype", ["'fp8_e4m3'", "'fp8_e5m2'", "torch.float8_e4m3fn", "torch.float8_e5m2"]
)
def test_8_bit_floating_point_is_refused(torch_subject: Subject, dtype: str) -> None:
    torch_subject.expect_raises(
        ValueError, lambda: evaluate(torch_subject, f"{MODULE}(weight_dtype={dtype})")
    )


@pytest.mark.clause("T.6")
@pytest.mark.parametrize(
    "empty",
    [
        f"{CONTAINER}()",
        f"{CONTAINER}.from_dict({{}})",
        f"{CONTAINER}.from_dict({{'global_config': None}})",
    ],
    ids=["constructor", "empty", "none"],
)
def test_no_entry_means_the_defaults(torch_subject: Subject, empty: str) -> None:
    with torch_subject.recording():
        found = evaluate(torch_subject, f"{empty}.global_config")
        expected = evaluate(torch_subject, f"{MODULE}()")
    torch_subject.expect_equal(found, expected, "the global configuration")


@pytest.mark.clause("T.7")
@pytest.mark.parametrize("other", ["module_type_configs", "module_name_configs"])
def test_schemes_must_be_equal(torch_subject: Subject, other: str) -> None:
    affine = "{'Linear': {'quantization_scheme': 'affine'}}"
    torch_subject.expect_raises(
        ValueError,
        lambda: evaluate(
            torch_subject, f"{CONTAINER}.from_dict({{'global_config': {{}}, '{other}': {affine}}})"
        ),
    )


NESTED: dict[str, Any] = {
    "global_config": {"weight_dtype": "uint4", "granularity": "per_tensor"},
    "module_type_configs": {"Linear": None, "Conv2d": {"weight_dtype": "int4"}},
    "module_name_configs": {
        "first": {"granularity": "per_block", "block_size": (2, 4)},
        r"last\..*": None,
    },
}
CONSTRUCTED = f"""{CONTAINER}(
    {MODULE}("uint4", "per_tensor"),
    {{torch.nn.Linear: None, torch.nn.Conv2d: {MODULE}("int4")}},
    {{"first": {MODULE}(granularity="per_block", block_size=(2, 4)), r"last\\..*": None}},
)"""


@pytest.mark.clause("T.10")
def test_from_dict_equals_the_constructors(torch_subject: Subject) -> None:
    with torch_subject.recording():
        expected = evaluate(torch_subject, CONSTRUCTED)
        found = evaluate(torch_subject, f"{CONTAINER}.from_dict({NESTED!r})")
    torch_subject.expect_equal(found, expected, "the configuration from a dictionary")


def _stream(text: str) -> str:
    return f"__import__('io').StringIO({text!r})"


YAML = r"""
global_config: {weight_dtype: uint4, granularity: per_tensor}
module_type_configs:
  Linear: null
  Conv2d: {weight_dtype: int4}
module_name_configs:
  last\..*: null
"""


@pytest.mark.clause("T.10")
def test_from_yaml_equals_from_dict(torch_subject: Subject, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(YAML)
    same = {**NESTED, "module_name_configs": {r"last\..*": None}}
    with torch_subject.recording():
        expected = evaluate(torch_subject, f"{CONTAINER}.from_dict({same!r})")
        by_path = evaluate(torch_subject, f"{CONTAINER}.from_yaml({str(path)!r})")
        by_stream = evaluate(torch_subject, f"{CONTAINER}.from_yaml({_stream(YAML)})")
    torch_subject.expect_equal(by_path, expected, "the configuration from a file")
    torch_subject.expect_equal(by_stream, expected, "the configuration from a stream")


@pytest.mark.clause("T.10")
def test_block_sizes_can_be_written_in_yaml(torch_subject: Subject) -> None:
    text = "{granularity: per_block, block_size: [2, 4]}"
    with torch_subject.recording():
        found = evaluate(torch_subject, f"{MODULE}.from_yaml({_stream(text)})")
    torch_subject.expect_equal(found.block_size, (2, 4), "the block size")


@pytest.mark.clause("T.10")
def test_set_methods_set_what_the_constructor_would(torch_subject: Subject) -> None:
    with torch_subject.recording():
        expected = evaluate(torch_subject, CONSTRUCTED)
        found = evaluate(torch_subject, f"{CONTAINER}().set_global({MODULE}())")
        found.set_global(expected.global_config)
        for kind, entry in expected.module_type_configs.items():
            found.set_module_type(kind, entry)
        for name, entry in expected.module_name_configs.items():
            found.set_module_name(name, entry)
    torch_subject.expect_equal(found, expected, "the configuration made by set_ methods")


@pytest.mark.clause("T.8")
@pytest.mark.parametrize("made", [f"{CONTAINER}()", CONSTRUCTED], ids=["default", "nested"])
def test_as_dict_gives_what_from_dict_takes(torch_subject: Subject, made: str) -> None:
    with torch_subject.recording():
        expected = evaluate(torch_subject, made)
        found = evaluate(torch_subject, f"{CONTAINER}.from_dict({made}.as_dict())")
    torch_subject.expect_equal(found, expected, "the configuration after a round trip")


@pytest.mark.clause("T.9")
def test_from_dict_leaves_its_argument(torch_subject: Subject) -> None:
    given = copy.deepcopy(NESTED)
    torch_subject.use_snippet(
        f"given = {given!r}\n"
        "config = cto.torch.quantization.PostTrainingQuantizerConfig.from_dict(given)\n"
        "config.set_module_name('new', None).set_module_type('ReLU', None)\n"
        "print(given)\n"
    )
    with torch_subject.recording():
        config = torch_subject.torch.quantization.PostTrainingQuantizerConfig.from_dict(given)
        config.set_module_name("new", None).set_module_type("ReLU", None)
    torch_subject.expect_equal(given, NESTED, "the dictionary after the call")


MISSPELT = {"weight_dtpye": "int4"}


@pytest.mark.clause("T.11")
@pytest.mark.parametrize(
    "config",
    [
        {"global_confg": {}},
        {"set_global": {}},
        {"global_config": MISSPELT},
        {"module_type_configs": {"Linear": MISSPELT}},
        {"module_name_configs": {"first": MISSPELT}},
    ],
    ids=["top", "method", "global", "type", "name"],
)
def test_keys_that_do_not_exist_are_errors(torch_subject: Subject, config: dict[str, Any]) -> None:
    torch_subject.expect_raises(
        (ValueError, TypeError, BaseValidationError),
        lambda: evaluate(torch_subject, f"{CONTAINER}.from_dict({config!r})"),
    )


@pytest.mark.clause("T.3")
@pytest.mark.parametrize(
    "arguments",
    [
        "3",
        "module_type_configs=[1]",
        "module_name_configs={'first': {'weight_dtype': 'int8'}}",
        "module_name_configs={1: None}",
    ],
)
def test_entries_of_another_kind_are_refused(torch_subject: Subject, arguments: str) -> None:
    torch_subject.expect_raises(
        TypeError, lambda: evaluate(torch_subject, f"{CONTAINER}({arguments})")
    )
