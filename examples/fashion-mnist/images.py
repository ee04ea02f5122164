"""Reads Fashion-MNIST and writes the images of this example.

    python3 images.py            # needs: apt-get install dataset-fashion-mnist; pip install numpy pillow

Writes next to itself: tiny-200.zip, test-1000.zip, test-1000.labels.csv, preprocess.json.
The same data and seed give the same bytes, so that a changed archive always means changed images.
"""

import csv
import gzip
import io
import json
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

DATA = Path("/usr/share/datasets/fashion-mnist")
HERE = Path(__file__).resolve().parent
SEED = 7
TINY_PER_CLASS = 20
TEST_IMAGES = 1_000

# A zip entry carries a time; a fixed one keeps the archive reproducible. 1980 is the earliest that zip can hold.
ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def read_idx(path):
    """Returns the array in an IDX file: four bytes of magic, the last of them the rank, then the sizes, then bytes."""
    raw = gzip.decompress(path.read_bytes())
    rank = raw[3]
    shape = np.frombuffer(raw, ">u4", rank, offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def load(split):
    """Returns images (N, 28, 28) as bytes 0..255 and labels (N,) of the split `train` or `t10k`."""
    return read_idx(DATA / f"{split}-images-idx3-ubyte.gz"), read_idx(DATA / f"{split}-labels-idx1-ubyte.gz")


def preprocess(train_images):
    """Returns how a pixel becomes a network input: divided by 255, then standardised over the training set."""
    scaled = train_images.astype(np.float64) / 255
    return {"divide_by": 255, "mean": [round(scaled.mean(), 4)], "std": [round(scaled.std(), 4)]}


def class_balanced(labels, per_class, rng):
    """Picks `per_class` indices of every class and shuffles them, so that any prefix is a fair sample."""
    picked = [rng.choice(np.flatnonzero(labels == c), per_class, replace=False) for c in range(10)]
    return rng.permutation(np.concatenate(picked))


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def labels_csv(names, labels):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "label"])
    writer.writerows(zip(names, labels))
    return text.getvalue()


def add_entry(archive, name, data):
    entry = zipfile.ZipInfo(name, ZIP_TIME)
    entry.external_attr = 0o644 << 16
    # PNG is compressed already; text is small. Stored entries do not depend on the version of zlib.
    archive.writestr(entry, data)


def write_zip(path, images, labels=None):
    names = [f"{i:04}.png" for i in range(len(images))]
    with zipfile.ZipFile(path, "w") as archive:
        for name, pixels in zip(names, images):
            add_entry(archive, name, png(pixels))
        if labels is not None:
            add_entry(archive, "labels.csv", labels_csv(names, labels))
    return names


def main():
    rng = np.random.default_rng(SEED)
    train_images, train_labels = load("train")
    test_images, test_labels = load("t10k")

    tiny = class_balanced(train_labels, TINY_PER_CLASS, rng)
    write_zip(HERE / "tiny-200.zip", train_images[tiny])

    test = rng.choice(len(test_labels), TEST_IMAGES, replace=False)
    names = write_zip(HERE / "test-1000.zip", test_images[test], test_labels[test])
    (HERE / "test-1000.labels.csv").write_text(labels_csv(names, test_labels[test]))

    (HERE / "preprocess.json").write_text(json.dumps(preprocess(train_images)) + "\n")


if __name__ == "__main__":
    main()
