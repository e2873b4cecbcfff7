"""A small convolutional network, trained on the spot on scikit-learn's 8 x 8 digits."""

from __future__ import annotations

import csv
import gzip
from typing import Any

import numpy as np

from coreml_assay.accuracy.cases import BuiltIn, Case, Requirement, Sample, Task
from coreml_assay.accuracy.conversion import convert
from coreml_assay.accuracy.metrics import Array, share_correct

SCIKIT_LEARN = Requirement("scikit-learn")
_TRAINED_ON, _EPOCHS = 1257, 30


def make(seed: int) -> Case:
    """Train, convert to float16 and test on the 540 images that were not trained on."""
    images, labels = _images()
    order = np.random.default_rng(seed).permutation(len(images))
    train, test = order[:_TRAINED_ON], order[_TRAINED_ON:]
    network = _trained(images[train], labels[train], seed)

    def sample(image: Array) -> Sample:
        return {"image": image[None]}

    return Case(
        name="digits CNN",
        model=convert(network, (1, 1, 8, 8), "image"),
        data=f"{len(test)} of scikit-learn's digits, not trained on",
        samples=[sample(image) for image in images[test]],
        calibration=[sample(image) for image in images[train[:32]]],
        faint=sample(images[train[0]] / 50),
        task=Task(
            "digits told right",
            lambda outputs: share_correct(
                np.concatenate([next(iter(each.values())) for each in outputs]), labels[test]
            ),
        ),
        trained=True,
        probes=64,
    )


def _images() -> tuple[Array, Array]:
    """Images, 1 x 8 x 8 float32 from 0 to 1, and their digits."""
    with gzip.open(SCIKIT_LEARN.file("sklearn/datasets/data/digits.csv.gz"), "rt") as file:
        rows = np.array([[float(cell) for cell in row] for row in csv.reader(file)])
    images = (rows[:, :-1] / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    return images, rows[:, -1].astype(np.int64)


def _trained(images: Array, labels: Array, seed: int) -> Any:
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(512, 64),
            nn.ReLU(),
            nn.Linear(64, 10),
        )
        x, y = torch.from_numpy(images), torch.from_numpy(labels)
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _EPOCHS)
        for _ in range(_EPOCHS):
            for batch in torch.randperm(len(x)).split(64):
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(x[batch]), y[batch]).backward()
                optimizer.step()
            schedule.step()
    return network.eval()


DIGITS = BuiltIn("digits", (SCIKIT_LEARN,), make)
