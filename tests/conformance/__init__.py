"""The judge: the same scenario through Envoy and through minienvoy, and every difference named.

A scenario (`scenarios/*.yaml`) is a few short cases: configuration, what a client does byte by byte, how the upstreams
answer. What Envoy 1.40 made of it lies in `golden/*.json`. See README.md beside this file.
"""
