"""What synthetic rows are good for: classifiers that are trained on them and tested on real rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Utility:
    """Areas under the receiver operating characteristic: boosted trees, and one-hot logistic regression.

    A target of more than two classes gives the mean over its classes, each against the rest.
    """

    boosting: float
    logistic: float


def auc_of_synthetic(train: pd.DataFrame, test: pd.DataFrame, target: str) -> Utility:
    """Train on synthetic codes, test on real ones.

    train, test: tables of codes with the same columns; ``target`` is predicted from all others.
    A class that is not in ``train`` gets no score; a ``train`` of one class cannot predict anything and gives 0.5.
    """
    if test[target].nunique() < 2:
        raise ValueError("the test rows are all of one class")
    return Utility(*(_auc(model, train, test, target) for model in (_boosting(), _logistic())))


def _boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(random_state=0)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    return make_pipeline(OneHotEncoder(handle_unknown="ignore"), LogisticRegression(max_iter=300))


def _auc(model: Any, train: pd.DataFrame, test: pd.DataFrame, target: str) -> float:
    from sklearn.metrics import roc_auc_score

    scores = _scores(model, train, test, target)
    truth = test[target].to_numpy()
    classes = sorted(set(truth.tolist()))
    judged = classes[1:] if len(classes) == 2 else classes  # of two classes, one is enough
    nothing = np.zeros(len(test))
    return float(np.mean([roc_auc_score(truth == c, scores.get(c, nothing)) for c in judged]))


def _scores(model: Any, train: pd.DataFrame, test: pd.DataFrame, target: str) -> dict[int, FloatArray]:
    """(rows,) probabilities of each class the model was trained on."""
    if train[target].nunique() < 2:
        return {}
    model.fit(train.drop(columns=target), train[target])
    probabilities = model.predict_proba(test[train.columns.drop(target)])
    return {int(c): probabilities[:, k] for k, c in enumerate(model.classes_)}
