"""Python proxies that stand beside minienvoy: the floor (uvloop, bytes only) and the usual way (aiohttp)."""
