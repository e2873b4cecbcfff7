"""The second network of MTCNN, on faces and what is none."""

from __future__ import annotations

from typing import Any

import numpy as np

from coreml_assay.accuracy.cases import BuiltIn, Case, Requirement, Task
from coreml_assay.accuracy.conversion import convert
from coreml_assay.accuracy.metrics import share_correct

FACENET = Requirement("facenet-pytorch", "2.6.0")
SCIKIT_IMAGE = Requirement("scikit-image")


def make(_seed: int) -> Case:
    """R-Net with its published weights on 200 patches, half of them faces."""
    patches = np.load(SCIKIT_IMAGE.file("skimage/data/lfw_subset.npy")).astype(np.float32)
    patches = patches[:, :24, :24] * 255
    images = np.repeat(((patches - 127.5) / 128)[:, None], 3, axis=1)
    labels = np.repeat([1, 0], 100)  # the faces come first
    samples = [{"image": image[None]} for image in images]

    return Case(
        name="MTCNN R-Net",
        model=convert(_network(), (1, 3, 24, 24), "image"),
        data="160 patches of scikit-image's lfw_subset, half of them faces",
        samples=samples[20:180],
        calibration=samples[:20] + samples[180:],
        task=Task(
            "faces told right",
            lambda outputs: share_correct(
                np.concatenate([_two_classes(each) for each in outputs]), labels[20:180]
            ),
        ),
        probes=32,
    )


def _two_classes(outputs: Any) -> Any:
    (scores,) = [value for value in outputs.values() if value.shape[-1] == 2]
    return scores


def _network() -> Any:
    """R-Net of Zhang et al., Joint Face Detection and Alignment (2016), with published weights."""
    import torch
    from torch import nn

    class PReLU(nn.Module):  # type: ignore[misc]
        """Written out, because Core ML's takes no matrix."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(channels))

        def forward(self, x: Any) -> Any:
            a = self.weight.reshape(1, -1, *[1] * (x.dim() - 2))
            return torch.relu(x) - a * torch.relu(-x)

    class RNet(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.prelu1 = nn.Conv2d(3, 28, 3), PReLU(28)
            self.conv2, self.prelu2 = nn.Conv2d(28, 48, 3), PReLU(48)
            self.conv3, self.prelu3 = nn.Conv2d(48, 64, 2), PReLU(64)
            self.dense4, self.prelu4 = nn.Linear(576, 128), PReLU(128)
            self.dense5_1, self.dense5_2 = nn.Linear(128, 2), nn.Linear(128, 4)
            self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)

        def forward(self, x: Any) -> Any:
            x = self.pool(self.prelu1(self.conv1(x)))
            x = self.pool(self.prelu2(self.conv2(x)))
            x = self.prelu3(self.conv3(x)).permute(0, 3, 2, 1).flatten(1)
            x = self.prelu4(self.dense4(x))
            return self.dense5_2(x), torch.softmax(self.dense5_1(x), dim=1)

    network = RNet()
    weights = torch.load(FACENET.file("facenet_pytorch/data/rnet.pt"), weights_only=True)
    network.load_state_dict(weights)
    return network.eval()


FACES = BuiltIn("faces", (FACENET, SCIKIT_IMAGE), make)
