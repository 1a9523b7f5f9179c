"""Role based access control: what the filters of HTTP and of connections share.

Envoy: `source/extensions/filters/common/rbac`. `rules` compiles permissions and principals, `engine` decides,
`statistics` counts and tells what was decided.
"""
