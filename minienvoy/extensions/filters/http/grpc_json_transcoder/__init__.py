"""Translates between JSON over HTTP and gRPC (`envoy.filters.http.grpc_json_transcoder`).

Envoy: `source/extensions/filters/http/grpc_json_transcoder/` and the libraries it stands on, grpc-httpjson-transcoding
and proto-converter. A request finds its method by path and query (`path_matcher`), its body is read as JSON in whatever
pieces it comes (`json_stream_parser`), completed with what path and query say (`request_weaver`) and written as
protobuf (`proto_writer`); what comes back is printed as JSON (`json_printer`).
"""
