# The API of policy.yaml in Rack, with the method override that Rails and Sinatra switch on.

require 'json'
require 'rack'

ROUTES = [
  ['admin.list', 'GET', %w[admin]],
  ['users.settings', 'GET', %w[users settings]],
  ['users.get', 'GET', ['users', :id]],
  ['users.update', 'POST', ['users', :id]],
  ['users.delete', 'DELETE', ['users', :id]],
  ['items.list', 'GET', %w[items]],
  ['items.create', 'POST', %w[items]],
  ['org.get', 'GET', %w[org]],
  ['names.get', 'GET', ['names', :name]],
  ['blob.get', 'GET', ['blob', :key]],
  ['blob.raw', 'GET', ['blob', :key, 'raw']],
  ['docs.get', 'GET', ['docs', :name]],
  ['files.list', 'GET', %w[files]],
  ['files.locked', 'GET', %w[files locked]],
  ['files.get', 'GET', ['files', :path, :rest]],
  ['search', 'GET', %w[search]]
].freeze

# The variables of a route, or nil. As in Rails, a path is split before its segments are decoded.
def match(template, segments)
  if template.last == :rest
    return unless segments.length >= template.length - 1 && segments.first == template.first

    return { template[-2] => segments.drop(1).join('/') }
  end
  return unless template.length == segments.length

  values = {}
  template.zip(segments) do |fixed, segment|
    if fixed.is_a?(Symbol)
      return nil if segment.empty?

      values[fixed] = segment
    elsif fixed != segment
      return nil
    end
  end
  values
end

use Rack::MethodOverride
run(lambda do |env|
  request = Rack::Request.new(env)
  segments = request.path_info.delete_prefix('/').split('/', -1).map { |segment| Rack::Utils.unescape_path(segment) }
  route, values = nil
  ROUTES.each do |name, method, template|
    values = method == request.request_method && match(template, segments)
    break route = name if values
  end
  text = ->(value) { value.is_a?(String) ? value.dup.force_encoding('UTF-8').scrub : value }
  answer = {
    route: route,
    method: request.request_method,
    path: text.call(Rack::Utils.unescape_path(request.script_name + request.path_info)),
    query: request.query_string,
    values: (values || {}).transform_values(&text),
    tenant: text.call(request.params['tenant']),
    q: text.call(request.params['q']),
    org: env['HTTP_X_ORG'],
    agent: env['HTTP_X_CALLGATE_AGENT']
  }
  [200, { 'Content-Type' => 'application/json' }, [JSON.generate(answer)]]
end)
