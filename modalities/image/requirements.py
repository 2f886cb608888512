"""The packages that read images, for ``maskkit doctor``."""

from maskkit.doctor import Report, package


def findings() -> list[Report]:
    """Return one row: subject, whether it works, a line of text, and the command that fixes it.

    The formats are those of the installed Pillow.
    """
    read = package("PIL", "", "pip install --upgrade pillow")
    if not read[1]:
        return [("image", *read[1:])]
    from PIL import features

    known = [name for name, key in (("JPEG", "jpg"), ("PNG", "zlib"), ("WebP", "webp"), ("AVIF", "avif")) if _has(key)]
    text = f"Pillow {features.version('pil')} reads {', '.join(known)} and others; numpy reads NPY and NPZ"
    needed = {"JPEG", "PNG"} <= set(known)
    return [("image", needed, text, "" if needed else "pip install --upgrade --force-reinstall pillow")]


def _has(key: str) -> bool:
    """Return whether Pillow was built with a library; False for a library unknown to it (AVIF before 11.3)."""
    from PIL import features

    return key in features.get_supported()
