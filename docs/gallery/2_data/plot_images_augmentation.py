# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""
Images that have moved: augmentation
====================================

A network with few training images learns the position of objects as well as their shape.
``augmentation`` applies changes that do not alter the class to each training sample, with
new random draws in every epoch, and never to samples to predict.
"""

# %%
# 300 digits of 8 x 8 pixels to train on.  To make the task hard, the digits are placed on a
# canvas of 12 x 12 pixels: centred for training, at a random place for testing.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from sk_tune import CNNClassifier
from sk_tune.augment import Shift

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(
    X.reshape(-1, 8, 8) / 16, y, train_size=300, test_size=600, stratify=y, random_state=0
)


def on_canvas(images, offset, random_state=0):
    """Put each image `offset` pixels at most from the middle of a canvas of 12 x 12."""
    rng = np.random.default_rng(random_state)
    canvas = np.zeros((len(images), 1, 12, 12), dtype=np.float32)
    for place, image in zip(canvas, images, strict=True):
        row, column = 2 + rng.integers(-offset, offset + 1, 2)
        place[0, row : row + 8, column : column + 8] = image
    return canvas


centred = on_canvas(X_train, 0)

# %%
# The networks differ only in their augmentation.  Each is trained with three seeds to
# reduce chance.  Augmented samples take longer to learn, so all networks get 50 epochs.

kinds = {"no augmentation": None, "Shift(2)": Shift(2)}
networks = {
    name: [
        CNNClassifier(
            n_channels=8,
            max_epochs=50,
            batch_size=32,
            learning_rate=0.01,
            augmentation=kind,
            random_state=seed,
        )
        for seed in range(3)
    ]
    for name, kind in kinds.items()
}
for nets in networks.values():
    for net in nets:
        net.fit(centred, y_train)
linear = LogisticRegression(max_iter=500).fit(centred.reshape(300, -1), y_train)

# %%
# The accuracy as the test digits move further off the centre:

offsets = [0, 1, 2]
tests = {offset: on_canvas(X_test, offset) for offset in offsets}
fig = plt.figure(figsize=(10.5, 4.2), layout="constrained")
pictures, curves = fig.subfigures(1, 2, width_ratios=[1, 1.4])
axes = pictures.subplots(3, 4)
for row, offset in zip(axes, offsets, strict=True):
    for ax, image in zip(row, tests[offset], strict=False):
        ax.imshow(image[0], cmap="gray_r")
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"± {offset} pixels")
pictures.suptitle("Digits to predict")

ax = curves.subplots()
for name, nets in networks.items():
    scores = np.array([[net.score(tests[k], y_test) for k in offsets] for net in nets])
    ax.plot(offsets, scores.mean(axis=0), "o-", label=f"network, {name}")
    ax.fill_between(offsets, scores.min(axis=0), scores.max(axis=0), alpha=0.2)
    print(f"{name:16} accuracy at 0, 1, 2 pixels:", scores.mean(axis=0).round(3))
scores = [linear.score(tests[k].reshape(len(y_test), -1), y_test) for k in offsets]
ax.plot(offsets, scores, "s--", color="tab:gray", label="logistic regression")
ax.set(
    xticks=offsets,
    xlabel="Largest shift of test digits (pixels)",
    ylabel="Accuracy on 600 digits",
    title="Mean of three seeds, and their range",
)
ax.legend()
plt.show()

# %%
# The network trained on shifts ignores the position of a digit; both other models fail as
# soon as it moves by a pixel.  The left end of the plot shows the price: if all digits are
# centred, the specialised networks do better.
#
# Note: use only changes that occur in reality.  ``augmentation="flip"`` mirrors images, and
# a mirrored 2 is not a digit.  The training loss refers to augmented samples, so it may be
# worse than the validation loss without a fault.
