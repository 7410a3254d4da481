"""The API of policy.yaml in Django, for WSGI and ASGI servers: each route answers with what Django made of the request."""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=os.urandom(16).hex(), MIDDLEWARE=[])


def answer(request, route, values):
    return JsonResponse(
        {
            "route": route,
            "method": request.method,
            "path": request.path,
            "query": request.META.get("QUERY_STRING", ""),
            "values": values,
            "tenant": request.GET.get("tenant"),
            "q": request.GET.get("q"),
            "org": request.headers.get("X-Org"),
            "agent": request.headers.get("X-Callgate-Agent"),
        }
    )


def view(**routes):
    """One path; Django leaves methods to the view."""

    def run(request, **values):
        return answer(request, routes.get(request.method), values)

    return run


def fallback(request, exception=None):
    return answer(request, None, {})


handler404 = fallback

urlpatterns = [
    path("admin", view(GET="admin.list")),
    path("users/settings", view(GET="users.settings")),
    path("users/<str:id>", view(GET="users.get", POST="users.update", DELETE="users.delete")),
    path("items", view(GET="items.list", POST="items.create")),
    path("org", view(GET="org.get")),
    path("names/<str:name>", view(GET="names.get")),
    path("blob/<path:key>/raw", view(GET="blob.raw")),
    path("blob/<path:key>", view(GET="blob.get")),
    path("docs/<str:name>", view(GET="docs.get")),
    path("files", view(GET="files.list")),
    path("files/locked", view(GET="files.locked")),
    path("files/<path:path>", view(GET="files.get")),
    path("search", view(GET="search")),
]

wsgi = get_wsgi_application()
asgi = get_asgi_application()
