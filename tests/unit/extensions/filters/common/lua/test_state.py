"""A Lua machine, and what passes between the two languages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from minienvoy.errors import ConfigError
from minienvoy.extensions.filters.common.lua.metadata import tokens_of, value_of
from minienvoy.extensions.filters.common.lua.state import LuaState

SOURCE = """
local M, host = ...
local Thing
Thing = M.class("5Thing", {
  name = function(...)
    local record = M.this(Thing, ...)
    return record.name
  end,
  add = function(...)
    local record = M.this(Thing, ...)
    local first, second = M.string(2, ...), M.integer(3, ...)
    return first .. second
  end,
  __pairs = function(...)
    local record = M.this(Thing, ...)
    local iterate = M.pairs_of(record, { n = 4, "a", 1, "b", 2 })
    return iterate
  end,
})
local record = { name = "thing" }
thing = M.create(Thing, nil, record)
return function(value) return M.decode(unpack(value)) end, function() M.bury(record) end
"""


@pytest.fixture
def load(tmp_path: Path):
    source = tmp_path / "things.lua"
    source.write_text(SOURCE)

    def state(code: str, **host) -> LuaState:
        return LuaState(code.encode(), source, host)

    return state


def problem_of(load, statement: str) -> str:
    with pytest.raises(ConfigError) as refused:
        load(f"\n{statement}")
    return str(refused.value).removeprefix("script load error: ")


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("thing:add()", "bad argument #1 to 'add' (string expected, got no value)"),
        ("thing:add(nil)", "bad argument #1 to 'add' (string expected, got nil)"),
        ("thing:add('a', {})", "bad argument #2 to 'add' (number expected, got table)"),
        ("thing.add('a')", "bad argument #1 to 'add' (5Thing expected, got string)"),
        ("thing.add(io.stdout)", "bad argument #1 to 'add' (5Thing expected, got userdata)"),
        ("thing:nosuch()", "attempt to call method 'nosuch' (a nil value)"),
        ("for k in pairs(thing) do for l in pairs(thing) do end end", "cannot create a second iterator before"),
    ],
)
def test_errors_are_those_of_lua_and_tell_the_line(load, statement, problem):
    assert problem_of(load, statement).startswith(f'[string "..."]:2: {problem}')


def test_objects_are_userdata_with_methods_that_can_be_iterated_over(load):
    state = load(
        """
        function test()
          local t = {type(thing), thing:name(), thing:add(1, "2.9")}
          for key, value in pairs(thing) do t[#t + 1] = key .. value end
          return table.concat(t, " ")
        end
        """
    )
    assert state.function("test")() == b"userdata thing 12 a1 b2"
    assert state.function("nosuch") is None


def test_what_is_buried_can_not_be_used_any_more(load):
    state = load("function test() return pcall(thing.name, thing) end")
    assert state.function("test")() == (True, b"thing")
    state.functions[1]()
    fine, problem = state.function("test")()
    assert not fine
    assert problem.endswith(b"object used outside of proper scope")


@pytest.mark.parametrize("code", ["python.eval('1')", "require('python')", "debug.getfenv(thing).host.x = 1"])
def test_scripts_have_no_python(load, code):
    assert problem_of(load, code)


@pytest.mark.parametrize("value", [{}, [], "text", 1.5, True, False, None, {"a": [1.0, {"b": "'"}, "{", "["], "c": {}}])
def test_values_come_back_as_they_went(load, value):
    state = load("x = 1")
    lua = tokens_of(value)
    back = list(lua)
    # Lua says nil by a token of its own, and has one kind of empty table.
    assert value_of(iter([b"n" if each is None else each for each in back])) == value
    assert state is not None


def test_the_extra_is_named_where_it_is_not_installed(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "lupa.luajit21", None)
    with pytest.raises(ConfigError, match=r"the Python package lupa is not installed \(pip install 'minienvoy\[lua\]'"):
        load("x = 1")
