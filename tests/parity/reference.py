"""One network, trained by a plain torch loop: what the package's ways to train must give.

Written from the documentation, without a look at the package's loops: the docstrings of the
estimators and of ``sk_tune._engine.Fit``, ADR 3 (random numbers) and ADR 4 (what a fit
computes).  Of the package it takes the torch modules of ``sk_tune._nets``, which
``tests/nets`` holds against formulas, and the operations of ``sk_tune._augment``, which
``tests/augment`` does.  Losses, optimizers and clipping are torch's, splits, class weights
and scores scikit-learn's.
"""

import math
from collections import defaultdict
from typing import Any, NamedTuple

import numpy as np
import torch
from parity.networks import build_module, coded_columns, layout_of, sample_shape
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import compute_class_weight
from torch import Tensor, nn
from torch.nn import functional as F

from sk_tune._augment import RowAugmenter, as_augmentations
from sk_tune._nets import SeededDropout

WEIGHTS, BATCH_ORDER, DROPOUT, VALIDATION_SPLIT, MODULE, AUGMENTATION = range(6)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Reference(NamedTuple):
    """What the loop gives.

    Curves by name, weights in use and last ones, the optimizer's state of each parameter,
    predictions of the monitor, and the epoch whose weights are in use.
    """

    curves: dict[str, list[float]]
    weights: dict[str, Tensor]
    last_weights: dict[str, Tensor]
    moments: list[dict[str, Tensor]]
    predictions: np.ndarray
    best_epoch: int


class Samples(NamedTuple):
    """Inputs, encoded targets and weights of samples."""

    X: Tensor
    y: Tensor
    weight: Tensor

    def take(self, index: Any) -> "Samples":
        """Return the samples at some positions."""
        return Samples(*(part[index] for part in self))


# Powers of the variance by the mean, of the losses with a log link.
POWERS = {"poisson": 1, "gamma": 2, "tweedie": 1.5}


def derive_seed(seed: int, stream: int, counter: int = 0) -> int:
    """Return the seed of one use of random numbers (ADR 3)."""
    state = np.random.SeedSequence((seed, stream, counter)).generate_state(1, np.uint64)
    return int(state[0]) // 2


def _murmur(value: Any) -> Any:
    value = value % 2**32
    value = (value ^ value >> 16) * 0x85EBCA6B % 2**32
    value = (value ^ value >> 13) * 0xC2B2AE35 % 2**32
    return value ^ value >> 16


def dropout_mask(n: int, p: float, seed: int, layer: int, step: int) -> Tensor:
    """Return which of n elements a layer (from 0) of a network keeps at a step (ADR 3)."""
    golden = 0x9E3779B9
    key = _murmur(_murmur(seed % 2**32) ^ _murmur((seed >> 32) + layer + 1))
    mixed = _murmur(key + step * golden)
    a, b = mixed | 1, _murmur(mixed ^ golden)
    positions = np.arange(1, n + 1, dtype=np.uint64)
    bits = (_murmur(positions) * np.uint64(a) + np.uint64(b + 2**31)) % np.uint64(2**32)
    return torch.from_numpy(bits.astype(np.int64)) >= int(p * 2**32)


class _Dropout:
    """Lets the dropout layers of a module mask by the formula."""

    def __init__(self, module: nn.Module, seed: int) -> None:
        self.step, self.seed = 0, seed
        layers = [m for m in module.modules() if isinstance(m, SeededDropout)]
        for place, layer in enumerate(layers):
            layer.forward = self._forward(layer, place)

    def _forward(self, layer: SeededDropout, place: int) -> Any:
        def forward(x: Tensor) -> Tensor:
            if not layer.training or not layer.p:
                return x
            kept = dropout_mask(x.numel(), layer.p, self.seed, place, self.step)
            return x * kept.view_as(x) / (1 - layer.p)

        return forward


class _Targets:
    """How targets are encoded, and outputs become predictions."""

    def __init__(self, y: np.ndarray, weight: np.ndarray, params: dict[str, Any]) -> None:
        self.link = "softmax" if y.ndim == 1 else "sigmoid"
        self.classes, self.n_quantiles = np.unique(y), 1
        self.n_outputs = len(self.classes) if y.ndim == 1 else y.shape[1]
        if "loss" in params:
            self.link, y = "identity", y.reshape(len(y), -1)
            self.n_outputs = y.shape[1]
            self.mean = np.average(y, axis=0, weights=weight)
            self.scale = np.average((y - self.mean) ** 2, axis=0, weights=weight) ** 0.5
            if params["loss"] in POWERS:
                self.link, self.mean, self.scale = "exp", 0 * self.mean, self.mean
            if params["loss"] == "quantile":
                self.n_outputs = self.n_quantiles = len(params["quantiles"])
                self.middle = np.argmin(np.abs(np.array(params["quantiles"]) - 0.5))

    def encode(self, y: np.ndarray) -> Tensor:
        if self.link == "softmax":
            # A class that is not trained has no output; torch leaves -100 out of the loss.
            places = np.searchsorted(self.classes, y)
            return torch.tensor(np.where(np.isin(y, self.classes), places, -100))
        if self.link in {"identity", "exp"}:
            y = (y.reshape(len(y), -1) - self.mean) / self.scale
            y = y.repeat(self.n_quantiles, axis=1)
        return torch.tensor(y, dtype=torch.float64)

    def decode(self, outputs: Tensor) -> Tensor:
        if self.link in {"identity", "exp"}:
            outputs = outputs.exp() if self.link == "exp" else outputs
            if self.n_quantiles > 1:
                outputs = outputs.sort(dim=1).values[:, [self.middle]]
            y = outputs * torch.tensor(self.scale) + torch.tensor(self.mean)
            return y.squeeze(1)
        return outputs.softmax(dim=1) if self.link == "softmax" else outputs.sigmoid()


def _class_factors(
    class_weight: Any, y: np.ndarray, train: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Return the weight of each sample's class, balanced over the training samples."""
    if class_weight is None:
        return np.ones(len(y))
    classes = np.unique(y[train])
    if isinstance(class_weight, dict):
        factors = [class_weight.get(label, 1.0) for label in classes.tolist()]
    else:
        factors = compute_class_weight(
            class_weight, classes=classes, y=y[train], sample_weight=weight[train]
        )
    return np.array(factors)[np.searchsorted(classes, y)]


def _split(
    params: dict[str, Any], y: np.ndarray, seed: int, *, is_stratified: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions of samples to train on and, for early stopping, to validate on."""
    positions = np.arange(len(y))
    if params["early_stopping"] is not True:
        return positions, positions[:0]
    return train_test_split(
        positions,
        test_size=math.ceil(params["validation_fraction"] * len(y)),
        random_state=derive_seed(seed, VALIDATION_SPLIT) % 2**32,
        stratify=y if is_stratified else None,
    )


def _in_one_form(samples: Samples, module: nn.Module) -> Samples:
    """Merge equal samples, sorted; for batch normalisation, repeat them by weight."""
    X, y, weight = (part.numpy() for part in samples)
    flat = np.column_stack([np.nan_to_num(X.reshape(len(X), -1), nan=np.inf), y])
    _, first, group = np.unique(flat, axis=0, return_index=True, return_inverse=True)
    weight = np.bincount(group, weights=weight)
    merged = samples.take(torch.from_numpy(first))._replace(weight=torch.from_numpy(weight))
    if not any(isinstance(layer, BATCH_NORMS) for layer in module.modules()):
        return merged
    if (weight % 1).any() or weight.sum() > 10 * len(weight):
        return samples
    repeated = merged.take(np.repeat(np.arange(len(weight)), weight.astype(int)))
    return repeated._replace(weight=torch.ones(len(repeated.X), dtype=torch.float64))


def _batches(n_samples: int, batch_size: int, seed: int, epoch: int) -> list[Tensor]:
    """Return the positions of each batch; a single last sample joins the previous batch."""
    generator = torch.Generator().manual_seed(derive_seed(seed, BATCH_ORDER, epoch))
    order = torch.randperm(n_samples, generator=generator)
    if batch_size == -1:
        return [order]
    batches = list(order.split(batch_size))
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]
    return batches


def _losses(params: dict[str, Any], outputs: Tensor, y: Tensor, smoothing: float) -> Tensor:
    """Return the loss of each sample; of members, (B, m, C), the mean of theirs."""
    if outputs.ndim == 3:
        parts = [_losses(params, part, y, smoothing) for part in outputs.unbind(dim=1)]
        return torch.stack(parts).mean(dim=0)
    if "loss" in params:
        return _losses_of_numbers(params, outputs, y).mean(dim=1)
    if y.ndim == 1:
        y = y.long()
        return F.cross_entropy(outputs, y, reduction="none", label_smoothing=smoothing)
    y = y * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(outputs, y, reduction="none").mean(dim=1)


def _losses_of_numbers(params: dict[str, Any], outputs: Tensor, y: Tensor) -> Tensor:
    """Return the loss of each output, (B, C); deviances are as on Wikipedia."""
    if params["loss"] == "quantile":
        levels, errors = y.new_tensor(params["quantiles"]), y - outputs
        return torch.where(errors > 0, levels * errors, (levels - 1) * errors)
    if (power := POWERS.get(params["loss"])) is None:
        functions = {"squared_error": F.mse_loss, "absolute_error": F.l1_loss}
        return functions.get(params["loss"], F.huber_loss)(outputs, y, reduction="none")
    mean = outputs.exp()
    if power == 1:
        return 2 * (torch.xlogy(y, y / mean) - y + mean)
    if power == 2:
        return 2 * ((mean / y).log() + y / mean - 1)
    power = params["tweedie_power"]
    ends = y ** (2 - power) / ((1 - power) * (2 - power)) + mean ** (2 - power) / (
        2 - power
    )
    return 2 * (ends - y * mean ** (1 - power) / (1 - power))


def _factor(schedule: str, progress: float) -> float:
    """Return the learning rate as a share of its peak, after a share of all steps."""

    def cosine(start: float, end: float, share: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * share)) / 2

    if schedule == "cosine":
        return cosine(1.0, 0.0, progress)
    if schedule == "one_cycle":
        if progress < 0.3:
            return cosine(1 / 25, 1.0, progress / 0.3)
        return cosine(1.0, 1 / 25e4, (progress - 0.3) / 0.7)
    if schedule == "step":
        return 0.1 ** ((progress >= 0.5) + (progress >= 0.75))
    return 1.0


def _optimizer(params: dict[str, Any], module: nn.Module) -> torch.optim.Optimizer:
    momentum, options = params["momentum"], {"weight_decay": params["weight_decay"]}
    options["lr"] = params["learning_rate"]
    if params["optimizer"] == "sgd":
        nesterov = momentum > 0
        options |= {"momentum": momentum, "nesterov": nesterov}
        return torch.optim.SGD(module.parameters(), **options)
    if params["optimizer"] == "rmsprop":
        return torch.optim.RMSprop(module.parameters(), momentum=momentum, **options)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[params["optimizer"]]
    return kind(module.parameters(), betas=(momentum, 0.999), **options)


def _scored(params: dict[str, Any], outputs: Tensor, y: Tensor, weight: Tensor) -> float:
    if params.get("loss") == "quantile":
        middle = np.argmin(np.abs(np.array(params["quantiles"]) - 0.5))
        return r2_score(y[:, middle], outputs[:, middle], sample_weight=weight)
    if "loss" in params:
        means = outputs.exp() if params["loss"] in POWERS else outputs
        return r2_score(y, means, sample_weight=weight)
    predicted = outputs.argmax(dim=1) if y.ndim == 1 else outputs > 0
    return accuracy_score(y, predicted, sample_weight=weight)


def _mean_loss(losses: list[Tensor], weights: list[Tensor]) -> float:
    """Return the mean over an epoch's samples of the losses of its batches."""
    sums = torch.stack([w.sum() for w in weights])
    return float((torch.stack(losses) * sums).sum() / sums.sum())


class _Loop:
    """The training of one network, epoch by epoch."""

    def __init__(self, params: dict[str, Any], seed: int, module: nn.Module) -> None:
        self.params, self.seed, self.module = params, seed, module
        self.optimizer = _optimizer(params, module)
        self.dropout = _Dropout(module, derive_seed(seed, DROPOUT))
        self.curves: dict[str, list[float]] = defaultdict(list)
        self.best_epoch, self.best_weights = 0, None

    def run(self, train: Samples, valid: Any, monitor: Any, n_epochs: int) -> None:
        """Train for some epochs, or until early stopping by samples to validate on."""
        lowest, n_waited = math.inf, 0
        for epoch in range(n_epochs):
            self._record("train", *self.epoch(train, epoch))
            if monitor is not None:
                self._record("monitor", *self.watch(monitor)[:2])
            if valid is None:
                self.best_epoch = epoch + 1
                continue
            loss, score, _ = self.evaluate(valid)
            self._record("valid", loss, score)
            n_waited = 0 if loss < lowest - self.params["tol"] else n_waited + 1
            if loss < lowest:
                lowest, self.best_epoch = loss, epoch + 1
                self.best_weights = copied(self.module)
            if n_waited >= self.params["n_iter_no_change"]:
                break

    def watch(self, monitor: Samples) -> Any:
        """Evaluate samples that change no weight, whatever the forward pass writes to."""
        before = copied(self.module)
        evaluated = self.evaluate(monitor)
        self.module.load_state_dict(before)
        return evaluated

    def _record(self, name: str, loss: float, score: float) -> None:
        self.curves[name + "_loss"].append(loss)
        self.curves[name + "_score"].append(score)

    def epoch(self, train: Samples, epoch: int) -> tuple[float, float]:
        """Return loss and score, taken while the epoch runs."""
        batches = _batches(len(train.X), self.params["batch_size"], self.seed, epoch)
        augment = self._augmenter(len(batches))
        self.module.train()
        kept = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(self.seed, MODULE, epoch))
            for index, positions in enumerate(batches):
                share = (epoch + index / len(batches)) / self.params["max_epochs"]
                rate = _factor(self.params["lr_schedule"], min(share, 1.0))
                for group in self.optimizer.param_groups:
                    group["lr"] = self.params["learning_rate"] * rate
                batch = train.take(positions)
                loss, outputs = self._step(augment(batch, index))
                kept.append((loss, outputs, batch.y, batch.weight))
        losses, outputs, y, weight = zip(*kept, strict=True)
        score = _scored(self.params, *map(torch.cat, (outputs, y, weight)))
        return _mean_loss(losses, weight), score

    def _step(self, batch: Samples) -> tuple[Tensor, Tensor]:
        params, module = self.params, self.module
        self.optimizer.zero_grad()
        outputs = module(batch.X)
        # A mixed sample has two targets, in two halves of y and weight.
        n_targets = len(batch.y) // len(outputs)
        repeated = outputs.repeat(n_targets, *[1] * (outputs.ndim - 1))
        smoothing = params.get("label_smoothing", 0.0)
        losses = _losses(params, repeated, batch.y, smoothing)
        loss = (losses * batch.weight).sum() / batch.weight.sum()
        penalty = sum(w.abs().sum() for w in module.parameters() if w.ndim > 1)
        (loss + params["l1"] * penalty).backward()
        if params["gradient_clip"] is not None:
            nn.utils.clip_grad_norm_(module.parameters(), params["gradient_clip"])
        self.optimizer.step()
        self.dropout.step += 1
        combine = getattr(module, "combined", lambda outputs: outputs)
        return loss.detach(), combine(outputs.detach())

    def _augmenter(self, n_steps: int) -> Any:
        """Return a random change of a batch, as a fleet of one for sk_tune._augment."""
        params = self.params
        operations = as_augmentations(params["augmentation"])
        if not operations:
            return lambda batch, _: batch
        seeds = [derive_seed(self.seed, AUGMENTATION)]
        layout, codes = layout_of(params, params["shape"]), coded_columns(params)
        augmenter = RowAugmenter([operations], seeds, layout, torch.device("cpu"), codes)
        augmenter.begin_epoch([self.dropout.step], n_steps)

        def augment(batch: Samples, step: int) -> Samples:
            parts = (part.unsqueeze(0) for part in batch)
            return Samples(*(p[0] for p in augmenter.augmented(*parts, slice(1), step)))

        return augment

    @torch.no_grad()
    def evaluate(self, samples: Samples) -> tuple[float, float, Tensor]:
        """Return loss, score and outputs of samples that are not trained on."""
        self.module.eval()
        outputs = self.module(samples.X)
        losses = _losses(self.params, outputs, samples.y, 0.0)
        weight = samples.weight * (samples.y.reshape(len(losses), -1)[:, 0] != -100)
        loss = float((losses * weight).sum() / weight.sum())
        return loss, _scored(self.params, outputs, samples.y, samples.weight), outputs


def train(
    estimator: Any,
    X: np.ndarray,
    y: np.ndarray,
    *,
    seed: int,
    sample_weight: np.ndarray | None = None,
    monitor: tuple[np.ndarray, np.ndarray] | None = None,
    n_epochs: int | None = None,
    bin_edges: Any = (),
) -> Reference:
    """Train the network that an unfitted estimator's parameters describe.

    `monitor` are samples and targets to look at after each epoch, `n_epochs` is
    ``max_epochs`` if None, and `bin_edges` those of piecewise-linear columns.
    """
    params = {**estimator.get_params(deep=False), "kind": type(estimator).__name__[:3]}
    params["shape"] = sample_shape(params, X)
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    X, y, weight = (values[weight > 0] for values in (X, y, weight))
    targets = _Targets(y, weight, params)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, WEIGHTS))
        module = build_module(params, X, targets.n_outputs, targets.link, bin_edges)

    def samples(X: np.ndarray, y: np.ndarray, weight: np.ndarray) -> Samples:
        inputs = torch.tensor(X, dtype=torch.float64).reshape(-1, *params["shape"])
        return Samples(inputs, targets.encode(y), torch.tensor(weight, dtype=torch.float64))

    chosen, held_out = _split(params, y, seed, is_stratified=targets.link == "softmax")
    weight = weight * _class_factors(params.get("class_weight"), y, chosen, weight)
    chosen, held_out = (part[weight[part] > 0] for part in (chosen, held_out))
    data = samples(X, y, weight)
    train = data.take(chosen)
    is_full = params["batch_size"] == -1 or len(chosen) <= params["batch_size"]
    if is_full and not params["augmentation"]:
        train = _in_one_form(train, module)
    valid = data.take(held_out) if len(held_out) else None
    watched = None
    if monitor is not None:
        watched = samples(*monitor, np.ones(len(monitor[1])))
    loop = _Loop(params, seed, module)
    loop.run(train, valid, watched, n_epochs or params["max_epochs"])
    last = copied(module)
    module.load_state_dict(loop.best_weights or last)
    predictions = None
    if watched is not None:
        predictions = targets.decode(loop.watch(watched)[2]).numpy()
    state = loop.optimizer.state
    return Reference(
        curves=dict(loop.curves),
        weights=copied(module),
        last_weights=last,
        moments=[state[parameter] for parameter in module.parameters()],
        predictions=predictions,
        best_epoch=loop.best_epoch,
    )


def copied(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of the weights and buffers."""
    return {name: value.clone() for name, value in module.state_dict().items()}
