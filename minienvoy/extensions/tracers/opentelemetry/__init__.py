"""OpenTelemetry: spans by OTLP, over gRPC or HTTP; `traceparent` and `tracestate`.

Envoy: `source/extensions/tracers/opentelemetry`.
"""
