"""An xDS server: real Envoys balance over what is discovered here.

Envoy: the other end of `Config::GrpcMux`. Endpoints are those of Kubernetes, followed as long as somebody asks for
them; listeners, routes, clusters and whatever else come from a file. `docs/kubernetes.md` is the guide.

    file, kubernetes  -->  resources  -->  sotw_stream, delta_stream (no I/O)  -->  grpc_server (sockets)
"""
