"""Small files in the formats of data sets."""

import io
import struct
import tarfile
from pathlib import Path

import numpy as np

CHURN = "RowNumber,CustomerId,Surname,CreditScore,Geography,Gender,Age,Tenure,Balance,NumOfProducts,HasCrCard,IsActiveMember,EstimatedSalary,Exited"  # noqa: E501
ROW = "1,15634602,Hargrave,619,France,Female,42,2,0,1,1,1,101348.88,1"
KEEL = "@relation mv\n" + "".join(
    f"@attribute {name} real [0, 1]\n" for name in [*(f"X{i}" for i in range(1, 11)), "Y"]
)


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def small_fashion(folder: Path) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    arrays = {}
    for part, rows in (("train", 60), ("t10k", 20)):
        arrays[f"{part}-images-idx3-ubyte"] = generator.integers(0, 256, (rows, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = generator.integers(0, 10, rows, dtype=np.uint8)
    folder.mkdir(parents=True)
    for name, array in arrays.items():
        (folder / name).write_bytes(idx(array))
    return arrays


def records(rows: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    made = generator.integers(0, 256, (rows, 3074), dtype=np.uint8)
    made[:, 0] %= 20
    made[:, 1] = np.arange(rows) % 100
    return made


def archive(folder: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / "cifar-100-binary.tar.gz", "w:gz") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return folder


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, content


def small_cifar(*more, train: bytes | None = None) -> list:
    return [
        member("cifar-100-binary", kind=tarfile.DIRTYPE),
        member("cifar-100-binary/fine_label_names.txt", b"apple\n"),
        member("cifar-100-binary/test.bin", records(100, 1).tobytes()),
        *more,
        member("cifar-100-binary/train.bin", records(500).tobytes() if train is None else train),
    ]
