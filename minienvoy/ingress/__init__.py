"""Ingress and Gateway API objects as a configuration: `minienvoy kubernetes`.

No Envoy counterpart: Envoy Gateway and Contour are control planes of this kind. `docs/kubernetes.md` is the guide.

    controller (watches)  -->  ingress_translator, gateway_translator (pure)  -->  model  -->  bootstrap (plain values)
                                                                                              Proxy.apply
"""
