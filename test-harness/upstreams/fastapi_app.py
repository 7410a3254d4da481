"""The API of policy.yaml in FastAPI: each route answers with what Starlette and uvicorn made of the request."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

app = FastAPI(openapi_url=None)


def answer(request, route):
    return JSONResponse(
        {
            "route": route,
            "method": request.method,
            "path": request.scope["path"],
            "query": request.scope["query_string"].decode("latin-1"),
            "values": request.path_params if route else {},
            "tenant": request.query_params.get("tenant"),
            "q": request.query_params.get("q"),
            "org": request.headers.get("x-org"),
            "agent": request.headers.get("x-callgate-agent"),
        }
    )


def route(name, method, path):
    async def run(request: Request):
        return answer(request, name)

    app.add_route(path, run, methods=[method])


route("admin.list", "GET", "/admin")
route("users.settings", "GET", "/users/settings")
route("users.get", "GET", "/users/{id}")
route("users.update", "POST", "/users/{id}")
route("users.delete", "DELETE", "/users/{id}")
route("items.list", "GET", "/items")
route("items.create", "POST", "/items")
route("org.get", "GET", "/org")
route("names.get", "GET", "/names/{name}")
route("blob.raw", "GET", "/blob/{key:path}/raw")
route("blob.get", "GET", "/blob/{key:path}")
route("docs.get", "GET", "/docs/{name}")
route("files.list", "GET", "/files")
route("files.locked", "GET", "/files/locked")
route("files.get", "GET", "/files/{path:path}")
route("search", "GET", "/search")


# Requests that no policy of this folder knows, such as those of the corpus.
async def fallback(request, error):
    return answer(request, None)


app.add_exception_handler(404, fallback)
app.add_exception_handler(405, fallback)
