"""LinearQuantizer on a small network: calibrating, and a step of training; and what it costs."""

# asv reads lists.
# ruff: noqa: RUF012

from time import process_time

import torch

from coreml_assay.implementations import load_implementation

from .interleaved import ratio

PHASES = ["calibrate", "train"]


def network():
    return torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 32, 3), torch.nn.BatchNorm2d(32), torch.nn.ReLU()),
        *(torch.nn.Conv2d(32, 64, 3), torch.nn.ReLU(), torch.nn.AvgPool2d(2)),
        *(torch.nn.Flatten(), torch.nn.Linear(64 * 100, 10)),
    )


def passing(implementation, phase):
    """A call that passes a batch forward, and back as well to train."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model, batch = network(), torch.randn(8, 3, 24, 24)
    if implementation != "none":
        quantization = load_implementation(implementation).optimize.torch.quantization
        module_config = quantization.ModuleLinearQuantizerConfig()
        config = quantization.LinearQuantizerConfig(global_config=module_config)
        model = quantization.LinearQuantizer(model, config).prepare(example_inputs=batch)

    def calibrate():
        with torch.no_grad():
            model(batch)

    def train():
        model.zero_grad()
        model(batch).square().mean().backward()

    return {"calibrate": calibrate, "train": train}[phase]


class Pass:
    params = [["reference", "coremltools", "none"], PHASES]
    param_names = ["implementation", "phase"]
    timer = process_time
    rounds = 1
    repeat = (3, 10, 1.0)

    def setup(self, implementation, phase):
        self.call = passing(implementation, phase)

    def time_pass(self, *_):
        self.call()

    def peakmem_pass(self, *_):
        self.call()


class PassRatio:
    """The reference's CPU time, in times of the others'; "none" quantizes nothing."""

    params = [["coremltools", "none"], PHASES]
    param_names = ["implementation", "phase"]

    def setup(self, implementation, phase):
        self.theirs, self.ours = passing(implementation, phase), passing("reference", phase)

    def track_ratio(self, *_):
        return ratio(self.ours, self.theirs, pairs=15)

    track_ratio.unit = "times the other"
