"""The search for files: paths and labels from a folder, a glob, a list, tar shards or one file.

No sample is opened here. A missing or broken file is a bad sample when it is read. A path without any samples is an
error at once.
"""

import glob
import heapq
import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from maskkit.data.lists import from_list, is_list
from maskkit.data.paths import Files, Paths, paths_of
from maskkit.data.shards.patterns import expand_shards, names_shards
from maskkit.data.shards.tars import open_tars
from maskkit.files import short_reason


def find_files(where: str | Path, suffixes: Collection[str]) -> Files:
    """Return the files at ``where`` that have one of the ``suffixes`` (such as ``.jpg``; case is ignored).

    A folder is searched recursively in sorted order, without hidden files, and each folder once even if links make
    loops. Labels are the names of the sub-folders of the first level, unless files lie beside them: then there are no
    labels. A glob (``*``, ``?``, ``[``, and ``**`` for any depth) is expanded, and matching folders are searched
    recursively; labels are the first level below the part without wildcards. A list (``.txt``, ``.csv``, ``.tsv``,
    ``.lst``, ``.list``, ``.json``) keeps its order, and entries may have any suffix: a path, then an optional label.
    Relative paths start at the list's folder, else at the working directory. ``#`` starts a comment line. Tar shards
    (``.tar``; see data/shards) are one shard, a range (``shards-{000..099}.tar``, ``{a,b}``), a glob, a folder that
    holds shards and no samples, or the same at an address (``s3://bucket/shards-{000..099}.tar``).
    """
    where = os.path.expanduser(os.fspath(where))
    endings = tuple(sorted(suffix.lower() for suffix in suffixes))
    assert endings and all(ending.startswith(".") for ending in endings), f"suffixes start with a dot, got {endings}"
    if not where:
        raise ValueError("the path of the data is empty; name a folder, a glob, a list, a file or tar shards")
    if os.path.isdir(where):
        root = where.rstrip("/") or "/"
        return _from_found(_walk(root), where, root, endings)
    if os.path.exists(where):  # before globs, because a file may be named "cat [1].jpg"
        if where.lower().endswith(".tar"):
            return open_tars(where, [where], endings)
        return from_list(where, endings) if is_list(where, endings) else _from_file(where, endings)
    if names_shards(where):
        return open_tars(where, expand_shards(where), endings)
    if glob.has_magic(where):
        pattern, root = _rooted(where)
        return _from_found(_expand(pattern), where, root, endings)
    raise ValueError(f"{where}: no such file or folder, or no permission to see it; check the path of the data")


def _walk(root: str) -> Iterator[str]:
    """Yield all files below a folder.

    Links are followed after all real folders, so that a file with two paths is listed under its real folder.
    """
    folders, links, seen = [root], list[str](), set[str]()
    while folders or links:
        folder = folders.pop() if folders else heapq.heappop(links)
        real = os.path.realpath(folder)  # not the inode number, which some network file systems invent
        if real in seen:
            continue
        seen.add(real)
        for entry in _entries(folder):
            if not _is_folder(entry):
                # A dangling link is kept as an unreadable sample. Pipes are not samples.
                if entry.is_symlink() or entry.is_file():
                    yield entry.path
            elif entry.is_symlink():
                heapq.heappush(links, entry.path)
            else:
                folders.append(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            # lost+found belongs to the file system, and only root may look into it
            return [entry for entry in entries if not entry.name.startswith(".") and entry.name != "lost+found"]
    except OSError as error:
        message = f"{folder}: cannot read the folder ({short_reason(error)}); fix its permissions or move it away"
        raise ValueError(message) from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _rooted(pattern: str) -> tuple[str, str]:
    """Return the pattern, and its leading folders without wildcards."""
    if glob.has_magic(pattern.split("/")[0]):
        pattern = f"./{pattern}"
    parts = pattern.rstrip("/").split("/")
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts), "/".join(parts[:first]) or "/"


def _expand(pattern: str) -> set[str]:
    """Return all files that match, or lie in a matching folder.

    ``**`` is expanded here, because glob's loops on links.
    """
    parts = pattern.split("/")
    deep = parts.index("**") if "**" in parts else len(parts)
    found = set[str]()
    for start in glob.glob("/".join(parts[:deep]) or "/"):
        if os.path.isdir(start):
            skip = len(start.rstrip("/")) + 1
            found.update(path for path in _walk(start) if _fits(path[skip:].split("/"), parts[deep:]))
        elif deep == len(parts):
            found.add(start)
    return found


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether the path or one of its folders matches."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_fits(parts[i:], pattern[1:]) for i in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _from_found(found: Collection[str] | Iterator[str], where: str, root: str, endings: tuple[str, ...]) -> Files:
    """Keep the files with the suffixes of samples. If there are none, open the tar shards among the files."""
    kept, shards, others = list[str](), list[str](), Counter[str]()
    for path in found:
        if path.lower().endswith(endings):
            kept.append(path)
        elif path.lower().endswith(".tar"):
            shards.append(path)
        else:
            others[os.path.splitext(path)[1].lower() or "no suffix"] += 1
    if kept:
        return _from_folder(sorted(kept, key=os.fsencode), root)
    if shards:
        return open_tars(where, sorted(shards, key=os.fsencode), endings)
    if not others:
        what = "nothing matches this pattern" if glob.has_magic(where) else "the folder holds no files"
        raise ValueError(f"{where}: {what} (hidden ones do not count); put files there or correct the path")
    there = ", ".join(suffix for suffix, _ in others.most_common(5))
    raise ValueError(
        f"{where}: none of its {others.total()} files ends in {', '.join(endings)} (found {there}); "
        "correct the path, convert the files, or name them in a list file"
    )


def _from_folder(paths: list[str], root: str) -> Paths:
    skip = len(root.rstrip("/")) + 1
    insides = [path[skip:].split("/", 1) for path in paths]
    flat = any(len(inside) == 1 for inside in insides)
    return paths_of([(path, None if flat else inside[0]) for path, inside in zip(paths, insides, strict=True)])


def _from_file(where: str, endings: tuple[str, ...]) -> Paths:
    suffix = os.path.splitext(where)[1].lower()
    if suffix and not where.lower().endswith(endings):  # a file without a suffix may have any format, so it is tried
        raise ValueError(f"{where}: ends in none of {', '.join(endings)}; convert it, or name it in a list file")
    return paths_of([(where, None)])
