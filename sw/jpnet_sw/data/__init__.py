"""Data sets: one registry over the user's folder, embedded data and checksummed downloads."""

from jpnet_sw.data.dataset import DataError, Dataset, DatasetName, centre_crop
from jpnet_sw.data.registry import dataset_names, load_dataset

__all__ = [
    "DataError",
    "Dataset",
    "DatasetName",
    "centre_crop",
    "dataset_names",
    "load_dataset",
]
