"""What the proxy costs, beside Envoy and its neighbours, measured in one run: `python -m bench`.

`contestants` knows how each proxy is configured and started, `backend` is what stands behind them, `load` what stands
in front, `process` reads what the kernel charges a process, `measure` interleaves it all in rounds, `report` prints the
tables. `hotspots` and `frames` say where minienvoy's own share goes.
"""
