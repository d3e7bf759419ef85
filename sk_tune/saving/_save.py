# SPDX-FileCopyrightText: sk_tune contributors
# SPDX-License-Identifier: BSD-3-Clause
"""The doors to files of fitted estimators, whichever they are."""

from os import PathLike
from typing import Any

import sklearn
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_tune.estimators import load_with, write_file
from sk_tune.exceptions import warn_user
from sk_tune.saving._packing import Packer, Unpacker, is_known

__all__ = ["load", "load_object", "save", "save_object"]


def save(estimator: Any, path: str | PathLike[str], *, overwrite: bool = True) -> None:
    """Write a fitted network, pipeline or collapsed ensemble to one file, without pickle.

    Parameters
    ----------
    estimator : estimator
        A network of sk_tune's; what ``collapse`` returns; or a pipeline of sk_tune's
        ``TablePreparer``, scikit-learn's scalers, imputers and encoders,
        ``ColumnTransformer`` and the like, with a network at its end.
    path : str or path-like
        File to write, in the format safetensors.  It is replaced as a whole or not at all.
    overwrite : bool, default=True
        Whether a file that exists may be replaced.

    Raises
    ------
    TypeError
        If a part is anything else, such as a function of your own.  The message names it
        and its step.
    FileExistsError
        If the file exists and `overwrite` is False.

    See Also
    --------
    load : Read the file.
    sk_tune.ensemble.collapse : Make one predictor of an ensemble.

    Notes
    -----
    Numbers are tensors, everything else is JSON.  Callbacks and the code of a user's module
    are not in the file.

    Examples
    --------
    >>> import os, tempfile
    >>> import pandas as pd
    >>> from sklearn.pipeline import make_pipeline
    >>> from sk_tune import MLPClassifier, TablePreparer, load, save
    >>> X = pd.DataFrame({"age": [20, None, 40, 31] * 9, "town": ["Bern", "Ulm"] * 18})
    >>> y = ["yes", "no", "no", "yes"] * 9
    >>> model = make_pipeline(TablePreparer(), MLPClassifier(max_epochs=5)).fit(X, y)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> save(model, path)
    >>> bool((load(path).predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    if (
        not isinstance(estimator, type)
        and is_known(estimator)
        and hasattr(estimator, "save")
    ):
        estimator.save(path, overwrite=overwrite)
        return
    check_is_fitted(estimator)
    save_object(estimator, path, overwrite=overwrite, for_training=True)


def load(path: str | PathLike[str], *, module: Any = None) -> Any:
    """Return the estimator that ``save`` wrote; nothing in the file is executed.

    Parameters
    ----------
    path : str or path-like
        File to read.
    module : class, callable or torch.nn.Module, default=None
        The module of a ``NetClassifier`` or ``NetRegressor`` in it.

    Returns
    -------
    estimator
        Fitted; it predicts what the one that was saved did.

    Raises
    ------
    ValueError
        If the file is damaged, foreign or newer than this version.

    Warns
    -----
    SkTuneWarning
        If the transformers in it were fitted by another version of scikit-learn.

    See Also
    --------
    save : Write the file.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_iris
    >>> from sk_tune import MLPClassifier, load
    >>> X, y = load_iris(return_X_y=True)
    >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
    >>> MLPClassifier(max_epochs=5).fit(X, y).save(path)
    >>> type(load(path)).__name__
    'MLPClassifier'
    """
    return load_object(path, module=module)


def save_object(
    value: Any, path: str | PathLike[str], *, overwrite: bool, for_training: bool
) -> None:
    """Write an object of a known class, its networks with their training if wanted."""
    packer = Packer(for_training=for_training)
    description = packer(value)
    write_file(
        path,
        packer.tensors,
        {"scikit-learn": sklearn.__version__, **description},
        overwrite=overwrite,
    )


def load_object(
    path: str | PathLike[str], *, module: Any = None, name: str | None = None
) -> Any:
    """Return what is in a file, which must be of the class of that `name` if given."""

    def unpack(tensors: dict[str, Tensor], description: dict[str, Any]) -> Any:
        version = description.get("scikit-learn", sklearn.__version__)
        # A network alone has the file for itself.
        tensors = tensors if "state" in description else _in(tensors)
        value = Unpacker(tensors, module)({"at": _ALONE, **description})
        if version != sklearn.__version__:
            warn_user(
                f"{path} was saved with scikit-learn {version}. This is "
                f"{sklearn.__version__}, whose transformers may do something else: compare "
                "predictions with known ones, or fit again."
            )
        return value

    return load_with(unpack, path, name)


_ALONE = "alone"


def _in(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{_ALONE}.{name}": tensor for name, tensor in tensors.items()}
