r"""A scikit-learn estimator: train on normal images, then tell for every image whether it belongs.

The signs are scikit-learn's: ``score_samples`` is higher for more *normal* images, ``decision_function`` is not
negative for inliers, ``predict`` gives +1 for inliers and -1 for outliers. With s the library's anomaly score
(higher is more anomalous) and t the conformal threshold of a false-positive rate,

.. math:: \text{score\_samples}(x) = -s(x), \quad \text{offset\_} = -t, \quad
    \text{decision\_function}(x) = t - s(x)
"""

# ruff: noqa: N803, N806 - the names of scikit-learn's interface

import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import yaml
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from hebm.build import build_images, build_model
from hebm.config import RunConfig, load_config
from hebm.data import ResidentImages
from hebm.detection import build_score, calibrate, score_images
from hebm.detection.calibration import require_rate
from hebm.detection.detector import n_fitted
from hebm.detection.state import pack_detector, unpack_detector
from hebm.errors import ConfigError, ImageShapeError
from hebm.models import JointModel
from hebm.training import Run, check_run_directory, load, train

__all__ = ["HierarchicalDetector"]

PRESETS_BY_SIZE = ((12, "digits"), (48, "fashion_mnist"))
LARGEST_PRESET = "folder"


class HierarchicalDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Detects images that do not belong among those it was fitted to, at a false-positive rate that is met.

    ``fit`` holds out a share of the images, trains on the others, and calibrates the score on the held-out ones.
    Images are rounded to 8 bits. The model is trained in float32 and scores in float64.

    Args:
        preset: Name of a preset or path of a YAML file; by the size of the images if None.
        overrides: ``key.path=value`` texts that change the configuration; what follows here goes before them.
        image_shape: (C, H, W) of the images in flat rows, C being 1 or 3 and H = W from 8 to 128; if None, that of the
            array given, or one square grey picture per row.
        value_range: (low, high) of the values, what is beyond being clipped; ``"fit"`` takes those of the fitted
            images. None means [0, 255] for unsigned bytes and [0, 1] for anything else, and what is beyond is refused.
        pad_rows: Whether rows shorter than an image are filled up with zeros, as after a feature selector.
        anomaly_score: The score with its options, e.g. ``"llr:n_lowest=2"``.
        false_positive_rate: Share of normal images that may be called outliers.
        holdout: Share of the images that calibrates; the rate needs at least 1 / rate - 1 of them.
        max_epochs: Passes over the images; the preset's if None.
        max_steps: Stop earlier after so many steps.
        run_dir: A new or empty folder that keeps the images (`images.npy`) and the run (`run/`); temporary if None.
        device: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
        random_state: Of the split, the training and all draws.

    Attributes:
        model_: The trained :class:`~hebm.models.JointModel`, in float64.
        detector_: The calibrated :class:`~hebm.detection.Detector`.
        config_: The configuration trained with.
        image_shape_: (C, H, W).
        value_range_: (low, high) where `value_range` is set, else None.
        offset_: Minus the threshold of the anomaly score.
        n_features_in_: Values per image given.
    """

    def __init__(
        self,
        preset: str | Path | None = None,
        overrides: Sequence[str] = (),
        *,
        image_shape: tuple[int, int, int] | None = None,
        value_range: tuple[float, float] | str | None = None,
        pad_rows: bool = False,
        anomaly_score: str = "log_joint",
        false_positive_rate: float = 0.05,
        holdout: float = 0.2,
        max_epochs: int | None = None,
        max_steps: int | None = None,
        run_dir: str | Path | None = None,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.preset = preset
        self.overrides = overrides
        self.image_shape = image_shape
        self.value_range = value_range
        self.pad_rows = pad_rows
        self.anomaly_score = anomaly_score
        self.false_positive_rate = false_positive_rate
        self.holdout = holdout
        self.max_epochs = max_epochs
        self.max_steps = max_steps
        self.run_dir = run_dir
        self.device = device
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Train on normal images and calibrate on a share of them.

        Args:
            X: [N, C H W] (flat rows, channels first), [N, H, W], [N, C, H, W] or [N, H, W, C].
            y: Not looked at.

        Raises:
            ImageShapeError: If rows are no images, or values are out of range.
            ConfigError: If a parameter is wrong, or too few images calibrate the rate.
        """
        rows, shape = self._rows(X, reset=True)
        build_score(self.anomaly_score)
        self.image_shape_ = self._shape_of(rows.shape[1], shape)
        self.value_range_ = self._range_of(rows)
        images = np.rint(self._images(rows) * 255).astype(np.uint8)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with tempfile.TemporaryDirectory(prefix="hebm-") as temporary:
            place = Path(temporary if self.run_dir is None else self.run_dir)
            self._train(images, place.absolute(), seed)
        self.offset_ = -self.detector_.threshold(self.false_positive_rate)
        return self

    def score_samples(self, X: ArrayLike) -> NDArray[np.float64]:
        """Minus the anomaly score, [N]: higher is more normal."""
        check_is_fitted(self)
        rows, _ = self._rows(X, reset=False)
        x = torch.from_numpy(np.rint(self._images(rows) * 255) / 255)
        scores = score_images(self.model_, x, self.detector_.score)
        return -np.asarray(scores.cpu(), dtype=np.float64)

    def decision_function(self, X: ArrayLike) -> NDArray[np.float64]:
        """``score_samples`` minus ``offset_``, [N]: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> NDArray[np.int64]:
        """+1 for inliers, -1 for outliers, [N]."""
        return np.where(self.decision_function(X) >= 0, 1, -1)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Plain arrays and texts: a pickle holds no network."""
        state: dict[str, Any] = dict(super().__getstate__())
        if "model_" in state:
            weights: dict[str, Tensor] = state.pop("model_").state_dict()
            state["_weights"] = {name: tensor.cpu().numpy() for name, tensor in weights.items()}
            state["config_"] = state["config_"].to_yaml()
            about, tensors = pack_detector(state["detector_"])
            state["detector_"] = about, {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the network anew, on the CPU."""
        state = dict(state)
        if "_weights" in state:
            weights = {name: torch.from_numpy(array) for name, array in state.pop("_weights").items()}
            state["config_"] = RunConfig.model_validate(yaml.safe_load(state["config_"]))
            about, arrays = state["detector_"]
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            state["detector_"] = unpack_detector(about, tensors)
            model = build_model(state["config_"]).double()
            model.load_state_dict(weights)
            state["model_"] = model.eval().requires_grad_(False)
        super().__setstate__(state)

    def _rows(self, X: ArrayLike, *, reset: bool) -> tuple[NDArray[Any], tuple[int, ...] | None]:
        """Flat rows, channels first, checked; and the shape of the images where the array has one."""
        shape = None
        if getattr(X, "ndim", 2) > 2:
            X, shape = _flat(np.asarray(X))
        rows = validate_data(self, X, reset=reset, dtype="numeric", ensure_min_samples=2 if reset else 1)
        if not reset and shape is not None and shape != self.image_shape_:
            raise ImageShapeError(f"images {self.image_shape_} were fitted, but {shape} came; reshape them.")
        return rows, shape

    def _shape_of(self, n_features: int, shape: tuple[int, ...] | None) -> tuple[int, ...]:
        side = math.isqrt(n_features)
        known = self.image_shape or shape or ((1, side, side) if side * side == n_features else None)
        if known is None:
            raise ImageShapeError(
                f"rows of {n_features} values are no square grey picture; say image_shape=(channels, height, width)."
            )
        n_pixels = math.prod(known)
        if n_features != n_pixels and not (self.pad_rows and n_features < n_pixels):
            raise ImageShapeError(
                f"images {tuple(known)} have {n_pixels} values, but rows have {n_features}; correct image_shape, or "
                "set pad_rows=True to fill shorter rows with zeros."
            )
        return tuple(known)

    def _range_of(self, rows: NDArray[Any]) -> tuple[float, float] | None:
        if self.value_range is None:
            return None
        if self.value_range == "fit":
            low, high = float(rows.min()), float(rows.max())
            return (low, high) if high > low else (low, low + 1)
        if isinstance(self.value_range, str) or not self.value_range[0] < self.value_range[1]:
            raise ConfigError(
                f"value_range must be None, 'fit' or (low, high) with low < high, but it is {self.value_range!r}."
            )
        return float(self.value_range[0]), float(self.value_range[1])

    def _images(self, rows: NDArray[Any]) -> NDArray[np.float64]:
        """Rows to images [N, C, H, W] in [0, 1]."""
        low, high = self.value_range_ or ((0, 255) if rows.dtype == np.uint8 else (0, 1))
        x = (rows.astype(np.float64) - low) / (high - low)
        if self.value_range_ is not None:
            x = x.clip(0, 1)
        elif x.min() < 0 or x.max() > 1:
            raise ImageShapeError(
                f"values in [0, 1], or unsigned bytes, are expected, but they run from {rows.min()} to {rows.max()}; "
                "scale them (MinMaxScaler(clip=True)), or set value_range."
            )
        missing = math.prod(self.image_shape_) - x.shape[1]
        return np.pad(x, ((0, 0), (0, missing))).reshape(-1, *self.image_shape_)

    def _train(self, images: NDArray[np.uint8], place: Path, seed: int) -> None:
        file = place / "images.npy"
        config = self._config(file, len(images), seed)
        n_held_out = round(self.holdout * len(images))
        n_fit = n_fitted(self.anomaly_score, n_held_out, config.detection.fit_share)
        require_rate(n_held_out - n_fit, self.false_positive_rate)
        check_run_directory(Run(place / "run"), config, resume=False)
        place.mkdir(parents=True, exist_ok=True)
        np.save(file, images)
        run = train(config, place / "run", device=self.device, progress=lambda record: None)
        held_out = build_images(config, "test")
        device = "cuda" if self.device != "cpu" and torch.cuda.is_available() else "cpu"
        model: JointModel = load(run.directory).double().to(device)
        normals = ResidentImages(held_out, "cpu").batch(torch.arange(len(held_out))).double()
        self.config_, self.model_ = config, model
        self.detector_ = calibrate(
            model, normals, self.anomaly_score, fit_share=config.detection.fit_share, seed=seed
        )

    def _config(self, file: Path, n_images: int, seed: int) -> RunConfig:
        channels, size, _ = self.image_shape_
        by_size = (name for largest, name in PRESETS_BY_SIZE if size <= largest)
        config = load_config(self.preset or next(by_size, LARGEST_PRESET), list(self.overrides))
        n_train = n_images - round(self.holdout * n_images)
        data = {
            "name": "array",
            "path": str(file),
            "size": size,
            "channels": channels,
            "holdout": self.holdout,
        }
        own = {
            "data": data,
            "seed": seed,
            "detection.score": self.anomaly_score,
            "detection.calibrate_after_training": self.run_dir is not None,
            "trainer.batch_size": max(1, min(config.trainer.batch_size, n_train)),
            "trainer.max_epochs": self.max_epochs or config.trainer.max_epochs,
            "trainer.max_steps": self.max_steps or config.trainer.max_steps,
        }
        return config.with_overrides([f"{key}={json.dumps(value)}" for key, value in own.items()])


def _flat(images: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Images [N, H, W], [N, C, H, W] or [N, H, W, C] to rows, channels first, and (C, H, W)."""
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ImageShapeError(
            f"[N, H, W], [N, C, H, W] or [N, H, W, C] with C 1 or 3 is expected, but the shape is {list(images.shape)}."
        )
    return images.reshape(len(images), -1), tuple(images.shape[1:])
