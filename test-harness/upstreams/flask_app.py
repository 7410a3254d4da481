"""The API of policy.yaml in Flask: each route answers with what Flask made of the request."""

from flask import Flask, jsonify, request

app = Flask(__name__)


def answer(route, **values):
    return jsonify(
        route=route,
        method=request.method,
        path=request.root_path.rstrip("/") + request.path,
        query=request.query_string.decode("latin-1"),
        values=values,
        tenant=request.values.get("tenant"),
        q=request.values.get("q"),
        org=request.headers.get("X-Org"),
        agent=request.headers.get("X-Callgate-Agent"),
    )


def route(name, method, rule):
    app.add_url_rule(rule, name, lambda **values: answer(name, **values), methods=[method], provide_automatic_options=False)


route("admin.list", "GET", "/admin")
route("users.settings", "GET", "/users/settings")
route("users.get", "GET", "/users/<id>")
route("users.update", "POST", "/users/<id>")
route("users.delete", "DELETE", "/users/<id>")
route("items.list", "GET", "/items")
route("items.create", "POST", "/items")
route("org.get", "GET", "/org")
route("names.get", "GET", "/names/<name>")
route("blob.get", "GET", "/blob/<path:key>")
route("blob.raw", "GET", "/blob/<path:key>/raw")
route("docs.get", "GET", "/docs/<name>")
route("files.list", "GET", "/files")
route("files.locked", "GET", "/files/locked")
route("files.get", "GET", "/files/<path:path>")
route("search", "GET", "/search")
# Requests that no policy of this folder knows, such as those of the corpus.
app.register_error_handler(404, lambda _: answer(None))
app.register_error_handler(405, lambda _: answer(None))
