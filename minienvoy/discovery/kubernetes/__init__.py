"""Kubernetes: pods and EndpointSlices, watched, as the endpoints of a cluster.

No Envoy counterpart: control planes do this and send Envoy the result by EDS. `docs/kubernetes.md` is the guide.

    api_client  -->  list_watch  -->  reflector  -->  store  -->  mapping  -->  extensions/clusters/kubernetes
    (sockets)        (a task)         (no I/O)                    (pure)         (hosts)

`discovery` holds the watches that clusters share, `subscription` is what one cluster hears of them.
"""
