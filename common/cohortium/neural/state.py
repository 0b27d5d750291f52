"""Model states as bytes: safetensors, never pickle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cohortium.errors import WireError

FloatArray = npt.NDArray[np.float32]


def write_state(tensors: Mapping[str, npt.NDArray[np.floating]]) -> bytes:
    from safetensors.numpy import save

    return bytes(save({name: np.ascontiguousarray(t, dtype=np.float32) for name, t in tensors.items()}))


def read_state(state: bytes, lengths: Mapping[str, int]) -> dict[str, FloatArray]:
    """The float32 vectors named in ``lengths``, exactly these and of these lengths, all finite.

    Raises WireError E_STATE_SHAPE or E_STATE_INVALID before anything is done with them.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(state)
    except (SafetensorError, KeyError, ValueError):
        raise WireError(
            "E_STATE_SHAPE", "model state", "it is not in safetensors format", "Update the coordinator."
        ) from None
    shapes = {name: (t.dtype, t.shape) for name, t in tensors.items()}
    if shapes != {name: (np.dtype(np.float32), (n,)) for name, n in lengths.items()}:
        raise WireError(
            "E_STATE_SHAPE", "model state", "its tensors are not those of the study's model", "Update the coordinator."
        )
    if not all(np.isfinite(t).all() for t in tensors.values()):
        raise WireError(
            "E_STATE_INVALID",
            "model state",
            "it has values that are not finite",
            "Restart the study from its last good round.",
        )
    return {name: tensors[name] for name in lengths}
