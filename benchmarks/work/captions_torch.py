"""The work of `captions` in plain PyTorch: its own LSTM in training, its cell in the search."""

import pathlib

import torch
from torch import nn

from benchmarks.work import Work, theirs
from benchmarks.work.captions import END, RATE, START, arrays, inputs


class Captioner(nn.Module):
    """Show and Tell on features of the words' width."""

    def __init__(self, words: int, width: int):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.linear = nn.Linear(width, words)
        drawn = {name: torch.from_numpy(value) for name, value in arrays(words, width).items()}
        with torch.no_grad():
            self.embedding.weight.copy_(drawn["embedding"])
            self.lstm.weight_ih_l0.copy_(drawn["x"])
            self.lstm.weight_hh_l0.copy_(drawn["h"])
            self.lstm.bias_ih_l0.copy_(drawn["bias"])
            self.lstm.bias_hh_l0.zero_()
            self.lstm.bias_hh_l0.requires_grad_(False)  # the sum of both is what ours has
            self.linear.weight.copy_(drawn["linear"])
            self.linear.bias.copy_(drawn["last"])

    def forward(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        x = torch.cat([features[:, None], self.embedding(tokens[:, :-1])], 1)
        return self.linear(self.lstm(x)[0][:, 1:])


def _made(images: int, length: int, words: int, width: int) -> tuple:
    theirs.prepare()
    features, tokens = inputs(images, length, words, width)
    return Captioner(words, width), torch.from_numpy(features), torch.from_numpy(tokens).long()


def train(
    shared: pathlib.Path, images: int, length: int, words: int, width: int, beams: int, steps: int
) -> Work:
    model, features, tokens = _made(images, length, words, width)

    def forward() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        logits, targets = model(features, tokens).flatten(0, 1), tokens[:, 1:].flatten()
        loss = nn.functional.cross_entropy(logits, targets, ignore_index=0)
        counted = targets != 0
        right = (logits.argmax(-1) == targets) & counted
        return loss, {"top1": right.sum() / counted.sum()}

    return theirs.training(model, forward, images, steps, RATE)


def infer(
    shared: pathlib.Path, images: int, length: int, words: int, width: int, beams: int, steps: int
) -> Work:
    model, features, _ = _made(images, length, words, width)

    def run() -> torch.Tensor:
        """Follows the likeliest beams; none ends before all steps are made."""
        _, (h, c) = model.lstm(features[:, None])
        token = torch.full((images, 1), START)
        totals = torch.zeros(images, 1)
        rows = torch.arange(images)[:, None]
        captions = token[..., None]
        for _ in range(length - 1):
            count = totals.shape[1]
            x = model.embedding(token).flatten(0, 1)[:, None]
            _, (h, c) = model.lstm(x, (h, c))
            log_probs = model.linear(h[0]).log_softmax(-1).view(images, count, -1)
            best, offered = log_probs.topk(beams)
            ranked = (totals[..., None] + best).masked_fill(offered == END, -torch.inf)
            totals, chosen = ranked.flatten(1).topk(beams)
            parent = chosen // beams
            token = offered.flatten(1).gather(1, chosen)
            captions = torch.cat([captions[rows, parent], token[..., None]], -1)
            states = (s.view(images, count, -1)[rows, parent].flatten(0, 1)[None] for s in (h, c))
            h, c = states
        return totals

    return theirs.inference(run, images, steps, lambda scores: {"scores": scores.numpy()})
