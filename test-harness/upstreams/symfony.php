<?php
// The API of policy.yaml in PHP, routed by Symfony, with the method override that Symfony and Laravel offer.

require_once '/usr/share/php/Symfony/Component/HttpFoundation/autoload.php';
require_once '/usr/share/php/Symfony/Component/Routing/autoload.php';

use Symfony\Component\HttpFoundation\Request;
use Symfony\Component\Routing\Exception\ExceptionInterface;
use Symfony\Component\Routing\Matcher\UrlMatcher;
use Symfony\Component\Routing\RequestContext;
use Symfony\Component\Routing\Route;
use Symfony\Component\Routing\RouteCollection;

Request::enableHttpMethodParameterOverride();
$request = Request::createFromGlobals();

$routes = new RouteCollection();
$add = function (string $name, string $method, string $path, array $requirements = []) use ($routes) {
    $routes->add($name, new Route($path, [], $requirements, ['utf8' => true], '', [], [$method]));
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

try {
    $match = (new UrlMatcher($routes, (new RequestContext())->fromRequest($request)))->match($request->getPathInfo());
} catch (ExceptionInterface) {
    $match = ['_route' => null];
}
$route = $match['_route'];
unset($match['_route']);

header('Content-Type: application/json');
echo json_encode([
    'route' => $route,
    'method' => $request->getMethod(),
    'path' => rawurldecode($request->getPathInfo()),
    'query' => $_SERVER['QUERY_STRING'],
    'values' => (object) $match,
    'tenant' => $_REQUEST['tenant'] ?? null,
    'q' => $_REQUEST['q'] ?? null,
    'org' => $_SERVER['HTTP_X_ORG'] ?? null,
    'agent' => $_SERVER['HTTP_X_CALLGATE_AGENT'] ?? null,
], JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_UNICODE);
