"""`envoy.filters.http.jwt_authn`: lets in who has a JSON Web Token that its issuer has signed.

Envoy: source/extensions/filters/http/jwt_authn and the library jwt_verify_lib; docs "JWT Authentication". A token
passes through these, from the bottom up:

    filter         a request waits here for the word of its verifier
    filter_config  the rules: which request needs what
    verifier       a requirement: one provider, any or all of several, none
    authenticator  the tokens of one provider, one after another; what of them goes on to the upstream
    provider       what it says, its keys (local, or fetched by `remote_keys`), the tokens it knows (`token_cache`)
    extractor      where a request has its tokens, and how they are taken away
    token, keys    a token and the keys that it is verified with; both are a stranger's, and fail with a Status
"""
