"""The size of every file in a folder, and their total."""

import os

import mxm


@mxm.task
def files(folder: str) -> list[str]:
    return sorted(entry.path for entry in os.scandir(folder) if entry.is_file())


@mxm.task(item_key=os.path.basename)
def size(path: str) -> int:
    return os.path.getsize(path)


@mxm.task
def total(sizes: list[int]) -> int:
    return sum(sizes)


@mxm.flow
def folder_size(folder: str) -> int:
    return total(size.map(files(folder)))
