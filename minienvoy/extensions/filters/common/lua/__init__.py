"""What everything that runs Lua shares.

Envoy: `source/extensions/filters/common/lua`. Scripts run on LuaJIT, as Envoy's do: the package `lupa` of the extra
`lua` brings it along, and is imported when the first script is loaded.
"""
