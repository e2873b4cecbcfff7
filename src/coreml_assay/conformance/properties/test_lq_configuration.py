"""Configuration of LinearQuantizer: defaults, what is accepted and refused, ways to make one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from coreml_assay.conformance.linear_quantizing import configure, namespace
from coreml_assay.conformance.subject import Subject

MODULE = "quantization.ModuleLinearQuantizerConfig"
WHOLE = "quantization.LinearQuantizerConfig"

DEFAULTS = {
    "algorithm": "'vanilla'",
    "weight_dtype": "torch.qint8",
    "weight_n_bits": "8",
    "weight_observer": "quantization.ObserverType.moving_average_min_max",
    "weight_per_channel": "True",
    "activation_dtype": "torch.quint8",
    "activation_observer": "quantization.ObserverType.moving_average_min_max",
    "quantization_scheme": "quantization.QuantizationScheme.symmetric",
    "milestones": "None",
}


@pytest.mark.clause("L.1")
@pytest.mark.parametrize("field", DEFAULTS)
def test_defaults(torch_subject: Subject, field: str) -> None:
    with torch_subject.recording():
        found = configure(torch_subject, f"{MODULE}().{field}")
        expected = configure(torch_subject, DEFAULTS[field])
    torch_subject.expect_equal(found, expected, f"the default of {field}")


@pytest.mark.clause("L.1")
@pytest.mark.parametrize("made", [f"{WHOLE}()", f"{WHOLE}.from_dict({{}})"])
def test_without_entries_the_defaults_are_global(torch_subject: Subject, made: str) -> None:
    with torch_subject.recording():
        found = configure(torch_subject, f"{made}.global_config")
        expected = configure(torch_subject, f"{MODULE}()")
    torch_subject.expect_equal(found, expected, "the global configuration")


WIDTHS = {
    "'qint8'": 8,
    "'quint8'": 8,
    "'qint4'": 4,
    "'quint4'": 4,
    "'float32'": 32,
    "torch.qint8": 8,
    "torch.quint8": 8,
    "torch.float32": 32,
}


@pytest.mark.clause("L.2")
@pytest.mark.parametrize("dtype", WIDTHS)
def test_weight_dtypes(torch_subject: Subject, dtype: str) -> None:
    with torch_subject.recording():
        found = configure(torch_subject, f"{MODULE}(weight_dtype={dtype}).weight_n_bits")
    torch_subject.expect_equal(found, WIDTHS[dtype], "weight_n_bits")


@pytest.mark.clause("L.2")
@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        ("algorithm", "'learnable'", "'learnable'"),
        ("activation_dtype", "'quint8'", "torch.quint8"),
        ("activation_dtype", "'float32'", "torch.float32"),
        ("activation_dtype", "torch.float32", "torch.float32"),
        ("weight_observer", "'min_max'", "quantization.ObserverType.min_max"),
        ("activation_observer", "'ema_min_max'", "quantization.ObserverType.ema_min_max"),
        ("quantization_scheme", "'affine'", "quantization.QuantizationScheme.affine"),
        ("milestones", "[0, 100, 400, -1]", "[0, 100, 400, -1]"),
    ],
)
def test_accepted_values(torch_subject: Subject, field: str, value: str, stored: str) -> None:
    with torch_subject.recording():
        found = configure(torch_subject, f"{MODULE}({field}={value}).{field}")
        expected = configure(torch_subject, stored)
    torch_subject.expect_equal(found, expected, field)


REFUSED = (ValueError, TypeError, AssertionError)


@pytest.mark.clause("L.3")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("algorithm", "'random'"),
        ("weight_dtype", "'int7'"),
        ("weight_dtype", "'qint2'"),
        ("weight_dtype", "torch.float16"),
        ("activation_dtype", "torch.qint8"),
        ("activation_dtype", "'quint4'"),
        ("weight_observer", "'median'"),
        ("activation_observer", "'median'"),
        ("weight_per_channel", "'yes'"),
        ("quantization_scheme", "'logarithmic'"),
        ("milestones", "[0, 1, 2]"),
        ("milestones", "[0, 1, 2, 3, 4]"),
        ("milestones", "[0, 1, 2, 3.5]"),
        ("milestones", "5"),
    ],
)
def test_refused_values(torch_subject: Subject, field: str, value: str) -> None:
    namespace(torch_subject)
    torch_subject.expect_raises(
        REFUSED, lambda: configure(torch_subject, f"{MODULE}({field}={value})")
    )


@pytest.mark.clause("L.4")
@pytest.mark.parametrize(("dtype", "same"), [("torch.int8", "qint8"), ("torch.uint8", "quint8")])
def test_integer_dtypes_of_torch_are_8_bit_codes(
    torch_subject: Subject, dtype: str, same: str
) -> None:
    with torch_subject.recording():
        found = configure(torch_subject, f"{MODULE}(weight_dtype={dtype})")
        expected = configure(torch_subject, f"{MODULE}(weight_dtype='{same}')")
    torch_subject.expect_equal(found, expected, "the configuration")


@pytest.mark.clause("L.5")
@pytest.mark.parametrize(
    ("field", "one", "other"),
    [("quantization_scheme", "symmetric", "affine"), ("algorithm", "vanilla", "learnable")],
)
@pytest.mark.parametrize("place", ["module_type_configs", "module_name_configs"])
def test_all_entries_agree(
    torch_subject: Subject, field: str, one: str, other: str, place: str
) -> None:
    namespace(torch_subject)
    config = {"global_config": {field: one}, place: {"Linear": {field: other}}}
    torch_subject.expect_raises(
        REFUSED, lambda: configure(torch_subject, f"{WHOLE}.from_dict({config})")
    )


DICTIONARY: dict[str, Any] = {
    "global_config": {"weight_dtype": "qint4", "milestones": [0, 1, 2, 3]},
    "module_type_configs": {"Linear": None, "Conv2d": {"activation_dtype": "float32"}},
    "module_name_configs": {"a": {"weight_observer": "min_max"}, "b": None},
    "preserved_attributes": ["key"],
    "non_traceable_module_names": ["c"],
}
CONSTRUCTED = f"""{WHOLE}(
    global_config={MODULE}(weight_dtype='qint4', milestones=[0, 1, 2, 3]),
    module_type_configs={{'Linear': None, 'Conv2d': {MODULE}(activation_dtype='float32')}},
    module_name_configs={{'a': {MODULE}(weight_observer='min_max'), 'b': None}},
    preserved_attributes=['key'],
    non_traceable_module_names=['c'],
)"""


@pytest.mark.clause("L.6")
def test_from_dict_makes_what_the_constructors_make(torch_subject: Subject) -> None:
    with torch_subject.recording():
        found = configure(torch_subject, f"{WHOLE}.from_dict({DICTIONARY})")
        expected = configure(torch_subject, CONSTRUCTED)
    torch_subject.expect_equal(found, expected, "the configuration")


@pytest.mark.clause("L.6")
def test_the_setters_make_what_the_constructors_make(torch_subject: Subject) -> None:
    with torch_subject.recording():
        found = configure(
            torch_subject,
            f"{WHOLE}(preserved_attributes=['key'], non_traceable_module_names=['c'])"
            f".set_global({MODULE}(weight_dtype='qint4', milestones=[0, 1, 2, 3]))"
            ".set_module_type('Linear', None)"
            f".set_module_type('Conv2d', {MODULE}(activation_dtype='float32'))"
            f".set_module_name('a', {MODULE}(weight_observer='min_max'))"
            ".set_module_name('b', None)",
        )
        expected = configure(torch_subject, CONSTRUCTED)
    torch_subject.expect_equal(
        (found.global_config, found.module_name_configs),
        (expected.global_config, expected.module_name_configs),
        "the configuration",
    )


@pytest.mark.clause("L.6")
def test_from_dict_leaves_its_argument_as_it_is(torch_subject: Subject) -> None:
    given = copy.deepcopy(DICTIONARY)
    with torch_subject.recording():
        namespace(torch_subject).LinearQuantizerConfig.from_dict(given)
    torch_subject.expect_equal(given, DICTIONARY, "the dictionary after the call")


@pytest.mark.clause("L.6")
@pytest.mark.parametrize(
    "config",
    [
        {"globalconfig": {}},
        {"global_config": {"weight_type": "qint8"}},
        {"module_name_configs": {"a": {"milestone": [0, 1, 2, 3]}}},
    ],
    ids=["top", "global", "name"],
)
def test_keys_that_do_not_exist_are_errors(torch_subject: Subject, config: Any) -> None:
    namespace(torch_subject)
    torch_subject.expect_raises(
        Exception, lambda: configure(torch_subject, f"{WHOLE}.from_dict({config})")
    )


@pytest.mark.clause("L.7")
@pytest.mark.parametrize("field", ["non_traceable_module_names", "preserved_attributes"])
def test_each_configuration_has_lists_of_its_own(torch_subject: Subject, field: str) -> None:
    with torch_subject.recording():
        one = configure(torch_subject, f"{WHOLE}()")
        getattr(one, field).append("later")
        found = list(getattr(configure(torch_subject, f"{WHOLE}()"), field))
        getattr(one, field).remove("later")  # a default that is shared would stay changed
    torch_subject.use_snippet(
        f"one = cto.torch.{WHOLE}()\none.{field}.append('later')\n"
        f"print(cto.torch.{WHOLE}().{field})\n"
    )
    torch_subject.expect_equal(found, [], f"{field} of another configuration")


@pytest.mark.clause("L.8")
@pytest.mark.parametrize("place", ["module_type_configs", "module_name_configs"])
def test_learnable_needs_no_global_configuration(torch_subject: Subject, place: str) -> None:
    with torch_subject.recording():
        found = configure(
            torch_subject, f"{WHOLE}({place}={{'Linear': {MODULE}(algorithm='learnable')}})"
        )
    (entry,) = getattr(found, place).values()
    torch_subject.expect_equal(entry.algorithm, "learnable", "the algorithm")
