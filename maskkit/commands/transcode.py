"""``maskkit transcode``: copy a data set into a form that training reads faster, by a modality's own command."""

from maskkit.commands.words import read_words
from maskkit.modality import find_modality, modality_names


def main(words: list[str]) -> int:
    """Run the modality's own command and return the exit code."""
    names = modality_names()
    wanted = f"maskkit transcode {{{','.join(names)}}} SRC OUT"
    if not words or words[0] in ("-h", "--help"):
        able = [name for name in names if find_modality(name).transcode is not None]
        print(f"{wanted}\n\nModalities that can be transcoded: {', '.join(able) or 'none'}.")
        return 0
    if words[0] not in names:
        raise ValueError(f"maskkit cannot transcode {words[0]!r}; use {wanted}")
    transcode = find_modality(words[0]).transcode
    if transcode is None:
        raise ValueError(f"{words[0]} files are not transcoded; it serves modalities whose files are slow to read")
    read_words(transcode, f"transcode {words[0]}", words[1:]).run()
    return 0
