"""Small PyTorch models for LinearQuantizer: one for each pattern that it treats in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coreml_assay.implementations.trainable_model import MILESTONES, Config, TrainableModel


def everywhere(**options: Any) -> Config:
    """A configuration with the same options for every layer, for calibration."""
    return {"global_config": {"milestones": MILESTONES, **options}}


def _except(skipped: Mapping[str, Config], **options: Any) -> Config:
    """A configuration for every layer and others for some types or names of layers."""
    return {**everywhere(**options), **skipped}


def _layers(*layers: str) -> str:
    return f"model = nn.Sequential({', '.join(layers)})"


def _module(made: str, forward: str) -> str:
    """The source of a module from the lines of its two methods."""
    lines = [
        "class Model(nn.Module):",
        "    def __init__(self):",
        "        super().__init__()",
        *(f"        {line}" for line in made.split("; ") if line),
        "",
        "    def forward(self, x, y=None):" if " y" in forward else "    def forward(self, x):",
        *(f"        {line}" for line in forward.split("; ")),
        "",
        "model = Model()",
    ]
    return "\n".join(lines)


_IMAGE = ((2, 3, 6, 6),)
_ROWS = ((4, 6),)
_CONV = "nn.Conv2d(3, 4, 3)"
_LINEAR = "nn.Linear(6, 5)"
_BN = "nn.BatchNorm2d(4)"


def _activation(activation: str) -> TrainableModel:
    """A convolution, an activation and a convolution."""
    return TrainableModel(_layers(_CONV, activation, "nn.Conv2d(4, 2, 1)"), _IMAGE, everywhere())


MODELS: dict[str, TrainableModel] = {
    # Convolutions and what fuses with them.
    "conv": TrainableModel(_layers(_CONV), _IMAGE, everywhere()),
    "conv1d": TrainableModel(_layers("nn.Conv1d(3, 4, 3)"), ((2, 3, 7),), everywhere()),
    "conv3d": TrainableModel(_layers("nn.Conv3d(2, 3, 2)"), ((1, 2, 4, 4, 4),), everywhere()),
    "conv-grouped": TrainableModel(
        _layers("nn.Conv2d(4, 4, 3, groups=2, bias=False)"), ((2, 4, 6, 6),), everywhere()
    ),
    "conv-relu": _activation("nn.ReLU()"),
    "conv-relu6": _activation("nn.ReLU6()"),
    "conv-leaky-relu": _activation("nn.LeakyReLU(0.25)"),
    "conv-silu": _activation("nn.SiLU()"),
    "conv-gelu": _activation("nn.GELU()"),
    "conv-hardswish": _activation("nn.Hardswish()"),
    "conv-prelu": _activation("nn.PReLU()"),
    "conv-sigmoid": _activation("nn.Sigmoid()"),
    "conv-tanh": _activation("nn.Tanh()"),
    "conv-bn": TrainableModel(_layers(_CONV, _BN), _IMAGE, everywhere()),
    "conv-bn-relu": TrainableModel(_layers(_CONV, _BN, "nn.ReLU()"), _IMAGE, everywhere()),
    "conv-bn-relu6": TrainableModel(_layers(_CONV, _BN, "nn.ReLU6()"), _IMAGE, everywhere()),
    "conv1d-bn-relu": TrainableModel(
        _layers("nn.Conv1d(3, 4, 3)", "nn.BatchNorm1d(4)", "nn.ReLU()"),
        ((2, 3, 7),),
        everywhere(),
    ),
    "transposed": TrainableModel(
        _layers("nn.ConvTranspose2d(3, 4, 3)"), ((1, 3, 4, 4),), everywhere()
    ),
    "transposed-relu": TrainableModel(
        _layers("nn.ConvTranspose2d(3, 4, 3, stride=2)", "nn.ReLU()"),
        ((1, 3, 4, 4),),
        everywhere(),
    ),
    "transposed-bn-relu": TrainableModel(
        _layers("nn.ConvTranspose2d(3, 4, 3)", _BN, "nn.ReLU()"), ((1, 3, 4, 4),), everywhere()
    ),
    "transposed1d": TrainableModel(
        _layers("nn.ConvTranspose1d(3, 4, 3)"), ((1, 3, 5),), everywhere()
    ),
    # Linear layers.
    "linear": TrainableModel(_layers(_LINEAR), _ROWS, everywhere()),
    "linear-relu": TrainableModel(
        _layers(_LINEAR, "nn.ReLU()", "nn.Linear(5, 3)"), _ROWS, everywhere()
    ),
    "linear-gelu": TrainableModel(
        _layers(_LINEAR, "nn.GELU()", "nn.Linear(5, 3)"), _ROWS, everywhere()
    ),
    "linear-bn": TrainableModel(
        _layers(_LINEAR, "nn.BatchNorm1d(5)", "nn.Linear(5, 3)"), _ROWS, everywhere()
    ),
    "linear-bn-relu": TrainableModel(
        _layers(_LINEAR, "nn.BatchNorm1d(5)", "nn.ReLU()", "nn.Linear(5, 3)"), _ROWS, everywhere()
    ),
    "linear-softmax": TrainableModel(_layers(_LINEAR, "nn.Softmax(dim=-1)"), _ROWS, everywhere()),
    # Arithmetic, branches and concatenation.
    "add": TrainableModel(
        _module(
            "self.a = nn.Conv2d(3, 4, 3); self.b = nn.Conv2d(3, 4, 3)",
            "return self.a(x) + self.b(x)",
        ),
        _IMAGE,
        everywhere(),
    ),
    "residual-add-relu": TrainableModel(
        _module(
            "self.a = nn.Conv2d(3, 3, 3, padding=1); self.b = nn.Conv2d(3, 4, 1)",
            "return self.b(F.relu(x + self.a(x)))",
        ),
        _IMAGE,
        everywhere(),
    ),
    "add-of-relus": TrainableModel(
        _module(
            "self.a = nn.Conv2d(3, 4, 3); self.b = nn.Conv2d(3, 4, 3); self.c = nn.Conv2d(4, 2, 1)",
            "return self.c(torch.add(F.relu(self.a(x)), torch.relu(self.b(x))))",
        ),
        _IMAGE,
        everywhere(),
    ),
    "two-inputs-mul": TrainableModel(
        _module("self.a = nn.Linear(6, 6)", "return self.a(x) * y"), ((4, 6), (4, 6)), everywhere()
    ),
    "sub": TrainableModel(
        _module("self.a = nn.Linear(6, 6)", "return self.a(x - 1) - x"), _ROWS, everywhere()
    ),
    "matmul": TrainableModel(
        _module("self.a = nn.Linear(6, 6)", "return torch.matmul(self.a(x), x.transpose(0, 1))"),
        _ROWS,
        everywhere(),
    ),
    "concat-of-relus": TrainableModel(
        _module(
            "self.a = nn.Conv2d(3, 4, 3); self.b = nn.Conv2d(3, 2, 3); "
            "self.c = nn.Conv2d(6, 2, 1); self.relu = nn.ReLU()",
            "return self.c(torch.cat([self.relu(self.a(x)), F.relu(self.b(x))], 1))",
        ),
        _IMAGE,
        everywhere(),
    ),
    "concat-mixed": TrainableModel(
        _module(
            "self.a = nn.Conv2d(3, 4, 3); self.b = nn.Conv2d(3, 2, 3); "
            "self.c = nn.Conv2d(6, 2, 1); self.relu = nn.ReLU()",
            "return self.c(torch.cat([self.relu(self.a(x)), self.b(x)], 1))",
        ),
        _IMAGE,
        everywhere(),
    ),
    "shared-module": TrainableModel(
        _module(
            "self.a = nn.Conv2d(3, 3, 3, padding=1); self.b = nn.Conv2d(3, 2, 1)",
            "return self.b(self.a(self.a(x)))",
        ),
        _IMAGE,
        everywhere(),
    ),
    "functional": TrainableModel(
        _module(
            "self.a = nn.Conv2d(3, 4, 3); self.b = nn.Linear(4, 3)",
            "x = F.relu6(self.a(x)); x = F.max_pool2d(x, 2); x = F.adaptive_avg_pool2d(x, 1); "
            "x = torch.flatten(x, 1); return F.hardswish(self.b(x))",
        ),
        _IMAGE,
        everywhere(),
    ),
    # What passes its input's quantization on.
    "max-pool": TrainableModel(
        _layers(_CONV, "nn.ReLU()", "nn.MaxPool2d(2)", "nn.Conv2d(4, 2, 1)"), _IMAGE, everywhere()
    ),
    "average-pool": TrainableModel(
        _layers(_CONV, "nn.AvgPool2d(2)", "nn.Conv2d(4, 2, 1)"), _IMAGE, everywhere()
    ),
    "classifier": TrainableModel(
        _layers(
            _CONV, _BN, "nn.ReLU()", "nn.AdaptiveAvgPool2d(1)", "nn.Flatten()", "nn.Linear(4, 3)"
        ),
        _IMAGE,
        everywhere(),
    ),
    "mean": TrainableModel(
        _module(
            "self.a = nn.Conv2d(3, 4, 3); self.b = nn.Linear(4, 3)",
            "return self.b(self.a(x).mean([2, 3]))",
        ),
        _IMAGE,
        everywhere(),
    ),
    "dropout": TrainableModel(
        _layers(_LINEAR, "nn.ReLU()", "nn.Dropout(0.25)", "nn.Linear(5, 3)"), _ROWS, everywhere()
    ),
    "identity": TrainableModel(
        _layers(_LINEAR, "nn.Identity()", "nn.Linear(5, 3)"), _ROWS, everywhere()
    ),
    "bn-alone": TrainableModel(_layers("nn.BatchNorm2d(3)", _CONV), _IMAGE, everywhere()),
    "sigmoid-gate": TrainableModel(
        _module(
            "self.a = nn.Linear(6, 6); self.b = nn.Linear(6, 6)",
            "return self.a(x) * torch.sigmoid(self.b(x))",
        ),
        _ROWS,
        everywhere(),
    ),
    # Sequences.
    "embedding": TrainableModel(
        _module(
            "self.table = nn.Embedding(11, 6); self.a = nn.Linear(6, 4)",
            "return self.a(self.table(x))",
        ),
        ((2, 5),),
        {
            **everywhere(),
            "module_type_configs": {"Embedding": {"activation_dtype": "float32"}},
        },
        tokens=11,
    ),
    "attention": TrainableModel(
        _module(
            "self.q = nn.Linear(6, 6); self.k = nn.Linear(6, 6); self.v = nn.Linear(6, 6); "
            "self.out = nn.Linear(6, 6)",
            "weights = torch.matmul(self.q(x), self.k(x).transpose(-2, -1)) * 0.5; "
            "weights = F.softmax(weights, dim=-1); "
            "return self.out(torch.matmul(weights, self.v(x)))",
        ),
        ((1, 4, 6),),
        everywhere(),
    ),
    "layer-norm": TrainableModel(
        _layers(_LINEAR, "nn.LayerNorm(5)", "nn.Linear(5, 3)"), _ROWS, everywhere()
    ),
    # Nesting, and layers that are skipped.
    "nested": TrainableModel(
        _layers(
            "nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))",
            "nn.Sequential(nn.Conv2d(4, 2, 1), nn.LeakyReLU(0.5))",
        ),
        _IMAGE,
        everywhere(),
    ),
    "skipped-by-type": TrainableModel(
        _layers(_CONV, "nn.ReLU()", "nn.Flatten()", "nn.Linear(64, 3)"),
        _IMAGE,
        {**everywhere(), "module_type_configs": {"Linear": None}},
    ),
    "skipped-by-name": TrainableModel(
        _module(
            "self.first = nn.Conv2d(3, 4, 3); self.middle = nn.Conv2d(4, 4, 1); "
            "self.last = nn.Conv2d(4, 2, 1)",
            "return self.last(F.relu(self.middle(F.relu(self.first(x)))))",
        ),
        _IMAGE,
        {**everywhere(), "module_name_configs": {"first": None, "last": None}},
    ),
    "4-bit-by-name": TrainableModel(
        _layers(_CONV, "nn.LeakyReLU()", "nn.Conv2d(4, 2, 1)"),
        _IMAGE,
        {
            **everywhere(),
            "module_name_configs": {"2": {"milestones": MILESTONES, "weight_dtype": "qint4"}},
        },
        target="iOS18",
    ),
    # Options.
    "weight-only": TrainableModel(
        _layers(_CONV, _BN, "nn.ReLU()", "nn.Flatten()", "nn.Linear(64, 3)"),
        _IMAGE,
        everywhere(activation_dtype="float32"),
    ),
    "activation-only": TrainableModel(
        _layers(_CONV, "nn.ReLU()", "nn.Flatten()", "nn.Linear(64, 3)"),
        _IMAGE,
        everywhere(weight_dtype="float32"),
    ),
    "4-bit": TrainableModel(
        _layers(_CONV, "nn.ReLU()", "nn.Flatten()", "nn.Linear(64, 3)"),
        _IMAGE,
        everywhere(weight_dtype="qint4"),
        target="iOS18",
    ),
    "unsigned": TrainableModel(
        _layers(_CONV, "nn.ReLU()"), _IMAGE, everywhere(weight_dtype="quint8")
    ),
    "unsigned-4-bit": TrainableModel(
        _layers(_LINEAR, "nn.ReLU()", "nn.Linear(5, 3)"),
        _ROWS,
        everywhere(weight_dtype="quint4"),
        target="iOS18",
    ),
    "affine": TrainableModel(
        _layers(_CONV, "nn.ReLU()", "nn.Conv2d(4, 2, 1)", "nn.LeakyReLU(0.5)"),
        _IMAGE,
        everywhere(quantization_scheme="affine"),
    ),
    "affine-4-bit": TrainableModel(
        _layers(_LINEAR, "nn.ReLU()", "nn.Linear(5, 3)"),
        _ROWS,
        everywhere(quantization_scheme="affine", weight_dtype="qint4"),
        target="iOS18",
    ),
    "per-tensor": TrainableModel(
        _layers(_CONV, "nn.ReLU()", "nn.Flatten()", "nn.Linear(64, 3)"),
        _IMAGE,
        everywhere(weight_per_channel=False),
    ),
    "min-max": TrainableModel(
        _layers(_CONV, "nn.ReLU()", "nn.Conv2d(4, 2, 1)"),
        _IMAGE,
        everywhere(activation_observer="min_max", weight_observer="min_max"),
    ),
    "ema": TrainableModel(
        _layers(_CONV, "nn.ReLU()", "nn.Conv2d(4, 2, 1)"),
        _IMAGE,
        everywhere(activation_observer="ema_min_max", weight_observer="ema_min_max"),
    ),
    "learnable": TrainableModel(
        _layers(_CONV, "nn.ReLU()", "nn.Conv2d(4, 2, 1)"),
        _IMAGE,
        everywhere(algorithm="learnable"),
    ),
    "learnable-affine": TrainableModel(
        _layers(_LINEAR, "nn.ReLU()", "nn.Linear(5, 3)"),
        _ROWS,
        everywhere(algorithm="learnable", quantization_scheme="affine"),
    ),
}
"""Name -> model; the order is that of the golden files."""
