"""`envoy.filters.http.lua`: scripts that see requests and responses, and may change or answer them.

Envoy: `source/extensions/filters/http/lua`; docs "Lua". `filter.py` runs the two functions of a script,
`stream_handle.py` is what becomes of a stream meanwhile, `host.py` and `stream_handle.lua` are what a script is given.
"""
