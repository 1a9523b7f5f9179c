"""`%FILE_CONTENT(path)%`, `%FILE_CONTENT(path:watched directory)%`: what is in a file, as it is now.

Envoy: `envoy.formatter.file_content` (`source/extensions/formatter/file_content`). A file that is written anew is read
again; one that is replaced by another, as Kubernetes replaces what it mounts, only where a directory is watched.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from ...access_log.command import LENGTH_ALLOWED, PARAMS_OPTIONAL, Arguments, Command, CommandTable, truncated
from ...access_log.context import FormatterContext
from ...access_log.formatter import FORMATTERS
from ...config.fields import honours
from ...errors import ConfigError

CONFIG_TYPE: Final = "envoy.extensions.formatter.file_content.v3.FileContent"

honours(CONFIG_TYPE)


class WatchedFile:
    """Looked at when somebody asks: most formats that name a file are asked far less often than files are polled."""

    def __init__(self, path: str, follows: bool) -> None:
        """Raises OSError. `follows`: another file at the same path takes its place."""
        self._path = path
        self._follows = follows
        self._seen = os.stat(path)  # noqa: PTH116 - one call, no object
        self._text = self._read()

    def _read(self) -> str:
        return Path(self._path).read_bytes().decode("latin-1")

    def text(self) -> str:
        """What it holds; what it held last if it can not be read any more."""
        try:
            now = os.stat(self._path)  # noqa: PTH116
            same_file = (now.st_dev, now.st_ino) == (self._seen.st_dev, self._seen.st_ino)
            changed = not same_file or (now.st_mtime_ns, now.st_size) != (self._seen.st_mtime_ns, self._seen.st_size)
            if changed and (same_file or self._follows):
                self._text = self._read()
                self._seen = now
        except OSError:
            pass
        return self._text


def _file_content(arguments: Arguments) -> Command:
    path, *directories = arguments.argument.split(":")
    if not path or len(directories) > 1:
        problem = f"FILE_CONTENT: expected format 'path' or 'path:watch_directory', got '{arguments.argument}'"
        raise ConfigError(problem)
    for directory in directories:
        if not Path(directory).is_dir():
            raise ConfigError(f"unable to add filesystem watch for file {directory}/: No such file or directory")
    try:
        file = WatchedFile(path, bool(directories))
    except OSError as error:
        raise ConfigError(f"Invalid path: {path}", remedy=error.strerror or "") from None

    def text(context: FormatterContext) -> str:
        return file.text()

    return truncated(text, arguments.max_length)


@FORMATTERS.register("envoy.formatter.file_content", CONFIG_TYPE)
def create_file_content(config: Any) -> CommandTable:
    return {"FILE_CONTENT": (PARAMS_OPTIONAL | LENGTH_ALLOWED, _file_content)}
