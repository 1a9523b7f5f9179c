"""`envoy.filters.http.ext_proc`: a service sees requests and responses, and may change them."""
