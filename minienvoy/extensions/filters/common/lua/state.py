"""A Lua machine with one script in it.

Envoy: `Filters::Common::Lua::ThreadLocalState`, `Coroutine`. What scripts are given is made in `objects.lua` and in the
file of whoever runs them; between the two languages go only strings (bytes here), numbers, booleans and nil.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from .....errors import ConfigError

HostFunction = Callable[..., Any]
"""Called from Lua; what is returned as a tuple are several values. It must not raise."""

_OBJECTS: Final = Path(__file__).with_name("objects.lua")


def _runtime() -> Any:
    try:
        from lupa.luajit21 import LuaRuntime
    except ImportError:
        raise ConfigError(
            "the Python package lupa is not installed", remedy="pip install 'minienvoy[lua]' brings it"
        ) from None
    return LuaRuntime(
        encoding=None,
        unpack_returned_tuples=True,
        register_eval=False,
        register_builtins=False,
        attribute_filter=_nothing_of_python,
    )


def _nothing_of_python(target: Any, name: Any, is_setting: bool) -> Any:
    raise AttributeError(name)


class LuaState:
    """Attributes:
    functions: what the file that was given returned, in its order.
    """

    def __init__(
        self,
        code: bytes,
        source: Path,
        host: Mapping[str, HostFunction],
        package_path: str = "",
        package_cpath: str = "",
    ) -> None:
        """Run `code` once. `source` is Lua that is given the objects and `host`, and returns functions.

        Raises:
            ConfigError: lupa is not there, or the script can not be loaded.
        """
        runtime = _runtime()
        objects = runtime.execute(_OBJECTS.read_bytes())
        table = runtime.table_from({name.encode(): function for name, function in host.items()})
        load = runtime.eval(b"loadstring")
        made = load(source.read_bytes(), b"=" + source.stem.encode())(objects, table)
        self.functions: tuple[Callable[..., Any], ...] = made
        objects[b"set_package_paths"](package_path.encode(), package_cpath.encode())
        loaded = objects[b"load"](code)
        if loaded is not True:
            raise ConfigError(f"script load error: {text_of(loaded[1])}")
        self._global = objects[b"global"]

    def function(self, name: str) -> Any:
        """The global function of that name, or None."""
        return self._global(name.encode())


def text_of(data: bytes) -> str:
    """What a script says, for a log: any byte survives."""
    return data.decode("utf-8", "surrogateescape")
