<?php
// The API of policy.yaml in Laravel: its router and its request, without the rest of an application.

require_once '/usr/share/php/Illuminate/autoload.php';

use Illuminate\Container\Container;
use Illuminate\Events\Dispatcher;
use Illuminate\Http\Request;
use Illuminate\Routing\Router;
use Symfony\Component\HttpKernel\Exception\HttpExceptionInterface;

$container = new Container();
$router = new Router(new Dispatcher($container), $container);
$request = Request::capture();

$add = function (string $name, string $method, string $path, array $where = []) use ($router) {
    $router->addRoute([$method], $path, ['uses' => fn () => null])->name($name)->where($where);
};
$add('admin.list', 'GET', '/admin');
$add('users.settings', 'GET', '/users/settings');
$add('users.get', 'GET', '/users/{id}');
$add('users.update', 'POST', '/users/{id}');
$add('users.delete', 'DELETE', '/users/{id}');
$add('items.list', 'GET', '/items');
$add('items.create', 'POST', '/items');
$add('org.get', 'GET', '/org');
$add('names.get', 'GET', '/names/{name}');
$add('blob.raw', 'GET', '/blob/{key}/raw', ['key' => '.+']);
$add('blob.get', 'GET', '/blob/{key}', ['key' => '.+']);
$add('docs.get', 'GET', '/docs/{name}');
$add('files.list', 'GET', '/files');
$add('files.locked', 'GET', '/files/locked');
$add('files.get', 'GET', '/files/{path}', ['path' => '.+']);
$add('search', 'GET', '/search');
$router->getRoutes()->refreshNameLookups();

try {
    $route = $router->getRoutes()->match($request);
} catch (HttpExceptionInterface) {
    $route = null;
}

header('Content-Type: application/json');
echo json_encode([
    'route' => $route?->getName(),
    'method' => $request->getMethod(),
    'path' => rawurldecode($request->getPathInfo()),
    'query' => $_SERVER['QUERY_STRING'],
    'values' => (object) ($route?->parameters() ?? []),
    'tenant' => $request->input('tenant'),
    'q' => $request->input('q'),
    'org' => $request->header('X-Org'),
    'agent' => $request->header('X-Callgate-Agent'),
], JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_UNICODE);
