"""Middleware and the feedback endpoint for web applications: `thumbprint.web.asgi` and `thumbprint.web.wsgi`."""
