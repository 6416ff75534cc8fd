"""Distances on the Earth, for the python: features of features.yaml."""

import numpy as np
from numpy.typing import NDArray

EARTH_RADIUS_KM = 6371.0088

Degrees = NDArray[np.float64]


def distance_km(
    lat: Degrees, long: Degrees, other_lat: Degrees, other_long: Degrees
) -> NDArray[np.float64]:
    """Kilometres between two places along a great circle (haversine); missing where one is."""
    lat, long = np.radians(lat), np.radians(long)
    other_lat, other_long = np.radians(other_lat), np.radians(other_long)
    half = (
        np.sin((other_lat - lat) / 2) ** 2
        + np.cos(lat) * np.cos(other_lat) * np.sin((other_long - long) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0)))
