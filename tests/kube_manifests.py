"""What tests apply to a FakeKube."""

from __future__ import annotations

WEB_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: http}]}
"""


def web_deployment(replicas: int, *, port: int = 8080, version: int = 1, grace: int = 30) -> str:
    """Another `version` rolls it; `grace`: seconds that a pod has to end."""
    return f"""\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web, labels: {{app: web}}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{rollingUpdate: {{maxSurge: 25%, maxUnavailable: 0}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: {grace}
      containers: [{{name: c, image: "web:{version}", ports: [{{name: http, containerPort: {port}}}]}}]
"""


def web(replicas: int, *, port: int = 8080) -> str:
    """The Deployment and its Service."""
    return f"{web_deployment(replicas, port=port)}---\n{WEB_SERVICE}"
