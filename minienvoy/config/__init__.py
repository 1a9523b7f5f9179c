"""The configuration plane: Envoy's protos, read, checked, and asked what is in them; no request ever comes here."""
